"""
A store and a naive model of it, led through the same steps under one clock: they agree at each.

Keys of two teams of one organisation; several workers on one store, some of which die, or are silent for so long that
they are taken for dead; limits that change while calls run; a clock that moves by microseconds and by months, across
midnights, ends of months and changes of summer time. Any store of the `Ledger` port can be led through it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.adapters.calendar import ZoneCalendar
from gateway.core.ledger import OpenCall
from gateway.core.limits import Limit, Unit, Window, parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Claimant, Exceeded, Reading, Standing
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.core.units import NanoUSD
from gateway.core.windows import Frames
from gateway.ports import Ledger
from tests.support.clock import FakeClock
from tests.support.ledger import record
from tests.support.quota_model import (
    ROLLING_US,
    SECOND_US,
    SILENCE_US,
    Fact,
    Line,
    Passed,
    QuotaModel,
    Stopped,
    Sums,
)

T = TypeVar("T")


Opens = Callable[[Callable[[], float]], Ledger]
"""One more worker on a store. Takes what reads the clock, epoch seconds."""
Stores = Callable[[], AbstractContextManager[Opens]]
"""Each time it is called: a way to an empty one."""

DAY_US: Final = 86_400 * SECOND_US
TEAM_OF: Final = {"k1": "a", "k2": "a", "k3": "b"}
SCOPES: Final = ("key:k1", "key:k2", "key:k3", "team:a", "team:b", "org")
ZONES: Final = {
    "UTC": "2026-12-31T22:00:00Z",
    "Europe/Berlin": "2026-10-24T20:00:00Z",  # the night before a day of 25 hours
    "America/New_York": "2026-03-08T04:00:00Z",  # of 23
    "America/Santiago": "2026-09-06T03:00:00Z",  # whose midnight is skipped
    "Asia/Kathmandu": "2028-02-28T17:00:00Z",  # the night before a leap day
}
"""Each with an instant to begin at."""
SAID: Final = (
    "1 concurrent",
    "2 concurrent",
    "2 concurrent soft",
    "1 request per second",
    "3 requests per minute",
    "5 requests per day",
    "2 images per second",
    "4 images per minute",
    "5 images per hour",
    "2 images per hour soft",
    "6 images per day",
    "8 images per week",
    "9 images per month",
    "12 images total",
    "6 image_tokens per minute",
    "9 image_tokens per month soft",
    "9 tokens per hour",
    "15 tokens per week",
    "$0.000000005 per second",
    "$0.000000007 per minute",
    "$0.000000009 per day",
    "$0.000000012 per month",
    "$0.00000003 total",
)
PROBES: Final = tuple(
    Limit(10**12, unit, window)
    for unit in Unit
    for window in ([None] if unit is Unit.CONCURRENT else list(Window))
)
"""What is counted of anything anywhere."""

EDGES_US: Final = (
    *(part for length in ROLLING_US.values() for part in (length // 100, length, length + length // 100)),
    SILENCE_US,
)
"""Of grains, of windows, of patience."""

some_limits = st.lists(st.sampled_from(SAID), max_size=4, unique=True).map(
    lambda said: tuple(parse_limit(one) for one in said)
)
which = st.integers(0, 30)
"""Of several: 0 is the latest."""
amounts = st.builds(
    lambda images, image_tokens, text, cost: Amounts(
        images=images, image_tokens=image_tokens, tokens=image_tokens + text, cost_nusd=NanoUSD(cost)
    ),
    st.integers(0, 3),
    st.integers(0, 4),
    st.integers(0, 2),
    st.integers(0, 5),
)
End = tuple[Amounts, Outcome]
"""What a call came to, and how."""
ends = st.one_of(
    st.none(),
    st.tuples(amounts, st.just(Outcome.COMPLETED)),
    st.tuples(st.just(Amounts()), st.sampled_from([Outcome.FAILED, Outcome.REFUSED])),
)
small_steps_us = st.one_of(
    st.integers(0, 3),
    st.builds(lambda edge, off: edge + off, st.sampled_from(EDGES_US), st.integers(-2, 2)),
    st.integers(0, 30 * SECOND_US),
)
steps_us = st.one_of(
    small_steps_us,
    st.integers(0, 2 * 3600 * SECOND_US),
    st.integers(0, 3 * DAY_US),
    st.integers(0, 100 * DAY_US),
)
skews_h = st.just(0) | st.integers(-22, 22)
"""How far the clock of a caller is off."""


@dataclass
class Known:
    """A call, as whoever makes it knows it."""

    id: str
    number: int
    key: str
    arrived_us: int
    entered: bool = False
    """It has passed the first door."""
    response: str | None = None


class LimitsMachine(RuleBasedStateMachine):
    """Every rule is done to the store and to the model, and what both say is compared. See `machine_on`."""

    stores: ClassVar[Stores]
    """Makes an empty store for each run."""

    def __init__(self) -> None:
        super().__init__()
        self._ends = ExitStack()
        self._runner = self._ends.enter_context(asyncio.Runner())
        self._open = self._ends.enter_context(type(self).stores())
        self._clock = FakeClock()
        self._agreed = True
        self._calls: list[Known] = []
        self._workers: list[Ledger] = []
        self._made = 0
        self._begun = False
        self._limits: dict[str, tuple[Limit, ...]] = {}
        self._model, self._calendar, self._now_us = QuotaModel("UTC"), ZoneCalendar("UTC"), 0

    @initialize(
        zone=st.sampled_from(sorted(ZONES)),
        limits=st.fixed_dictionaries(dict.fromkeys(SCOPES, some_limits)),
        workers=st.integers(1, 3),
    )
    def begin(self, zone: str, limits: dict[str, tuple[Limit, ...]], workers: int) -> None:
        self._model, self._calendar, self._limits = QuotaModel(zone), ZoneCalendar(zone), limits
        self._now_us = round(datetime.fromisoformat(ZONES[zone]).timestamp()) * SECOND_US
        self._move(0)
        self._workers = [self._open(self._clock.now) for _ in range(workers)]
        self._begun = True

    # The doors

    @rule(worker=which, key=st.sampled_from(sorted(TEAM_OF)), skew_h=skews_h)
    def admit(self, worker: int, key: str, skew_h: int) -> None:
        """A call comes."""
        self._admit(self._worker(worker), self._new(key), skew_h)

    @precondition(lambda self: self._calls)
    @rule(worker=which, call=which)
    def admit_again(self, worker: int, call: int) -> None:
        """Whoever does not know whether it was done does it again: what is inside takes nothing more."""
        known = self._call(call)
        is_over = known.id in self._model.records
        if known.id in self._model.inside or not (known.entered or is_over):
            self._admit(self._worker(worker), known, 0)

    @precondition(lambda self: self._calls)
    @rule(
        worker=which,
        call=which,
        asked=amounts,
        skew_h=skews_h,
        force=st.sampled_from([False, False, False, True]),
        dispatched=st.booleans(),
    )
    def reserve(
        self, worker: int, call: int, asked: Amounts, skew_h: int, *, force: bool, dispatched: bool
    ) -> None:
        known = self._call(call)
        noted_without_claim = known.id in self._model.open and known.id not in self._model.holds
        if known.entered and not noted_without_claim:
            self._reserve(self._worker(worker), known, asked, skew_h, force=force, dispatched=dispatched)

    @rule(
        worker=which,
        key=st.sampled_from(sorted(TEAM_OF)),
        asked=amounts,
        force=st.sampled_from([False, False, False, True]),
    )
    def pass_both_doors_at_once(self, worker: int, key: str, asked: Amounts, *, force: bool) -> None:
        known = self._new(key)
        self._reserve(self._worker(worker), known, asked + FIRST_DOOR, 0, force=force, dispatched=True)

    @rule(
        worker=which,
        calls=st.lists(
            st.tuples(st.sampled_from(sorted(TEAM_OF)), amounts, small_steps_us, ends),
            min_size=2,
            max_size=8,
        ),
    )
    def serve(self, worker: int, calls: list[tuple[str, Amounts, int, End | None]]) -> None:
        """Some come one after the other, and some of them end at once."""
        for number, (key, asked, step_us, end) in enumerate(calls):
            self._move(step_us)
            ledger, known = self._worker(worker + number), self._new(key)
            asked_in_all = asked + FIRST_DOOR
            found = self._reserve(ledger, known, asked_in_all, 0, force=False, dispatched=True)
            if end is not None and isinstance(found, Standing):
                self._settle(ledger, known, *end)

    @precondition(lambda self: self._calls)
    @rule(worker=which, call=which)
    def note_a_call_that_asks_for_nothing(self, worker: int, call: int) -> None:
        self._reserve(self._worker(worker), self._call(call), None, 0, force=False, dispatched=True)

    @rule(
        key=st.sampled_from(sorted(TEAM_OF)),
        asked=amounts,
        count=st.integers(2, 6),
        doors=st.sampled_from([FIRST_DOOR, Amounts()]),
        charge=amounts,
    )
    def rush(self, key: str, asked: Amounts, count: int, doors: Amounts, charge: Amounts) -> None:
        """Many ask for the same at once, of all workers: as many pass as would one after the other."""
        calls = [self._new(key) for _ in range(count)]
        asked += doors

        async def all_at_once() -> list[Standing | Exceeded]:
            return await asyncio.gather(
                *(
                    self._worker(number).reserve(self._opened(one, asked), self._claim(one, asked, 0))
                    for number, one in enumerate(calls)
                )
            )

        found = list(zip(calls, range(count), self._do(all_at_once()), strict=True))
        found.sort(key=lambda one: isinstance(one[2], Exceeded))
        for one, number, said in found:
            worker, scopes = self._worker(number).worker, self._scopes(key)
            expected = self._model.reserve(
                one.id, worker, scopes, self._now_us, sums(asked), arrived_us=one.arrived_us
            )
            self._same(isinstance(said, Standing), isinstance(expected, Passed))
        # Who of them passes is chance, and the steps to come must not depend on it: all of them end.
        for one, number, said in found:
            if isinstance(said, Standing):
                self._settle(self._worker(number), one, charge, Outcome.COMPLETED)
        del self._calls[-count:]

    @rule(worker=which, key=st.sampled_from(sorted(TEAM_OF)), asked=amounts)
    def come_back_when_told(self, worker: int, key: str, asked: Amounts) -> None:
        """Refused, it passes at the instant it was told, and not a microsecond before."""
        ledger, known = self._worker(worker), self._new(key)
        found = self._reserve(ledger, known, asked, 0, force=False, dispatched=True)
        if isinstance(found, Exceeded) and found.clears_us is not None:
            note(f"told to come back in {found.clears_us - self._now_us} µs")
            self._move(found.clears_us - 1 - self._now_us)
            early = self._reserve(ledger, known, asked, 0, force=False, dispatched=True)
            self._same(isinstance(early, Exceeded), expected=True)
            self._move(1)
            late = self._reserve(ledger, known, asked, 0, force=False, dispatched=True)
            self._same(isinstance(late, Standing), expected=True)

    # The ends

    @precondition(lambda self: self._calls)
    @rule(worker=which, call=which)
    def leave(self, worker: int, call: int) -> None:
        known = self._call(call)
        self._do(self._worker(worker).leave(known.id))
        self._model.leave(known.id)

    @precondition(lambda self: self._calls)
    @rule(
        worker=which,
        call=which,
        charge=amounts,
        outcome=st.sampled_from([Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED, Outcome.REFUSED]),
        free=st.booleans(),
        guess=st.booleans(),
    )
    def settle(
        self, worker: int, call: int, charge: Amounts, outcome: Outcome, *, free: bool, guess: bool
    ) -> None:
        """For the first time or again, before or after it was taken for lost, for less or for more than was held."""
        nothing = free or outcome is Outcome.REFUSED
        known = self._call(call)
        self._settle(self._worker(worker), known, Amounts() if nothing else charge, outcome, guess=guess)

    @precondition(lambda self: self._model.open)
    @rule(worker=which, call=which, charge=amounts, guess=st.booleans())
    def settle_what_is_open(self, worker: int, call: int, charge: Amounts, *, guess: bool) -> None:
        known = [one for one in self._calls if one.id in self._model.open]
        self._settle(self._worker(worker), latest(known, call), charge, Outcome.COMPLETED, guess=guess)

    @precondition(lambda self: self._model.lost)
    @rule(worker=which, call=which, charge=amounts)
    def learn_the_truth(self, worker: int, call: int, charge: Amounts) -> None:
        """Of a call that was lost, or estimated."""
        known = [one for one in self._calls if one.id in self._model.lost]
        if known:
            self._settle(self._worker(worker), latest(known, call), charge, Outcome.COMPLETED)

    @precondition(lambda self: self._calls)
    @rule(worker=which, call=which)
    def dispatch(self, worker: int, call: int) -> None:
        """It goes up."""
        known = self._call(call)
        self._same(self._do(self._worker(worker).dispatch(known.id)), self._model.dispatch(known.id))

    @precondition(lambda self: self._model.open)
    @rule(worker=which, call=which, hours=st.integers(1, 60))
    def entrust(self, worker: int, call: int, hours: int) -> None:
        """It goes on in the background."""
        known = latest([one for one in self._calls if one.id in self._model.open], call)
        if known.response not in {None, f"resp_{known.number}"}:
            return
        known.response = f"resp_{known.number}"
        deadline_us = self._now_us + hours * 3600 * SECOND_US
        done = self._do(self._worker(worker).entrust(known.id, known.response, deadline_us / SECOND_US, None))
        self._same(done, self._model.entrust(known.id, known.response, deadline_us))

    @rule(worker=which, key=st.sampled_from(sorted(TEAM_OF)), asked=amounts, hours=st.integers(1, 60))
    def begin_in_the_background(self, worker: int, key: str, asked: Amounts, hours: int) -> None:
        ledger, known = self._worker(worker), self._new(key)
        self._reserve(ledger, known, asked + FIRST_DOOR, 0, force=True, dispatched=True)
        self.entrust(worker, 0, hours)

    @precondition(lambda self: any(one.response for one in self._calls))
    @rule(worker=which, call=which, charge=amounts, asked=st.none() | amounts)
    def settle_for_somebody_else(
        self, worker: int, call: int, charge: Amounts, asked: Amounts | None
    ) -> None:
        """
        Whoever fetches a response sees its end, and settles the call that pays for it.

        A call of its own that shows it too (`asked`) has its own record: the upstream gave the id twice.
        """
        owner = latest([one for one in self._calls if one.response], call)
        stranger = self._new(owner.key)
        stranger.response = owner.response
        if asked is not None:
            self._reserve(self._worker(worker), stranger, asked, 0, force=True, dispatched=True)
        self._settle(self._worker(worker), stranger, charge, Outcome.COMPLETED)

    # The workers

    @rule(worker=which)
    def beat(self, worker: int) -> None:
        ledger = self._worker(worker)
        self._do(ledger.beat())
        self._model.beats[ledger.worker] = self._now_us

    @rule(worker=which)
    def die(self, worker: int) -> None:
        """Another one takes its place; what it was about nobody looks after."""
        number = worker % len(self._workers)
        self._do(self._workers[number].aclose())
        self._workers[number] = self._open(self._clock.now)

    @rule(worker=which)
    def reap(self, worker: int) -> None:
        ledger = self._worker(worker)
        reaped = {one.id for one in self._do(ledger.reap())}
        self._same(reaped, self._model.reap(ledger.worker, self._now_us))

    @rule(worker=which)
    def adopt(self, worker: int) -> None:
        ledger = self._worker(worker)
        adopted = {one.record.id for one in self._do(ledger.adopt())}
        self._same(adopted, self._model.adopt(ledger.worker, self._now_us))

    @rule(worker=which, days=st.sampled_from([400, 400, 30, 0]))
    def prune(self, worker: int, days: int) -> None:
        before_us = self._now_us - days * DAY_US
        known = set(self._model.records)
        pruned = self._do(self._worker(worker).prune(before_us / SECOND_US))
        self._same(pruned, self._model.prune(before_us, self._now_us))
        gone = known - set(self._model.records)
        self._calls = [one for one in self._calls if one.id not in gone]

    # The limits, and time

    @rule(worker=which, scope=st.sampled_from(SCOPES), limits=st.none() | some_limits)
    def set_limits(self, worker: int, scope: str, limits: tuple[Limit, ...] | None) -> None:
        self._do(self._worker(worker).set_limits(scope, limits))
        if limits is None:
            self._model.changed.pop(scope, None)
        else:
            self._model.changed[scope] = limits
        self._same(dict(self._do(self._worker(worker + 1).changed_limits())), self._model.changed)

    @rule(step_us=steps_us, beating=st.sampled_from([True, True, False]))
    def pass_time(self, step_us: int, *, beating: bool) -> None:
        self._move(step_us)
        if beating:
            for number in range(len(self._workers)):
                self.beat(number)

    @rule(window=st.sampled_from([Window.DAY, Window.WEEK, Window.MONTH]), off_us=st.integers(-1, 1))
    def pass_time_until_a_window_ends(self, window: Window, off_us: int) -> None:
        ends_us = self._frames(0).at(self._now_us).end_us(window)
        assert ends_us is not None
        self._move(max(0, ends_us + off_us - self._now_us))

    @rule(worker=which, step_us=steps_us | st.integers(10, 130).map(lambda days: days * DAY_US))
    def sleep_and_tidy_up(self, worker: int, step_us: int) -> None:
        """The machine was suspended; that is the first that anybody does."""
        self._move(step_us)
        self.prune(worker, 400)

    @rule(worker=which, dead=st.integers(-1, 5 * SECOND_US))
    def reap_the_silent(self, worker: int, dead: int) -> None:
        """Workers are silent for as long as is allowed, about."""
        self.pass_time(0, beating=True)
        self._move(SILENCE_US + dead)
        self.reap(worker)

    @invariant()
    def limits_stand_as_the_model_says(self) -> None:
        if self._begun:
            self._compare_limits(self._limits)

    @rule()
    def everything_is_counted_as_the_model_says(self) -> None:
        self._compare_limits(dict.fromkeys(SCOPES, PROBES))

    @rule()
    def nothing_is_broken(self) -> None:
        """The store finds nothing in itself that does not add up."""
        self._same(self._do(self._worker(0).verify()), ())

    def teardown(self) -> None:
        """Everything comes to an end: nothing is held any more, nobody is inside."""
        try:
            if self._begun and self._agreed:
                self._finish()
        finally:
            for ledger in self._workers:
                self._runner.run(ledger.aclose())
            self._ends.close()

    def _finish(self) -> None:
        for known in self._calls:
            self._settle(self._worker(0), known, Amounts(images=1), Outcome.COMPLETED)
        for call in list(self._model.inside):
            self._do(self._worker(0).leave(call))
            self._model.leave(call)
        for scope in list(self._model.changed):
            self.set_limits(0, scope, None)
        for line in self._compare_limits(dict.fromkeys(SCOPES, PROBES)):
            self._same(line.held, 0)
            if line.limit.unit is Unit.CONCURRENT:
                self._same(line.used, 0)
        self._same(self._do(self._worker(0).open_calls()), ())
        self.nothing_is_broken()

    # How it is done to both

    def _admit(self, ledger: Ledger, known: Known, skew_h: int) -> None:
        before = len(self._model.facts)
        found = self._do(ledger.admit(self._claim(known, FIRST_DOOR, skew_h)))
        expected = self._model.admit(known.id, ledger.worker, self._scopes(known.key), self._now_us)
        self._same(shape(found), shape_of(expected, self._now_us))
        known.entered |= isinstance(found, Standing)
        self._stays_within(found, self._model.facts[before:])

    def _reserve(
        self,
        ledger: Ledger,
        known: Known,
        asked: Amounts | None,
        skew_h: int,
        *,
        force: bool,
        dispatched: bool,
    ) -> Standing | Exceeded:
        before = len(self._model.facts)
        claim = None if asked is None else self._claim(known, asked, skew_h)
        call = self._opened(known, asked or Amounts(), dispatched=dispatched)
        found = self._do(ledger.reserve(call, claim, force=force))
        expected = self._model.reserve(
            known.id,
            ledger.worker,
            self._scopes(known.key),
            self._now_us,
            None if asked is None else sums(asked),
            arrived_us=known.arrived_us,
            force=force,
            dispatched=dispatched,
        )
        self._same(shape(found), shape_of(expected, self._now_us))
        known.entered |= isinstance(found, Standing)
        if not force:
            self._stays_within(found, self._model.facts[before:])
        return found

    def _settle(
        self, ledger: Ledger, known: Known, charge: Amounts, outcome: Outcome, *, guess: bool = False
    ) -> None:
        tokens_from = TokensFrom.ESTIMATED if guess else TokensFrom.REPORTED
        ended = self._record(
            known, charge, outcome=outcome, response_id=known.response, tokens_from=tokens_from
        )
        stands = self._do(ledger.settle(ended, charge.images)).record
        expected = self._model.settle(
            known.id,
            known.arrived_us,
            sums(charge),
            response=known.response,
            refused=outcome is Outcome.REFUSED,
            estimated=guess,
        )
        self._same(
            (stands.id, stands.outcome is Outcome.LOST), (expected, self._model.records[expected].lost)
        )

    def _stays_within(self, found: Standing | Exceeded, taken: Sequence[Fact]) -> None:
        """No interval that ends now has more than a hard limit lets through, if this call took of it."""
        if isinstance(found, Exceeded):
            return
        for one in found.readings:
            unit, window = one.limit.unit, one.limit.window
            if one.limit.soft or not any(fact.used.get(unit) or fact.held.get(unit) for fact in taken):
                continue
            self._same(one.used + one.held <= one.limit.amount, expected=True)
            if window in ROLLING_US:
                lately = sum(
                    fact.used.get(unit, 0) + fact.held.get(unit, 0)
                    for fact in self._model.facts
                    if (one.scope, window) in fact.rates and fact.at_us >= self._now_us - ROLLING_US[window]
                )
                self._same(lately <= one.limit.amount, expected=True)

    def _compare_limits(self, limits: Mapping[str, tuple[Limit, ...]]) -> tuple[Line, ...]:
        claimants = [Claimant(scope, limits[scope]) for scope in SCOPES]
        found = self._do(self._worker(0).limits(claimants, self._frames(0), self._clock.now()))
        expected = self._model.lines([(one.scope, one.limits) for one in claimants], self._now_us)
        self._same(tuple(line(one) for one in found), expected)
        return expected

    def _claim(self, known: Known, asked: Amounts, skew_h: int) -> Claim:
        claimants = tuple(Claimant(scope, limits) for scope, limits in self._scopes(known.key))
        return Claim(id=known.id, claimants=claimants, asked=asked, frames=self._frames(skew_h))

    def _scopes(self, key: str) -> list[tuple[str, tuple[Limit, ...]]]:
        return [(scope, self._limits[scope]) for scope in (f"key:{key}", f"team:{TEAM_OF[key]}", "org")]

    def _frames(self, skew_h: int) -> Frames:
        return self._calendar.frames(self._clock.now() + skew_h * 3600)

    def _opened(self, known: Known, asked: Amounts, *, dispatched: bool = True) -> OpenCall:
        return OpenCall(record=self._record(known, asked, outcome=Outcome.FAILED), dispatched=dispatched)

    def _record(self, known: Known, charge: Amounts, **changes: Any) -> Record:
        return record(
            known.number,
            id=known.id,
            at=known.arrived_us / SECOND_US,
            team=TEAM_OF[known.key],
            key=known.key,
            images=charge.images,
            output_image_tokens=charge.image_tokens,
            input_text_tokens=charge.tokens - charge.image_tokens,
            cost_nusd=charge.cost_nusd,
            **changes,
        )

    def _new(self, key: str) -> Known:
        self._made += 1
        known = Known(f"igr_{self._made:04}", self._made, key, self._now_us)
        self._calls.append(known)
        return known

    def _call(self, number: int) -> Known:
        return latest(self._calls, number)

    def _worker(self, number: int) -> Ledger:
        return self._workers[number % len(self._workers)]

    def _move(self, step_us: int) -> None:
        self._now_us += step_us
        self._clock.seconds = self._now_us / SECOND_US

    def _do(self, act: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(act)
        except Exception:
            self._agreed = False
            raise

    def _same(self, found: object, expected: object) -> None:
        self._agreed = self._agreed and found == expected
        assert found == expected


def machine_on(stores: Stores) -> type[LimitsMachine]:
    """The machine over one kind of store."""
    return type("LimitsMachine", (LimitsMachine,), {"stores": staticmethod(stores)})


def latest(some: Sequence[T], number: int) -> T:
    """One of them, counted from the last."""
    return some[-1 - number % len(some)]


def sums(asked: Amounts) -> Sums:
    """What the model is told."""
    return {unit: asked.of(unit) for unit in Unit}


def line(one: Reading) -> Line:
    """A limit as the model has it."""
    return Line(one.scope, one.limit, one.used, one.held, one.resets_us)


def shape(found: Standing | Exceeded) -> tuple[object, ...]:
    """All that a store has said."""
    lines = tuple(line(one) for one in found.readings)
    if isinstance(found, Standing):
        return (found.at_us, lines, tuple(line(one) for one in found.passed_soft))
    return (found.at_us, lines, line(found.reading), found.asked, found.clears_us)


def shape_of(expected: Passed | Stopped, now_us: int) -> tuple[object, ...]:
    """All that the model has said."""
    if isinstance(expected, Passed):
        return (now_us, expected.lines, expected.warned)
    return (now_us, expected.lines, expected.line, expected.asked, expected.clears_us)
