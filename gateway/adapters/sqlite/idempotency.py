"""The `IdempotencyKeys` port over SQLite: in the ledger's file, written by its thread."""

from dataclasses import dataclass

from gateway.adapters.sqlite import idempotency_acts as acts
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.idempotency import Known, Once, State


@dataclass(frozen=True, slots=True)
class SqliteIdempotencyKeys:
    """
    The keys of a ledger.

    Args:
        ledger: beside whose records they lie.
    """

    ledger: SqliteLedger

    async def begin(self, once: Once, call_id: str) -> Known | None:
        """Take a key for a call of this worker, if it is free."""
        return await self.ledger.act(lambda db, worker, now: acts.begin(db, once, call_id, worker, now))

    async def conclude(self, once: Once, call_id: str, state: State | None) -> None:
        """What a key stands for now that its call has ended."""
        await self.ledger.act(lambda db, _worker, _now: acts.conclude(db, once, call_id, state))
