from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.calendar import ZoneCalendar
from gateway.core.limits import Limit, Unit, Window, parse_limit
from gateway.core.quota import (
    FIRST_DOOR,
    NOTHING,
    Amounts,
    Claim,
    Claimant,
    Exceeded,
    Reading,
    Standing,
    Tally,
    charge_of,
    clears_us,
    exceeded,
    readings_of,
    rows_of,
    standing,
    stopping,
    windows_of,
)
from gateway.core.units import NanoUSD
from gateway.core.windows import GRAIN_OF, ROLLING_US, SECOND_US, Grain, Span, window_us
from tests.support.ledger import NOON, record
from tests.support.quota_model import Line, Passed, QuotaModel, Stopped

ZONE: Final = "Europe/Berlin"
CALENDAR: Final = ZoneCalendar(ZONE)
NOON_US: Final = int(NOON) * SECOND_US
"""2027-01-15T12:00:00Z, a Friday."""
FRAMES: Final = CALENDAR.frames(NOON)
FRAME: Final = FRAMES.at(NOON_US)
DAY_US: Final = 86_400 * SECOND_US


def limits(*said: str) -> tuple[Limit, ...]:
    return tuple(parse_limit(one) for one in said)


def reading(said: str, used: int = 0, held: int = 0, scope: str = "key:k") -> Reading:
    limit = parse_limit(said)
    ends = None if limit.window is None else FRAME.end_us(limit.window)
    return Reading(scope, limit, used, held, ends)


# Amounts


def amounts() -> st.SearchStrategy[Amounts]:
    some = st.integers(-1000, 1000)
    return st.builds(
        Amounts,
        requests=some,
        images=some,
        image_tokens=some,
        tokens=some,
        cost_nusd=some.map(NanoUSD),
        places=some,
    )


def test_every_unit_of_a_limit_is_counted_apart() -> None:
    some = Amounts(requests=1, images=2, image_tokens=3, tokens=4, cost_nusd=NanoUSD(5), places=6)
    assert [some.of(unit) for unit in Unit] == [5, 2, 3, 4, 1, 6]


@given(one=amounts(), other=amounts())
def test_amounts_add_up_unit_by_unit_and_differences_give_back(one: Amounts, other: Amounts) -> None:
    assert [(one + other).of(unit) for unit in Unit] == [one.of(unit) + other.of(unit) for unit in Unit]
    assert one + other - other == one
    assert one - one == NOTHING


def test_the_first_door_takes_a_request_and_a_place() -> None:
    assert [FIRST_DOOR.of(unit) for unit in Unit] == [0, 0, 0, 0, 1, 1]


def test_a_call_is_charged_all_of_its_tokens_and_the_pictures_that_it_is_told() -> None:
    """Cached input is part of the input, the surcharge for partial images part of the output."""
    done = record(
        1,
        images=1,
        input_text_tokens=10,
        input_image_tokens=200,
        cached_input_tokens=5,
        output_image_tokens=3000,
        partial_image_tokens=100,
        output_text_tokens=40_000,
        cost_nusd=NanoUSD(7),
    )
    assert charge_of(done, images=2) == Amounts(
        images=2, image_tokens=3000, tokens=43_210, cost_nusd=NanoUSD(7)
    )


# Readings


@pytest.mark.parametrize(
    ("used", "held", "remaining"), [(0, 0, 20), (5, 3, 12), (20, 0, 0), (10, 10, 0), (25, 0, 0), (19, 5, 0)]
)
def test_what_remains_is_what_is_neither_used_nor_held_and_no_debt(
    used: int, held: int, remaining: int
) -> None:
    assert reading("20 images per minute", used, held).remaining == remaining


@pytest.mark.parametrize(
    ("used", "held", "asked", "stops"),
    [
        (0, 0, 20, False),
        (0, 0, 21, True),
        (12, 7, 1, False),
        (12, 7, 2, True),
        (12, 8, 1, True),
        (25, 0, 1, True),
    ],
)
def test_a_call_passes_up_to_the_limit_and_not_beyond(
    used: int, held: int, asked: int, *, stops: bool
) -> None:
    assert reading("20 images per minute", used, held).stops(Amounts(images=asked)) is stops


def test_a_call_that_asks_for_nothing_of_a_unit_is_not_stopped_by_its_debt() -> None:
    """At the first door nobody knows yet whether the call will cost money."""
    in_debt = reading("$5 per day", used=6_000_000_000)
    assert not in_debt.stops(FIRST_DOOR)
    assert in_debt.stops(Amounts(cost_nusd=NanoUSD(1)))


def test_what_is_taken_is_held_in_the_limits_own_unit() -> None:
    asked = Amounts(images=4, tokens=900)
    assert reading("20 images per minute", 1, 2).taking(asked) == reading("20 images per minute", 1, 6)
    assert reading("$5 per day", 1, 2).taking(asked) == reading("$5 per day", 1, 2)


def test_limits_are_read_in_their_order_each_from_its_window() -> None:
    claimant = Claimant(
        "team:t", limits("4 concurrent", "$5 per day", "9 images per day", "9 images per hour")
    )
    tallies = {
        Window.DAY: Tally(Amounts(images=3, cost_nusd=NanoUSD(30)), Amounts(images=2, cost_nusd=NanoUSD(20))),
        Window.HOUR: Tally(Amounts(images=1), Amounts(images=1)),
    }
    assert list(readings_of(claimant, tallies, 3, FRAME)) == [
        reading("4 concurrent", used=3, scope="team:t"),
        reading("$5 per day", 30, 20, scope="team:t"),
        reading("9 images per day", 3, 2, scope="team:t"),
        reading("9 images per hour", 1, 1, scope="team:t"),
    ]


def test_a_budget_says_when_it_ends_and_a_rate_does_not() -> None:
    claimant = Claimant(
        "org", limits("$5 per day", "$9 per week", "$9 per month", "$9 total", "9 images per hour")
    )
    tallies = dict.fromkeys(Window, Tally())
    assert [one.resets_us for one in readings_of(claimant, tallies, 0, FRAME)] == [
        FRAME.day.end_us,
        FRAME.week.end_us,
        FRAME.month.end_us,
        None,
        None,
    ]


# Where a call is counted


def claim_for(*claimants: Claimant, asked: Amounts = FIRST_DOOR) -> Claim:
    return Claim(id="igr_1", claimants=claimants, asked=asked, frames=FRAMES)


def test_days_are_counted_for_every_scope_and_rates_where_there_is_one() -> None:
    claim = claim_for(
        Claimant("key:k", limits("20 images per minute", "9 images per minute soft", "4 concurrent")),
        Claimant("team:t"),
        Claimant("org", limits("$5 per month", "2 requests per second", "100 requests per hour")),
    )
    at_us = NOON_US + 12_345_678
    assert set(rows_of(claim, at_us)) == {
        ("key:k", Grain.DAY, FRAME.day.start_us),
        ("key:k", Grain.MINUTE, NOON_US + 12_000_000),
        ("team:t", Grain.DAY, FRAME.day.start_us),
        ("org", Grain.DAY, FRAME.day.start_us),
        ("org", Grain.SECOND, NOON_US + 12_340_000),
        ("org", Grain.HOUR, NOON_US),
    }
    assert len(rows_of(claim, at_us)) == 6


def test_the_day_is_that_of_the_stores_clock() -> None:
    (row,) = rows_of(claim_for(Claimant("org")), FRAME.day.end_us)
    assert row == ("org", Grain.DAY, FRAME.day.end_us)


def test_each_window_of_a_scope_is_looked_up_once() -> None:
    claimant = Claimant(
        "org",
        limits("$5 per month", "9 images per month", "2 requests per minute", "4 concurrent", "$9 total"),
    )
    assert windows_of(claimant, NOON_US, FRAME) == {
        Window.MONTH: (Grain.DAY, window_us(Window.MONTH, NOON_US, FRAME)),
        Window.MINUTE: (Grain.MINUTE, window_us(Window.MINUTE, NOON_US, FRAME)),
        Window.TOTAL: (Grain.DAY, window_us(Window.TOTAL, NOON_US, FRAME)),
    }


# Who passes


def test_soft_limits_warn_and_admit() -> None:
    soft, hard = reading("1 image per day soft", used=1), reading("5 images per day", used=1)
    asked = Amounts(images=1)
    assert stopping([soft, hard], asked) == ()
    assert standing(NOON_US, [soft, hard], asked) == Standing(
        NOON_US, (replace(soft, held=1), replace(hard, held=1)), (soft,)
    )


def test_all_limits_that_a_call_goes_beyond_stop_it_in_their_order() -> None:
    first, second = reading("2 images per day", used=2), reading("3 images per hour", used=3, scope="org")
    assert stopping([first, reading("9 images total"), second], Amounts(images=1)) == (first, second)


@pytest.mark.parametrize(
    ("said", "used", "clears"),
    [
        ("4 images per day", 4, FRAME.day.end_us),
        ("4 images per week", 4, FRAME.week.end_us),
        ("4 images per month", 9, FRAME.month.end_us),
        ("4 images total", 4, None),
        ("1 image per day", 0, None),  # two are more than the whole limit
        ("1 image per minute", 0, None),
    ],
)
def test_a_budget_lets_a_call_pass_when_its_window_ends(said: str, used: int, clears: int | None) -> None:
    assert clears_us(reading(said, used), Amounts(images=2), NOON_US) == clears


def test_nobody_knows_when_a_place_is_free_so_ask_again_in_a_second() -> None:
    assert clears_us(reading("1 concurrent", used=1), FIRST_DOOR, NOON_US) == NOON_US + SECOND_US


def test_a_rate_lets_a_call_pass_when_enough_has_rolled_out_for_it() -> None:
    """Grains of a minute are 600 ms: what they count has left when a minute has passed since their end."""
    rolling = [(NOON_US, 2), (NOON_US + 600_000, 1), (NOON_US + 6_000_000, 3)]
    now_us, full = NOON_US + 30 * SECOND_US, reading("6 images per minute", used=4, held=2)
    waits = [clears_us(full, Amounts(images=asked), now_us, rolling) for asked in (1, 2, 3, 4, 6)]
    left = [60_600_000, 60_600_000, 61_200_000, 66_600_000, 66_600_000]
    assert waits == [NOON_US + after for after in left]


def test_named_is_the_limit_that_lasts_longest() -> None:
    minute, day, total = (
        reading("1 image per minute", used=1),
        reading("2 images per day", used=2, scope="team:t"),
        reading("3 images total", used=3, scope="org"),
    )
    clearing = {minute: NOON_US + 5, day: NOON_US + 9}
    found = exceeded(NOON_US, [minute, day], Amounts(images=1), clearing)
    assert found == Exceeded(NOON_US, day, 1, NOON_US + 9, (minute, day))
    never = exceeded(NOON_US, [minute, day, total], Amounts(images=1), clearing | {total: None})
    assert (never.reading, never.clears_us) == (total, None)


def test_of_limits_that_last_as_long_the_one_with_least_left_is_named_and_then_the_narrowest() -> None:
    asked = Amounts(images=3)
    loose, tight, wide = (
        reading("9 images per day", used=7),
        reading("9 images per day", used=8, scope="team:t"),
        reading("9 images per day", used=8, scope="org"),
    )
    clearing = dict.fromkeys((loose, tight, wide), FRAME.day.end_us)
    assert exceeded(NOON_US, list(clearing), asked, clearing).reading == tight


# All of it, against a naive model


class Shelf:
    """A store in a dictionary: what core decides, added up and compared."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, Grain, int], Amounts] = {}

    def take(self, claim: Claim, at_us: int) -> Standing | Exceeded:
        found = self.look(claim, at_us)
        if isinstance(found, Standing):
            for row in rows_of(claim, at_us):
                self._rows[row] = self._rows.get(row, NOTHING) + claim.asked
        return found

    def look(self, claim: Claim, at_us: int) -> Standing | Exceeded:
        frame = claim.frames.at(at_us)
        readings: list[Reading] = []
        for claimant in claim.claimants:
            tallies = {
                window: Tally(
                    sum((amount for _, amount in self._within(claimant.scope, grain, span)), NOTHING)
                )
                for window, (grain, span) in windows_of(claimant, at_us, frame).items()
            }
            readings += readings_of(claimant, tallies, 0, frame)
        stops = stopping(readings, claim.asked)
        if not stops:
            return standing(at_us, readings, claim.asked)
        clearing = {}
        for one in stops:
            window = one.limit.window
            assert window is not None
            span = window_us(window, at_us, frame)
            rolling = [
                (start, amount.of(one.limit.unit))
                for start, amount in self._within(one.scope, GRAIN_OF[window], span)
            ]
            rolls = GRAIN_OF[window] in ROLLING_US
            clearing[one] = clears_us(one, claim.asked, at_us, rolling if rolls else ())
        return exceeded(at_us, readings, claim.asked, clearing)

    def _within(self, scope: str, grain: Grain, span: Span) -> list[tuple[int, Amounts]]:
        return sorted(
            (
                (start, amount)
                for (of, kind, start), amount in self._rows.items()
                if (of, kind) == (scope, grain) and span.start_us <= start < span.end_us
            ),
            key=lambda row: row[0],
        )


CHOICE: Final = st.sampled_from(
    limits(
        "3 images per second",
        "4 images per minute",
        "6 images per minute",
        "6 images per hour",
        "7 images per day",
        "8 images per week",
        "9 images per month",
        "30 images total",
        "2 images per minute soft",
    )
)
STEPS_US: Final = st.one_of(
    st.integers(0, 2),
    st.integers(9_998, 10_002),
    st.integers(599_998, 600_002),
    st.integers(0, 70 * SECOND_US),
    st.integers(0, 3700 * SECOND_US),
    st.integers(0, 40 * DAY_US),
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[tuple[Claimant, ...], list[tuple[int, int]]]:
    """Limits of a key, a team and the organisation, and calls one after the other: when, and how many pictures."""
    scopes = tuple(
        Claimant(scope, tuple(draw(st.lists(CHOICE, max_size=3, unique=True))))
        for scope in ("key:k", "team:t", "org")
    )
    now_us, calls = NOON_US, []
    for step in draw(st.lists(STEPS_US, min_size=1, max_size=20)):
        now_us += step
        calls.append((now_us, draw(st.integers(1, 5))))
    return scopes, calls


def claim_at(scopes: Sequence[Claimant], at_us: int, images: int) -> Claim:
    frames = CALENDAR.frames(at_us / SECOND_US)
    return Claim(id="igr_1", claimants=tuple(scopes), asked=Amounts(images=images), frames=frames)


def shown(standing_: Sequence[Reading | Line]) -> list[tuple[object, ...]]:
    """What both of them know: the shelf holds nothing, all that it has is used."""
    return [(one.scope, one.limit, one.used + one.held, one.resets_us) for one in standing_]


@given(history=histories())
def test_limits_do_what_a_naive_model_says(
    history: tuple[tuple[Claimant, ...], list[tuple[int, int]]],
) -> None:
    scopes, calls = history
    shelf, model = Shelf(), QuotaModel(ZONE)
    named = [(one.scope, one.limits) for one in scopes]
    for number, (at_us, images) in enumerate(calls):
        found = shelf.take(claim_at(scopes, at_us, images), at_us)
        match model.reserve(f"igr_{number}", "w", named, at_us, {Unit.IMAGES: images}):
            case Passed(lines, warned):
                assert isinstance(found, Standing)
                assert shown(found.passed_soft) == shown(warned)
                assert shown(found.readings) == shown(lines)
            case Stopped(named_, asked, clears, lines):
                assert isinstance(found, Exceeded)
                assert shown([found.reading]) == shown([named_])
                assert (found.asked, found.clears_us) == (asked, clears)
                assert shown(found.readings) == shown(lines)


@given(history=histories())
def test_a_refused_call_passes_at_the_instant_it_is_told_and_not_a_microsecond_before(
    history: tuple[tuple[Claimant, ...], list[tuple[int, int]]],
) -> None:
    scopes, calls = history
    shelf = Shelf()
    for at_us, images in calls:
        found = shelf.take(claim_at(scopes, at_us, images), at_us)
        if isinstance(found, Standing):
            continue
        clears = found.clears_us
        if clears is None:
            never = at_us + 400 * DAY_US
            assert isinstance(shelf.look(claim_at(scopes, never, images), never), Exceeded)
        else:
            assert clears > at_us
            assert isinstance(shelf.look(claim_at(scopes, clears - 1, images), clears - 1), Exceeded)
            assert isinstance(shelf.look(claim_at(scopes, clears, images), clears), Standing)


@given(history=histories())
def test_a_refused_call_takes_nothing(
    history: tuple[tuple[Claimant, ...], list[tuple[int, int]]],
) -> None:
    scopes, calls = history
    all_of_them, passed_only = Shelf(), Shelf()
    for at_us, images in calls:
        claim = claim_at(scopes, at_us, images)
        if isinstance(all_of_them.take(claim, at_us), Standing):
            assert isinstance(passed_only.take(claim, at_us), Standing)
    last_us = calls[-1][0]
    probe = claim_at(scopes, last_us, 1)
    assert all_of_them.look(probe, last_us) == passed_only.look(probe, last_us)
