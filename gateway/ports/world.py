"""Time, names, days, keys, and where records are told."""

from typing import Protocol

from gateway.core.ledger import Day
from gateway.core.principal import Principal
from gateway.core.record import Record
from gateway.core.windows import Frames


class Clock(Protocol):
    """Time. Nothing else reads a clock, so that tests can move it."""

    def now(self) -> float:
        """Epoch seconds."""
        ...

    def ticks(self) -> float:
        """Monotonic seconds, for measuring durations."""
        ...


class Ids(Protocol):
    """Names for requests."""

    def new(self) -> str:
        """A new id: unique, sortable by the time of its making, `[A-Za-z0-9_]` only."""
        ...


class Calendar(Protocol):
    """Days as people count them, in the time zone of the organisation."""

    def days(self, start: float, end: float) -> tuple[Day, ...]:
        """Every day that has an instant of `start` … `end` (epoch seconds, both included), oldest first, no gaps."""
        ...

    def frames(self, at: float) -> Frames:
        """The calendar windows around an instant (epoch seconds)."""
        ...

    def instant(self, text: str) -> float:
        """
        Epoch seconds of `2026-11-01` (where that day begins) or of `2026-11-01T12:00:00Z` (RFC 3339).

        Raises:
            ValueError: it is neither; the message says what to write.
        """
        ...


class KeyStore(Protocol):
    """Who holds which key. Read-only; never sees a secret."""

    async def find(self, digest: bytes) -> Principal | None:
        """
        The holder of the key with this digest (`principal.digest_of`), None if there is none.

        Expiry is the caller's to judge: it knows the time.
        """
        ...


class Journal(Protocol):
    """Where records go."""

    def write(self, record: Record, *, counts: bool = True) -> None:
        """
        Take a record; at once, without waiting, never raising.

        Args:
            record: of a request that is over.
            counts: False: the request was counted before, or it is not known yet whether it was.
        """
        ...

    def count(self, record: Record) -> None:
        """Count a request whose record was written without that; likewise."""
        ...
