"""
All that a ledger holds, as values that any store can give and take: what is moved from one kind of store to another.

A ledger that was moved is the same ledger: records, calls under way, what limits have counted and hold, who has a place,
limits set while running, what each `Idempotency-Key` stands for, and how far back all of it is whole. So everything that
can be asked of it has the same answer before and after, and a gateway that starts on it finds what the last one left: the
calls of workers that are dead by then, which it settles as lost or goes on looking after.

Rules of this file:
- Nothing is moved while a gateway writes, unless somebody insists: what it writes afterwards would be left behind.
- Nothing is moved that does not add up: it would never add up again.

Not here: how a store is read and written (adapters), and in which order (flow/migrate.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from gateway.core.idempotency import KeyName, State
from gateway.core.ledger import OpenCall
from gateway.core.limits import Limit
from gateway.core.quota import Amounts, Tally
from gateway.core.record import Record
from gateway.core.verify import Broken, Row

AT_ONCE: Final = 250
"""Pieces in one act, so that nobody else waits long for the store."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A call that is over."""

    record: Record
    day_us: int | None
    """The day in which it is counted: its beginning, epoch microseconds; None: it is counted nowhere."""
    images: int
    """That it is charged for."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A call without a record yet, in the care of the worker that it names."""

    call: OpenCall


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter."""

    row: Row
    tally: Tally


@dataclass(frozen=True, slots=True)
class Holding:
    """What a call holds, or was charged with for the time being."""

    id: str
    at_us: int
    rows: tuple[Row, ...]
    """Where it is counted."""
    amounts: Amounts
    is_guess: bool
    """It was charged, and the truth may still come."""


@dataclass(frozen=True, slots=True)
class Seated:
    """A call that has a place."""

    id: str
    at_us: int
    worker: str
    rows: tuple[Row, ...]
    """Where it is counted; it has a place in each of their scopes."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A scope whose limits were set while running."""

    scope: str
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Keyed:
    """What an `Idempotency-Key` stands for."""

    name: KeyName
    at_us: int
    worker: str
    call_id: str
    fingerprint: str
    state: State


@dataclass(frozen=True, slots=True)
class Serving:
    """A worker that is registered."""

    id: str
    host: str
    pid: int
    born: int
    beat_us: int


@dataclass(frozen=True, slots=True)
class Whole:
    """How far back the ledger is whole, epoch microseconds; 0: from the beginning."""

    pruned_us: int
    """The latest day of which records have been forgotten."""
    folded_us: int
    """Days that begin earlier have no counter of their own any more."""


Piece = Settled | Opened | Counted | Holding | Seated | Limited | Keyed | Serving | Whole


@dataclass(slots=True)
class Moved:
    """What was moved."""

    records: int = 0
    open_calls: int = 0
    counters: int = 0
    limits: int = 0
    keys: int = 0
    answers: int = 0
    """Of keys, that are promised to whoever asks again."""
    answers_left: int = 0
    """Of them those that could not be moved: whoever asks for one is told that it is not there."""

    def count(self, pieces: Sequence[Piece]) -> None:
        """These have been moved."""
        for piece in pieces:
            name = _COUNTED_AS.get(type(piece))
            if name is not None:
                setattr(self, name, getattr(self, name) + 1)

    def __str__(self) -> str:
        """In words: `12 records, 1 open call, 40 counters …`."""
        counts = {one.name.replace("_", " "): getattr(self, one.name) for one in fields(self)}
        counts.pop("answers left")
        return ", ".join(
            f"{count:,} {name[:-1] if count == 1 else name}".replace(",", " ")
            for name, count in counts.items()
        )


_COUNTED_AS: Final[dict[type[Piece], str]] = {
    Settled: "records",
    Opened: "open_calls",
    Counted: "counters",
    Limited: "limits",
    Keyed: "keys",
}


def hindrance(living: int, waiting: int, broken: Sequence[Broken], *, force: bool) -> str | None:
    """
    Why a ledger is not moved as it is, and what to do; None: it may be.

    Args:
        living: workers that are alive on it.
        waiting: settlements that its outbox has and it was not told.
        broken: what does not add up in it.
        force: move it though somebody writes to it, or will.
    """
    if living and not force:
        return (
            f"{living} {'worker is' if living == 1 else 'workers are'} alive on the source: what is written while it is "
            "moved would be left behind. Stop every gateway on it (one that was killed on another machine counts as alive "
            "for 20 seconds), or say --force."
        )
    if waiting and not force:
        return (
            f"{waiting} {'entry waits' if waiting == 1 else 'entries wait'} in the outbox for the source, and would be left "
            "behind. Start a gateway on it once more, so that they land, or say --force."
        )
    if broken:
        return (
            f"The source does not add up ({broken[0]}{' …' if len(broken) > 1 else ''}). "
            "Mend it before it is moved: imagegate verify --repair."
        )
    return None
