"""
When to ask again somebody who has not answered.

Decided here: after how many failures in a row nobody is asked for how long, and that then one asks for all. A value:
whoever keeps it puts the next one in its place, and tells the time.

Not here: what counts as a failure, and what is done instead of asking (flow/keep.py).
"""

from dataclasses import dataclass, replace
from typing import Final

FAILURES: Final = 5
"""In a row; the next one is not asked."""
PAUSE_S: Final = 5.0
"""Until one is let through to see."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """How the last attempts went."""

    failures: int = 0
    """In a row."""
    probe_at: float | None = None
    """Ticks from which one may try; None: everybody may."""

    def lets_pass(self, now: float) -> bool:
        """Whether to ask at all. Who does says so with `asked`."""
        return self.probe_at is None or now >= self.probe_at

    def asked(self, now: float) -> "Breaker":
        """Somebody asks: while it is open that is the one attempt, and the next one has to wait for it."""
        return self if self.probe_at is None else replace(self, probe_at=now + PAUSE_S)

    def failed(self, now: float) -> "Breaker":
        """An attempt failed."""
        failures = self.failures + 1
        return Breaker(failures, now + PAUSE_S if failures >= FAILURES else None)

    def succeeded(self) -> "Breaker":
        """An attempt did not fail: all is well."""
        return Breaker()

    def pause_s(self, now: float) -> float:
        """How long nobody will be asked from now on, at most `PAUSE_S`."""
        return 0.0 if self.probe_at is None else max(0.0, self.probe_at - now)
