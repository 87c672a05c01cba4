"""
What dead workers leave, and what becomes of it.

A call in the background, one whose response has an id, outlives its worker: whoever finds it looks after it, until its
deadline. Any other one ends with its worker, and everything ends at its deadline.

Not here: who is dead (adapters), what the record of a lost call says (`core.ledger.lost`).
"""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.core.ledger import OpenCall


@dataclass(frozen=True, slots=True)
class Care:
    """Who looks after an open call, and until when."""

    worker: str | None
    is_in_the_background: bool
    deadline: float | None
    """Epoch seconds."""

    def is_over(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and self.deadline <= now

    def is_lost(self, alive: Collection[str], now: float) -> bool:
        """Whether nobody can settle the call any more."""
        return self.is_over(now) or not (self.is_in_the_background or self.worker in alive)

    def is_watched(self, now: float) -> bool:
        """Whether it is to be looked after until its end is seen, by whomever."""
        return self.is_in_the_background and not self.is_over(now)


def care_of(call: OpenCall) -> Care:
    """Of an open call."""
    return Care(call.worker, call.record.response_id is not None, call.deadline)
