"""The `IdempotencyKeys` port over Redis or Valkey: beside the ledger, in its slot."""

from dataclasses import dataclass
from typing import Final

from gateway.adapters.redis.acts import act
from gateway.adapters.redis.ledger import RedisLedger
from gateway.core.idempotency import LIFE_S, Known, Once, State
from gateway.core.ledger import micros
from gateway.ports import DEAD_AFTER_S

_LIFE_US: Final = micros(LIFE_S)
_SILENCE_US: Final = micros(DEAD_AFTER_S)


@dataclass(frozen=True, slots=True)
class RedisIdempotencyKeys:
    """
    The keys of a ledger.

    Args:
        ledger: beside whose records they lie.
    """

    ledger: RedisLedger

    async def begin(self, once: Once, call_id: str) -> Known | None:
        """Take a key for a call of this worker, if it is free."""
        asked = (once.name, once.fingerprint, call_id, *self.ledger.named, _LIFE_US, _SILENCE_US)
        found = await self.ledger.timely(_subject(once), act("once"), *asked, "0")
        if not found:
            self.ledger.did(_subject(once), "once", "", "", *asked, "1")
            return None
        fingerprint, call, state = (part.decode() for part in found)
        return Known(fingerprint, call, State(state))

    async def conclude(self, once: Once, call_id: str, state: State | None) -> None:
        """What a key stands for now that its call has ended."""
        asked = (once.name, call_id, "" if state is None else state.value)
        await self.ledger.entered(_subject(once))
        await self.ledger.act(act("once_end"), *asked, timed=False)
        self.ledger.did(_subject(once), "once_end", *asked, ends=True)


def _subject(once: Once) -> str:
    return f"key {once.name}"
