"""
What has to hold in a ledger whatever happened, and what is told where it does not.

Decided here, of one state of the ledger (`Books`), on values, so that every store is judged alike:

    sums are counters   what a day's counter of a scope says was used is what its records say: of the organisation, and
                        of each record's team and key; money, pictures, image tokens, tokens
    holds are counters  what a counter says is held is what the open calls that are counted in it hold
    nothing below zero  neither used nor held, of any unit, requests too
    once                one record for a request, one that pays for a response of the upstream
    no orphans          a hold has its open call; one that may be corrected, such a record. Whoever is inside has a worker that
                        is registered, a place in each of its scopes, and no record yet. A place has somebody inside

Not judged: what rolling windows say was used, and requests (no record tells when they were counted); days whose records
may have been forgotten, and days that were made one (`Books.judged_from_us`): there the records are fewer than the
counts. A call that was noted without a claim holds nothing, and needs not.

Not here: how a state is read, and how it is mended (adapters).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from gateway.core.allowance import instant
from gateway.core.limits import Unit
from gateway.core.quota import NOTHING, ORG, Amounts, Tally
from gateway.core.units import NanoUSD, usd_text
from gateway.core.windows import Grain

Row = tuple[str, str, int]
"""Scope, grain, the beginning of the grain (epoch microseconds): a counter."""
FOLDED: Final = 0
"""The beginning of the row that old days of a scope were made into."""
COUNTED: Final = (Unit.IMAGES, Unit.IMAGE_TOKENS, Unit.TOKENS, Unit.USD)
"""What is held, and what records tell."""


class What(Enum):
    """Which of them is broken."""

    USED = "used"
    HELD = "held"
    NEGATIVE = "negative"
    RECORDED_TWICE = "recorded twice"
    PAID_TWICE = "paid twice"
    HOLD_WITHOUT_CALL = "hold without call"
    LOSS_WITHOUT_RECORD = "loss without record"
    INSIDE_WITHOUT_WORKER = "inside without worker"
    INSIDE_AFTER_END = "inside after end"
    PLACE_MISSING = "place missing"
    PLACE_LEFT_OVER = "place left over"


@dataclass(frozen=True, slots=True, order=True)
class Counter:
    """One number of a row."""

    scope: str
    grain: str
    start_us: int
    unit: Unit

    def __str__(self) -> str:
        if self.grain != Grain.DAY:
            when = f"{self.grain} grain from {instant(self.start_us)}"
        elif self.start_us == FOLDED:
            when = "the old days together"
        else:
            when = f"the day from {instant(self.start_us)}"
        return f"{self.scope}, {when}"


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """The place of a call in a scope."""

    scope: str
    call_id: str

    def __str__(self) -> str:
        return f"{self.scope}, call {self.call_id}"


@dataclass(frozen=True, slots=True)
class Broken:
    """Something that does not hold."""

    what: What
    where: Counter | Seat | str
    """A text: the id of a call; of `PAID_TWICE`, of a response."""
    found: int
    """In the counter's unit; else how many there are."""
    expected: int

    def __str__(self) -> str:
        """One sentence."""
        return _SENTENCES[self.what].format(
            where=self.where, found=self._said(self.found), expected=self._said(self.expected)
        )

    def _said(self, amount: int) -> str:
        if not isinstance(self.where, Counter):
            return str(amount)
        unit = self.where.unit
        if unit is Unit.USD:
            dollars = usd_text(NanoUSD(abs(amount)))
            return f"-${dollars}" if amount < 0 else f"${dollars}"
        return f"{amount} {unit[:-1] if amount == 1 else unit}"


_SENTENCES: Final = {
    What.USED: "{where}: {found} used, but its records come to {expected}.",
    What.HELD: "{where}: {found} held, but its open calls hold {expected}.",
    What.NEGATIVE: "{where}: {found} used, which is less than nothing.",
    What.RECORDED_TWICE: "request {where}: it has {found} records, not one.",
    What.PAID_TWICE: "response {where}: {found} records pay for it, not one.",
    What.HOLD_WITHOUT_CALL: "call {where}: it holds something, but it is not open.",
    What.LOSS_WITHOUT_RECORD: "call {where}: it was charged for the time being, but has no record that says so.",
    What.INSIDE_WITHOUT_WORKER: "call {where}: it is inside, in the care of a worker that nobody knows.",
    What.INSIDE_AFTER_END: "call {where}: it is inside, but has its record.",
    What.PLACE_MISSING: "{where}: it is inside, but has no place there.",
    What.PLACE_LEFT_OVER: "{where}: it has a place, but is not inside.",
}


@dataclass(frozen=True, slots=True)
class Hold:
    """What a call holds, or was charged with when it was lost."""

    id: str
    rows: tuple[Row, ...]
    """Where it is counted."""
    amounts: Amounts
    lost: bool
    has_owner: bool
    """Its open call; of a lost one, its lost record."""

    @property
    def day_us(self) -> int:
        """The beginning of its day; 0: it has none."""
        return max((start for _, grain, start in self.rows if grain == Grain.DAY), default=0)


@dataclass(frozen=True, slots=True)
class Inside:
    """Somebody who was admitted and has not left."""

    id: str
    scopes: frozenset[str]
    has_worker: bool
    has_record: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """One state of a ledger, as far as it is judged."""

    tallies: Mapping[Row, Tally]
    charges: Mapping[Row, Amounts]
    """What records come to, by the day in which they were charged: `charges_by_scope`."""
    holds: Collection[Hold] = ()
    inside: Collection[Inside] = ()
    places: Collection[Seat] = frozenset()
    recorded_twice: Mapping[str, int] = field(default_factory=dict)
    """Ids of requests, and how many records each has."""
    paid_twice: Mapping[str, int] = field(default_factory=dict)
    """Ids of responses, and how many records pay for each."""
    pruned_us: int = 0
    """The latest day of a record that was forgotten."""
    folded_us: int = 0
    """Days that begin earlier were made one."""

    @property
    def judged_from_us(self) -> int:
        """Days that begin then or later have all their records, and a row each."""
        return max(self.pruned_us + 1, self.folded_us)


def charges_by_scope(charged: Iterable[tuple[int, str | None, str | None, Amounts]]) -> dict[Row, Amounts]:
    """
    What each scope was charged, day by day.

    Args:
        charged: the beginning of the day, the team, the key, and what some of their records come to.
    """
    found: defaultdict[Row, Amounts] = defaultdict(Amounts)
    for day_us, team, key, amounts in charged:
        scopes = [
            ORG,
            *([] if team is None else [f"team:{team}"]),
            *([] if key is None else [f"key:{key}"]),
        ]
        for scope in scopes:
            found[scope, Grain.DAY, day_us] += amounts
    return dict(found)


def broken(books: Books) -> tuple[Broken, ...]:
    """All that does not hold in one state of a ledger; nothing: it adds up."""
    return (
        *_twice(books),
        *_orphans(books),
        *_places(books),
        *_used(books),
        *_held(books),
    )


def _twice(books: Books) -> Iterator[Broken]:
    for what, ids in (
        (What.RECORDED_TWICE, books.recorded_twice),
        (What.PAID_TWICE, books.paid_twice),
    ):
        for one, count in sorted(ids.items()):
            yield Broken(what, one, count, 1)


def _orphans(books: Books) -> Iterator[Broken]:
    for hold in sorted(books.holds, key=lambda one: one.id):
        if hold.has_owner:
            continue
        if not hold.lost:
            yield Broken(What.HOLD_WITHOUT_CALL, hold.id, 1, 0)
        elif hold.day_us >= books.judged_from_us:  # its record may have been forgotten else
            yield Broken(What.LOSS_WITHOUT_RECORD, hold.id, 1, 0)


def _places(books: Books) -> Iterator[Broken]:
    taken = set(books.places)
    meant: set[Seat] = set()
    for one in sorted(books.inside, key=lambda inside: inside.id):
        seats = {Seat(scope, one.id) for scope in one.scopes}
        meant |= seats
        if one.has_record:
            yield Broken(What.INSIDE_AFTER_END, one.id, 1, 0)
        elif not one.has_worker:
            yield Broken(What.INSIDE_WITHOUT_WORKER, one.id, 1, 0)
        else:
            for seat in sorted(seats - taken):
                yield Broken(What.PLACE_MISSING, seat, 0, 1)
    for seat in sorted(taken - meant):
        yield Broken(What.PLACE_LEFT_OVER, seat, 1, 0)


def _used(books: Books) -> Iterator[Broken]:
    for row in sorted(books.tallies.keys() | books.charges.keys()):
        used = books.tallies.get(row, Tally()).used
        is_judged = row[1] == Grain.DAY and row[2] >= books.judged_from_us
        charged = books.charges.get(row, NOTHING) if is_judged else used
        for unit in COUNTED:
            if used.of(unit) != charged.of(unit):
                yield Broken(What.USED, Counter(*row, unit), used.of(unit), charged.of(unit))
        for unit in (Unit.REQUESTS,) if is_judged else (Unit.REQUESTS, *COUNTED):
            if used.of(unit) < 0:
                yield Broken(What.NEGATIVE, Counter(*row, unit), used.of(unit), 0)


def _held(books: Books) -> Iterator[Broken]:
    held: defaultdict[Row, Amounts] = defaultdict(Amounts)
    for hold in books.holds:
        if hold.has_owner and not hold.lost:
            for row in hold.rows:
                held[_where(row, books)] += hold.amounts
    for row, tally in sorted(books.tallies.items(), key=lambda one: one[0]):
        expected = held.get(row, NOTHING)
        for unit in COUNTED:
            if tally.held.of(unit) != expected.of(unit):
                yield Broken(What.HELD, Counter(*row, unit), tally.held.of(unit), expected.of(unit))


def _where(row: Row, books: Books) -> Row:
    """Where what was counted in a row is now."""
    scope, grain, start = row
    is_folded = grain == Grain.DAY and start < books.folded_us and row not in books.tallies
    return (scope, grain, FOLDED) if is_folded else row
