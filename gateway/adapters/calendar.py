"""Days as people count them: the time zone database."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from gateway.core.ledger import Day

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

    def _begin(self, day: date) -> float:
        # Where the clocks skip midnight, Python counts on as before the change: that is the first instant of the day.
        return datetime.combine(day, time(), self._zone).timestamp()
