"""A whole ledger, to be moved from one store to another."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Protocol

from gateway.core.limits import Limit
from gateway.core.moving import Piece
from gateway.core.verify import Broken


class LedgerSource(Protocol):
    """
    A ledger that is read to its end. Nothing is written to it.

    Raises (all of them):
        StoreFailed: with `unknown` False.
    """

    @property
    def name(self) -> str | None:
        """Of the ledger; None: it is named by where it lies."""
        ...

    async def living(self) -> int:
        """How many workers are alive on it."""
        ...

    async def changed_limits(self) -> Mapping[str, tuple[Limit, ...]]:
        """The limits that were set while running, by scope."""
        ...

    async def verify(self) -> tuple[Broken, ...]:
        """What does not add up."""
        ...

    def pieces(self) -> AsyncIterator[Sequence[Piece]]:
        """
        All that it holds, in one state of it, up to `core.moving.AT_ONCE` pieces at a time.

        Memory is bounded by what limits count and calls hold, not by the number of records.
        """
        ...

    async def aclose(self) -> None:
        """Free what is held."""
        ...


class LedgerTarget(Protocol):
    """
    A ledger that is filled by somebody who is alone with it.

    From `begin` until `finish` it is marked as incomplete, and no gateway starts on it, nor does anybody read it.

    Raises (all of them):
        StoreFailed: see there, and if somebody else has begun anew. What was taken may be there or not; it is incomplete.
    """

    async def begin(self, limits: Iterable[Limit], *, anew: bool) -> None:
        """
        Make sure that it holds nothing, and mark it as incomplete, in one act.

        Args:
            limits: that it will have to keep.
            anew: one that is marked so already is emptied.

        Raises:
            UnfitError: it holds something, or cannot keep such limits; nothing was written.
        """
        ...

    async def take(self, pieces: Sequence[Piece]) -> None:
        """Keep some pieces, in one act."""
        ...

    async def verify(self) -> tuple[Broken, ...]:
        """What does not add up."""
        ...

    async def finish(self) -> None:
        """It is complete: gateways may start on it."""
        ...

    async def aclose(self) -> None:
        """Free what is held."""
        ...
