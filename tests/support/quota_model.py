"""
What limits should do, said as naively as possible: to compare stores with.

It keeps all that every call took as a fact, with the exact instant at which it did, and finds everything out by looking
at all of them again: no sums are kept, no rows, no grains. Days, weeks and months are those of the time zone's dates.
When a limit will let a call pass is found by trying every instant at which something changes. Nothing here calls
`gateway.core.quota`; only limits themselves are shared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.limits import Limit, Unit, Window

SECOND_US: Final = 1_000_000
ROLLING_US: Final = {
    Window.SECOND: SECOND_US,
    Window.MINUTE: 60 * SECOND_US,
    Window.HOUR: 3600 * SECOND_US,
}
SILENCE_US: Final = 20 * SECOND_US
"""After which a worker is dead."""
TRUTH_US: Final = 62 * 86_400 * SECOND_US
"""How long a store, when it tidies up, still waits for the truth about a call that was lost."""
AT_THE_SECOND_DOOR: Final = (Unit.IMAGES, Unit.IMAGE_TOKENS, Unit.TOKENS, Unit.USD)

Sums = Mapping[Unit, int]
Scopes = Sequence[tuple[str, tuple[Limit, ...]]]
"""Narrowest first, each with its limits as configured."""


@dataclass(frozen=True)
class Line:
    """How one limit stands."""

    scope: str
    limit: Limit
    used: int
    held: int
    resets_us: int | None

    @property
    def left(self) -> int:
        return max(0, self.limit.amount - self.used - self.held)


@dataclass(frozen=True)
class Passed:
    lines: tuple[Line, ...] = ()
    """With what the call has taken, all of it called held."""
    warned: tuple[Line, ...] = ()
    """Soft limits that it goes beyond, as they stood before."""


@dataclass(frozen=True)
class Stopped:
    line: Line
    """Of the limit that is named."""
    asked: int
    clears_us: int | None
    lines: tuple[Line, ...]


@dataclass
class Fact:
    """Something that a call took at one instant."""

    call: str
    at_us: int
    scopes: tuple[str, ...]
    rates: frozenset[tuple[str, Window]]
    """Which scopes had a rate of which window then: rates set later know nothing of it."""
    used: dict[Unit, int] = field(default_factory=dict)
    held: dict[Unit, int] = field(default_factory=dict)


@dataclass
class Inside:
    """Someone who has a place."""

    worker: str
    door: Fact


@dataclass
class Open:
    """A call that has no record yet."""

    arrived_us: int
    worker: str
    dispatched: bool
    response: str | None = None
    deadline_us: int | None = None


@dataclass(frozen=True)
class Written:
    """The record of a call."""

    arrived_us: int
    lost: bool
    response: str | None
    guessed: bool = False
    """What its response reports may still take its place."""
    counted: bool = False


class QuotaModel:
    """
    All calls of a store, and what limits make of them.

    Args:
        zone: whose days count.
    """

    def __init__(self, zone: str) -> None:
        self._zone = ZoneInfo(zone)
        self.facts: list[Fact] = []
        self.inside: dict[str, Inside] = {}
        self.holds: dict[str, Fact] = {}
        """Of calls that have no record yet."""
        self.lost: dict[str, Fact] = {}
        """Of those whose truth may still come."""
        self.open: dict[str, Open] = {}
        self.records: dict[str, Written] = {}
        self.changed: dict[str, tuple[Limit, ...]] = {}
        self.beats: dict[str, int] = {}

    # The doors

    def admit(self, call: str, worker: str, scopes: Scopes, now_us: int) -> Passed | Stopped:
        self.beats[worker] = max(now_us, self.beats.get(worker, now_us))
        return self._enter(call, worker, scopes, now_us, {Unit.REQUESTS: 1, Unit.CONCURRENT: 1})

    def reserve(
        self,
        call: str,
        worker: str,
        scopes: Scopes,
        now_us: int,
        asked: Sums | None,
        *,
        arrived_us: int = 0,
        force: bool = False,
        dispatched: bool = True,
    ) -> Passed | Stopped:
        if call in self.records:
            return Passed()
        self.beats[worker] = max(now_us, self.beats.get(worker, now_us))
        found: Passed | Stopped = Passed()
        if asked is not None:
            wanted = dict(asked)
            is_held = call in self.holds or call in self.lost
            if is_held:
                wanted = {unit: amount for unit, amount in wanted.items() if unit not in AT_THE_SECOND_DOOR}
            found = self._enter(call, worker, scopes, now_us, wanted, force=force)
            if isinstance(found, Passed) and not is_held:
                fact = self._fact(call, scopes, now_us)
                fact.held = {unit: wanted.get(unit, 0) for unit in AT_THE_SECOND_DOOR}
                self.holds[call] = fact
        if isinstance(found, Passed):
            self.open.setdefault(call, Open(arrived_us, worker, dispatched))
        return found

    def _enter(
        self, call: str, worker: str, scopes: Scopes, now_us: int, wanted: Sums, *, force: bool = False
    ) -> Passed | Stopped:
        if wanted.get(Unit.CONCURRENT) and call in self.inside:
            wanted = {
                unit: amount
                for unit, amount in wanted.items()
                if unit not in {Unit.REQUESTS, Unit.CONCURRENT}
            }
        lines = self.lines(scopes, now_us)
        beyond = [line for line in lines if self._goes_beyond(line, wanted)]
        hard = [line for line in beyond if not line.limit.soft]
        if hard and not force:
            return self._stopped(hard, lines, wanted, now_us)
        if wanted.get(Unit.CONCURRENT):
            fact = self._fact(call, scopes, now_us)
            fact.used[Unit.REQUESTS] = wanted.get(Unit.REQUESTS, 0)
            self.inside[call] = Inside(worker, fact)
        taking = tuple(replace(line, held=line.held + wanted.get(line.limit.unit, 0)) for line in lines)
        return Passed(taking, tuple(line for line in beyond if line.limit.soft))

    @staticmethod
    def _goes_beyond(line: Line, wanted: Sums) -> bool:
        more = wanted.get(line.limit.unit, 0)
        return more > 0 and line.used + line.held + more > line.limit.amount

    def _stopped(self, hard: Iterable[Line], lines: tuple[Line, ...], wanted: Sums, now_us: int) -> Stopped:
        """Named is whichever takes longest to clear; of several the one with least left; then the narrowest."""
        named, named_clears = None, None
        for line in hard:
            clears = self._clears_us(line, wanted[line.limit.unit], now_us)
            if named is None:
                longer = True
            elif clears == named_clears:
                longer = line.left < named.left
            else:
                longer = clears is None or (named_clears is not None and clears > named_clears)
            if longer:
                named, named_clears = line, clears
        assert named is not None
        return Stopped(named, wanted[named.limit.unit], named_clears, lines)

    def _fact(self, call: str, scopes: Scopes, now_us: int) -> Fact:
        rates = frozenset(
            (scope, limit.window)
            for scope, limits in self._in_force(scopes)
            for limit in limits
            if limit.window in ROLLING_US
        )
        fact = Fact(call, now_us, tuple(scope for scope, _ in scopes), rates)
        self.facts.append(fact)
        return fact

    # The ends

    def leave(self, call: str) -> None:
        self.inside.pop(call, None)

    def dispatch(self, call: str) -> bool:
        if call in self.open:
            self.open[call].dispatched = True
        return call in self.open

    def entrust(self, call: str, response: str, deadline_us: int) -> bool:
        found = self.open.get(call)
        if found is None:
            return False
        found.dispatched, found.response, found.deadline_us = True, response, deadline_us
        self.leave(call)
        return True

    def settle(
        self,
        call: str,
        arrived_us: int,
        charge: Sums,
        *,
        response: str | None = None,
        refused: bool = False,
        lost: bool = False,
        estimated: bool = False,
    ) -> str:
        """
        A call came to that; a refused one gives its request back, if it is still inside.

        Returns:
            The call whose record stands: that of the response, if there is one, and the call was not noted itself.
        """
        noted = call in self.open or call in self.records
        if refused and call in self.inside:
            self.inside[call].door.used[Unit.REQUESTS] = 0
        paying = [one for one, record in self.records.items() if response and record.response == response]
        called = [one for one, known in self.open.items() if response and known.response == response]
        stands = call
        if paying or called:
            (stands,) = paying or called
        if stands != call and noted:
            stands, response = call, None
        self._close(call)
        if stands != call:
            arrived_us = self.open[stands].arrived_us if stands in self.open else arrived_us
            self._close(stands)
            self._end(call, {}, lost=False)
        before, guessed = self.records.get(stands), estimated and response is not None
        if before is None or self._is_corrected(stands, before, response, lost=lost, estimated=estimated):
            counted = stands in self.holds or stands in self.lost
            self._end(stands, charge, lost=lost or guessed)
            arrived_us = arrived_us if before is None else before.arrived_us
            self.records[stands] = Written(arrived_us, lost, response, guessed, counted)
        return stands

    def _is_corrected(
        self, call: str, before: Written, response: str | None, *, lost: bool, estimated: bool
    ) -> bool:
        """A loss by any other end; a guess by what its response reports, as long as it can be counted anew."""
        if lost or before.lost:
            return before.lost and not lost
        is_known = call in self.lost or not before.counted
        return before.guessed and not estimated and response == before.response and is_known

    def _close(self, call: str) -> None:
        self.open.pop(call, None)
        self.leave(call)

    def _end(self, call: str, charge: Sums, *, lost: bool) -> None:
        fact = self.holds.pop(call, None) or self.lost.pop(call, None)
        if fact is not None:
            fact.held, fact.used = {}, dict(charge)
            if lost:
                self.lost[call] = fact

    # The workers

    def is_dead(self, worker: str, now_us: int, asking: str) -> bool:
        beat_us = self.beats.get(worker)
        return worker != asking and (beat_us is None or now_us - beat_us > SILENCE_US)

    def reap(self, asking: str, now_us: int) -> set[str]:
        """What nobody looks after is lost: charged with what was held if it may have gone up, else with nothing."""
        for call, inside in list(self.inside.items()):
            if self.is_dead(inside.worker, now_us, asking):
                self.leave(call)
        reaped = set()
        for call, known in list(self.open.items()):
            is_over = known.deadline_us is not None and known.deadline_us <= now_us
            if is_over or (known.response is None and self.is_dead(known.worker, now_us, asking)):
                held = self.holds[call].held if call in self.holds and known.dispatched else {}
                self.settle(call, known.arrived_us, held, response=known.response, lost=True)
                reaped.add(call)
        in_care = {known.worker for known in self.open.values()}
        for worker in list(self.beats):
            if worker not in in_care and self.is_dead(worker, now_us, asking):
                del self.beats[worker]
        return reaped

    def adopt(self, asking: str, now_us: int) -> set[str]:
        """The calls in the background that are in its care now."""
        self.beats[asking] = now_us
        adopted = set()
        for call, known in self.open.items():
            if known.response is not None and (known.deadline_us is None or known.deadline_us > now_us):
                if self.is_dead(known.worker, now_us, asking):
                    known.worker = asking
                if known.worker == asking:
                    adopted.add(call)
        return adopted

    def prune(self, before_us: int, now_us: int) -> int:
        """Forget records, and wait no longer for truths; what was used stays used."""
        pruned = [call for call, record in self.records.items() if record.arrived_us < before_us]
        for call in pruned:
            del self.records[call]
        for call, fact in list(self.lost.items()):
            if fact.at_us < now_us - TRUTH_US:
                del self.lost[call]
        return len(pruned)

    # How limits stand

    def lines(self, scopes: Scopes, now_us: int) -> tuple[Line, ...]:
        return tuple(
            Line(scope, limit, *self._counted(scope, limit, now_us), self._ends_us(limit.window, now_us))
            for scope, limits in self._in_force(scopes)
            for limit in limits
        )

    def _in_force(self, scopes: Scopes) -> Scopes:
        return [(scope, self.changed.get(scope, limits)) for scope, limits in scopes]

    def _counted(self, scope: str, limit: Limit, now_us: int) -> tuple[int, int]:
        if limit.window is None:
            return sum(scope in inside.door.scopes for inside in self.inside.values()), 0
        used, held = 0, 0
        for fact in self.facts:
            if scope in fact.scopes and self._is_within(fact, scope, limit.window, now_us):
                used += fact.used.get(limit.unit, 0)
                held += fact.held.get(limit.unit, 0)
        return used, held

    def _is_within(self, fact: Fact, scope: str, window: Window, now_us: int) -> bool:
        if window in ROLLING_US:
            return (scope, window) in fact.rates and _leaves_us(window, fact.at_us) > now_us
        return self._period(window, fact.at_us) == self._period(window, now_us)

    def _clears_us(self, line: Line, more: int, now_us: int) -> int | None:
        """The first instant at which the limit lets it pass, if nothing else happens."""
        limit = line.limit
        if more > limit.amount or limit.window is Window.TOTAL:
            return None
        if limit.window is None:
            return now_us + SECOND_US
        ends_us = self._ends_us(limit.window, now_us)
        if ends_us is not None:
            changes = {ends_us}
        else:
            changes = {_leaves_us(limit.window, fact.at_us) for fact in self.facts}
        for at_us in sorted(changes):
            if at_us > now_us and sum(self._counted(line.scope, limit, at_us)) + more <= limit.amount:
                return at_us
        raise AssertionError(f"{limit.text} never clears for {more}")

    # The calendar

    def _period(self, window: Window, at_us: int) -> tuple[int, ...]:
        day = self._date(at_us)
        match window:
            case Window.DAY:
                return (day.toordinal(),)
            case Window.WEEK:
                return day.isocalendar()[:2]
            case Window.MONTH:
                return (day.year, day.month)
            case _:
                return ()

    def _ends_us(self, window: Window | None, at_us: int) -> int | None:
        day = self._date(at_us)
        match window:
            case Window.DAY:
                following = day + timedelta(days=1)
            case Window.WEEK:
                following = day + timedelta(days=8 - day.isoweekday())
            case Window.MONTH:
                following = (day.replace(day=28) + timedelta(days=4)).replace(day=1)
            case _:
                return None
        return round(datetime.combine(following, time(), self._zone).timestamp()) * SECOND_US

    def _date(self, at_us: int) -> date:
        return datetime.fromtimestamp(at_us // SECOND_US, UTC).astimezone(self._zone).date()


def _leaves_us(window: Window, at_us: int) -> int:
    """When the hundredth of a rolling window that has this instant has left it."""
    length = ROLLING_US[window]
    hundredth = length // 100
    return at_us // hundredth * hundredth + hundredth + length
