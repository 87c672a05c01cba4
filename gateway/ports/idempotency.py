"""Keys by which clients repeat a call."""

from typing import Protocol

from gateway.core.idempotency import Known, Once, State


class IdempotencyKeys(Protocol):
    """
    What each `Idempotency-Key` was used for, for `core.idempotency.LIFE_S` from the call on.

    They lie with the ledger, last as its records do, and are not evicted. Each act is atomic and one round trip; it goes
    on when its caller is cancelled.

    Raises (all of them):
        StoreFailed: see there.
    """

    async def begin(self, once: Once, call_id: str) -> Known | None:
        """
        Take a key for a call of this worker, if it is free: of those that come at once one gets it. Repeatable.

        A key is free if it was not used, or is `NOTED` for the same request; or if the worker of its call has died before
        the call was noted in the ledger. If it died later, the key is `CUT` from now on.

        Returns:
            None: it is this call's. Else what it stands for.
        """
        ...

    async def conclude(self, once: Once, call_id: str, state: State | None) -> None:
        """
        What a key stands for now that its call has ended; None: it is free. Repeatable.

        Nothing happens if another call has it.
        """
        ...
