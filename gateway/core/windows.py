"""
Windows in time: what the window of a limit covers at an instant, and the grains that usage is counted in.

Decided here: usage is counted in grains, and every window is a row of them. A calendar window (day, week, month,
total) is a row of days, as the organisation's time zone has them. A rolling one (second, minute, hour) is a row of
hundredths of its own length. A grain counts as long as any of it lies within the window: so no more than the limit is
ever let through within its length, and a call counts a hundredth of it longer at most.

Instants are integer microseconds of the epoch, as exact as every store is.

Not here: where days begin (the Calendar port says), what was used (quota.py).
"""

from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.core.limits import Window

SECOND_US: Final = 1_000_000
GRAINS: Final = 100
"""In a rolling window."""
_OVERLAP_US: Final = 23 * 3600 * SECOND_US - 1
"""Just less than the shortest day: the day before a window begins earlier, one of another time zone need not."""
_ALWAYS_US: Final = 1 << 62


class Grain(StrEnum):
    """The spans that usage is counted in."""

    SECOND = "second"
    """A hundredth of a second."""
    MINUTE = "minute"
    """A hundredth of a minute."""
    HOUR = "hour"
    """A hundredth of an hour."""
    DAY = "day"
    """A day of the calendar."""


ROLLING_US: Final = {
    Grain.SECOND: SECOND_US,
    Grain.MINUTE: 60 * SECOND_US,
    Grain.HOUR: 3600 * SECOND_US,
}
"""The length of each rolling window, by its grain."""
GRAIN_OF: Final = {
    Window.SECOND: Grain.SECOND,
    Window.MINUTE: Grain.MINUTE,
    Window.HOUR: Grain.HOUR,
    Window.DAY: Grain.DAY,
    Window.WEEK: Grain.DAY,
    Window.MONTH: Grain.DAY,
    Window.TOTAL: Grain.DAY,
}
"""What each window is a row of."""


@dataclass(frozen=True, slots=True)
class Span:
    """From `start_us` to `end_us`, which lies outside."""

    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Frame:
    """The calendar windows of one instant."""

    day: Span
    week: Span
    """From Monday."""
    month: Span

    def end_us(self, window: Window) -> int | None:
        """When a calendar window ends; None for `total`, and for those that roll."""
        match window:
            case Window.DAY:
                return self.day.end_us
            case Window.WEEK:
                return self.week.end_us
            case Window.MONTH:
                return self.month.end_us
            case _:
                return None


@dataclass(frozen=True, slots=True)
class Frames:
    """
    The calendar windows around an instant: of each kind the one before, its own and the next, without gaps.

    The store chooses among them by its own clock, so that a caller's may be off by as much as a day.
    """

    days: tuple[Span, ...]
    weeks: tuple[Span, ...]
    months: tuple[Span, ...]

    def at(self, at_us: int) -> Frame:
        """
        Those of one instant.

        Raises:
            LookupError: it lies outside of them: the clocks of caller and store are more than a day apart.
        """
        return Frame(_found(self.days, at_us), _found(self.weeks, at_us), _found(self.months, at_us))


def grain_start_us(grain: Grain, at_us: int, frame: Frame) -> int:
    """The beginning of the grain that has this instant."""
    if grain is Grain.DAY:
        return frame.day.start_us
    length = ROLLING_US[grain] // GRAINS
    return at_us // length * length


def window_us(window: Window, at_us: int, frame: Frame) -> Span:
    """
    The grains of a window are those that begin in this span.

    A day of another time zone, as the organisation had it before, counts where any of it lies in the window. What lies
    in the future was counted by a clock that has been set back since.
    """
    match window:
        case Window.DAY:
            return Span(frame.day.start_us - _OVERLAP_US, frame.day.end_us)
        case Window.WEEK:
            return Span(frame.week.start_us - _OVERLAP_US, frame.week.end_us)
        case Window.MONTH:
            return Span(frame.month.start_us - _OVERLAP_US, frame.month.end_us)
        case Window.TOTAL:
            return Span(0, _ALWAYS_US)
        case rolling:
            length = ROLLING_US[GRAIN_OF[rolling]]
            # From the first grain that has not left as a whole: its end lies after the window's beginning.
            return Span(at_us - length - length // GRAINS + 1, at_us + 1)


def grain_leaves_us(grain: Grain, start_us: int) -> int:
    """When a grain has left its rolling window as a whole."""
    length = ROLLING_US[grain]
    return start_us + length // GRAINS + length


def _found(spans: tuple[Span, ...], at_us: int) -> Span:
    number = bisect_right(spans, at_us, key=lambda span: span.start_us) - 1
    if number < 0 or at_us >= spans[number].end_us:
        raise LookupError("the clocks of the gateway and of its store are more than a day apart")
    return spans[number]
