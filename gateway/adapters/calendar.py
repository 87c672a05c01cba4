"""Days as people count them: the time zone database."""

import re
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.ledger import Day, micros
from gateway.core.windows import Frames, Span

# Python reads more of ISO 8601 than RFC 3339 has: weeks, and instants without an offset.
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(
    _DAY.pattern + r"[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class ZoneCalendar:
    """
    The `Calendar` port over a time zone.

    Args:
        timezone: its name, such as `Europe/Berlin`.
    """

    def __init__(self, timezone: str) -> None:
        self._zone = ZoneInfo(timezone)
        self._frames: Frames | None = None

    def days(self, start: float, end: float) -> tuple[Day, ...]:
        """Every day that has an instant of `start` … `end`; 23 or 25 hours long where the clocks change."""
        day = datetime.fromtimestamp(start, UTC).astimezone(self._zone).date()
        found = []
        begins = self._begin(day)
        while begins <= end:
            ends = self._begin(day + timedelta(days=1))
            # A place that crossed the date line has skipped a day: it has no instant.
            if ends > begins:
                found.append(Day(day.isoformat(), begins, ends))
            day, begins = day + timedelta(days=1), ends
        return tuple(found)

    def instant(self, text: str) -> float:
        """Epoch seconds of a day's beginning, or of an instant."""
        try:
            if _DAY.fullmatch(text):
                return self._begin(date.fromisoformat(text))
            if _INSTANT.fullmatch(text):
                return datetime.fromisoformat(text.upper()).timestamp()
        except (ValueError, OverflowError):
            pass
        raise ValueError(
            f"'{text[:80]}' is no time. Write a day (2026-11-01) or an instant with its offset (2026-11-01T12:00:00Z)."
        )

    def frames(self, at: float) -> Frames:
        """The calendar windows around an instant. They are the same all day, so that they are made once a day."""
        known, at_us = self._frames, micros(at)
        if known is None or not known.days[1].start_us <= at_us < known.days[1].end_us:
            known = self._frames = self._around(datetime.fromtimestamp(at, UTC).astimezone(self._zone).date())
        return known

    def _around(self, day: date) -> Frames:
        monday, first = day - timedelta(days=day.weekday()), day.replace(day=1)
        return Frames(
            days=self._spans([day + timedelta(days=number) for number in range(-2, 4)], day),
            weeks=self._spans([monday + timedelta(weeks=number) for number in range(-1, 3)], monday),
            months=self._spans([_months_later(first, number) for number in range(-1, 3)], first),
        )

    def _spans(self, begins: list[date], own: date) -> tuple[Span, ...]:
        # A day that a place has skipped begins where the next one does: it has no instant, and is nobody's neighbour.
        edges = list(dict.fromkeys(micros(self._begin(day)) for day in begins))
        before = edges.index(micros(self._begin(own))) - 1
        return tuple(Span(start, end) for start, end in pairwise(edges[before : before + 4]))

    def _begin(self, day: date) -> float:
        # Where the clocks skip midnight, Python counts on as before the change: that is the first instant of the day.
        return datetime.combine(day, time(), self._zone).timestamp()


def _months_later(first: date, number: int) -> date:
    years, month = divmod(first.month - 1 + number, 12)
    return first.replace(year=first.year + years, month=month + 1)
