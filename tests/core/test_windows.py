from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.limits import Window
from gateway.core.windows import (
    GRAIN_OF,
    GRAINS,
    ROLLING_US,
    SECOND_US,
    Frame,
    Frames,
    Grain,
    Span,
    grain_leaves_us,
    grain_start_us,
    window_us,
)

DAY_US: Final = 86_400 * SECOND_US
NOON_US: Final = 1_800_014_400 * SECOND_US
"""2027-01-15T12:00:00Z, a Friday."""
FRAME: Final = Frame(
    day=Span(NOON_US - DAY_US // 2, NOON_US + DAY_US // 2),
    week=Span(NOON_US - 4 * DAY_US - DAY_US // 2, NOON_US + 2 * DAY_US + DAY_US // 2),
    month=Span(NOON_US - 14 * DAY_US - DAY_US // 2, NOON_US + 16 * DAY_US + DAY_US // 2),
)
ROLLING: Final = (Window.SECOND, Window.MINUTE, Window.HOUR)

rolling = st.sampled_from(ROLLING)


def counts(window: Window, taken_us: int, now_us: int) -> bool:
    """Whether what was taken then counts in the window now, as a store finds out."""
    start_us = grain_start_us(GRAIN_OF[window], taken_us, FRAME)
    span = window_us(window, now_us, FRAME)
    return span.start_us <= start_us < span.end_us


# What windows are rows of


@pytest.mark.parametrize(
    ("window", "grain_us"), [(Window.SECOND, 10_000), (Window.MINUTE, 600_000), (Window.HOUR, 36_000_000)]
)
def test_a_rolling_window_is_a_row_of_hundredths(window: Window, grain_us: int) -> None:
    grain = GRAIN_OF[window]
    assert ROLLING_US[grain] == GRAINS * grain_us
    starts = {grain_start_us(grain, NOON_US + number * grain_us, FRAME) for number in range(3)}
    assert starts == {NOON_US, NOON_US + grain_us, NOON_US + 2 * grain_us}
    assert grain_start_us(grain, NOON_US + grain_us - 1, FRAME) == NOON_US


@pytest.mark.parametrize("window", [Window.DAY, Window.WEEK, Window.MONTH, Window.TOTAL])
def test_a_calendar_window_is_a_row_of_days(window: Window) -> None:
    assert GRAIN_OF[window] is Grain.DAY
    assert grain_start_us(Grain.DAY, NOON_US, FRAME) == FRAME.day.start_us


def test_every_window_is_a_row_of_something() -> None:
    assert set(GRAIN_OF) == set(Window)


@pytest.mark.parametrize(
    ("window", "since_us", "end_us"),
    [
        (Window.DAY, FRAME.day.start_us, FRAME.day.end_us),
        (Window.WEEK, FRAME.week.start_us, FRAME.week.end_us),
        (Window.MONTH, FRAME.month.start_us, FRAME.month.end_us),
        (Window.TOTAL, 0, None),
    ],
)
def test_a_calendar_window_begins_and_ends_with_its_days(
    window: Window, since_us: int, end_us: int | None
) -> None:
    span = window_us(window, NOON_US, FRAME)
    assert span.start_us == (since_us - 23 * 3600 * SECOND_US + 1 if since_us else 0)
    assert FRAME.end_us(window) == end_us
    assert end_us is None or span.end_us == end_us


def test_a_day_of_another_time_zone_counts_where_it_lies_in_the_window() -> None:
    """The organisation has moved: its days began eight hours earlier, or sixteen later."""
    span = window_us(Window.DAY, NOON_US, FRAME)
    hours = 3600 * SECOND_US
    assert span.start_us <= FRAME.day.start_us - 8 * hours < span.end_us
    assert span.start_us <= FRAME.day.start_us + 16 * hours < span.end_us
    assert FRAME.day.start_us - 23 * hours < span.start_us, "the day before, be it the shortest"


@pytest.mark.parametrize("window", ROLLING)
def test_what_lies_in_the_future_does_not_count_in_a_rate(window: Window) -> None:
    """A clock that went an hour ahead has been set back."""
    assert counts(window, NOON_US, NOON_US)
    assert not counts(window, NOON_US + 3600 * SECOND_US, NOON_US)


@pytest.mark.parametrize("window", ROLLING)
def test_a_rolling_window_never_ends(window: Window) -> None:
    assert FRAME.end_us(window) is None


# What counts, and how long


@pytest.mark.parametrize(
    ("now_us", "counted"),
    [
        (NOON_US, True),
        (NOON_US + 60 * SECOND_US, True),  # a minute after it was taken
        (NOON_US + 60 * SECOND_US + 599_999, True),  # a microsecond of its grain lies in the window
        (NOON_US + 60 * SECOND_US + 600_000, False),
    ],
)
def test_a_grain_counts_as_long_as_any_of_it_lies_within_the_window(now_us: int, *, counted: bool) -> None:
    assert counts(Window.MINUTE, NOON_US, now_us) is counted


@given(window=rolling, taken_us=st.integers(NOON_US, NOON_US + DAY_US))
def test_a_call_counts_for_its_window_and_a_hundredth_more_at_most(window: Window, taken_us: int) -> None:
    length = ROLLING_US[GRAIN_OF[window]]
    leaves_us = grain_leaves_us(GRAIN_OF[window], grain_start_us(GRAIN_OF[window], taken_us, FRAME))
    assert length < leaves_us - taken_us <= length + length // GRAINS


@given(window=rolling, taken_us=st.integers(NOON_US, NOON_US + DAY_US), waited_us=st.integers(0, DAY_US))
def test_a_call_counts_until_its_grain_leaves_and_never_again(
    window: Window, taken_us: int, waited_us: int
) -> None:
    leaves_us = grain_leaves_us(GRAIN_OF[window], grain_start_us(GRAIN_OF[window], taken_us, FRAME))
    assert counts(window, taken_us, leaves_us - 1)
    assert not counts(window, taken_us, leaves_us)
    now_us = taken_us + waited_us
    assert counts(window, taken_us, now_us) is (now_us < leaves_us)


def let_through(window: Window, most: int, asked: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of these calls (when, how much) that a limit of so much lets through, one after the other."""
    passed: list[tuple[int, int]] = []
    for now_us, amount in asked:
        used = sum(before for taken_us, before in passed if counts(window, taken_us, now_us))
        if used + amount <= most:
            passed.append((now_us, amount))
    return passed


@st.composite
def rushes(draw: st.DrawFn) -> tuple[Window, list[tuple[int, int]]]:
    """Calls at and around the edges of grains and windows, where a fault would be."""
    window = draw(rolling)
    length = ROLLING_US[GRAIN_OF[window]]
    grain = length // GRAINS
    steps = st.one_of(
        st.integers(0, 3),
        st.integers(grain - 2, grain + 2),
        st.integers(length - grain - 2, length - grain + 2),
        st.integers(length - 2, length + 2),
        st.integers(0, 2 * length),
    )
    now_us, calls = NOON_US + draw(st.integers(0, grain)), []
    for step in draw(st.lists(steps, max_size=30)):
        now_us += step
        calls.append((now_us, draw(st.integers(1, 4))))
    return window, calls


@given(rush=rushes(), most=st.integers(1, 12))
def test_no_interval_of_a_windows_length_has_more_than_the_limit(
    rush: tuple[Window, list[tuple[int, int]]], most: int
) -> None:
    """Whichever interval one looks at, both of its ends included; it is fullest when it begins with a call."""
    window, calls = rush
    length = ROLLING_US[GRAIN_OF[window]]
    passed = let_through(window, most, calls)
    for begins_us, _ in passed:
        within = sum(amount for at_us, amount in passed if begins_us <= at_us <= begins_us + length)
        assert within <= most


@given(rush=rushes(), most=st.integers(1, 12))
def test_who_keeps_a_hundredth_below_the_limit_is_never_stopped(
    rush: tuple[Window, list[tuple[int, int]]], most: int
) -> None:
    """Calls that fit into every interval of a window and its hundredth pass, all of them."""
    window, calls = rush
    length = ROLLING_US[GRAIN_OF[window]]
    kept: list[tuple[int, int]] = []
    for at_us, amount in calls:
        lately = sum(before for then_us, before in kept if then_us >= at_us - length - length // GRAINS)
        if lately + amount <= most:
            kept.append((at_us, amount))
    assert let_through(window, most, kept) == kept


# The calendar's windows around an instant


def row(*edges: int) -> tuple[Span, ...]:
    return tuple(Span(edges[number], edges[number + 1]) for number in range(len(edges) - 1))


AROUND: Final = Frames(days=row(0, 10, 20, 30), weeks=row(-50, 0, 20, 90), months=row(-300, -20, 20, 300))


@pytest.mark.parametrize(
    ("at_us", "frame"),
    [
        (0, Frame(Span(0, 10), Span(0, 20), Span(-20, 20))),
        (9, Frame(Span(0, 10), Span(0, 20), Span(-20, 20))),
        (10, Frame(Span(10, 20), Span(0, 20), Span(-20, 20))),
        (20, Frame(Span(20, 30), Span(20, 90), Span(20, 300))),
        (29, Frame(Span(20, 30), Span(20, 90), Span(20, 300))),
    ],
)
def test_the_store_finds_its_windows_among_the_callers(at_us: int, frame: Frame) -> None:
    assert AROUND.at(at_us) == frame


@pytest.mark.parametrize("at_us", [-1, 30])
def test_clocks_more_than_a_day_apart_are_told(at_us: int) -> None:
    with pytest.raises(LookupError, match="more than a day apart"):
        AROUND.at(at_us)
