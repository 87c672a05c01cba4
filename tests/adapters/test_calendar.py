from datetime import datetime

import pytest

from gateway.adapters.calendar import ZoneCalendar


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_days_begin_at_midnight_where_the_organisation_is() -> None:
    days = ZoneCalendar("Asia/Tokyo").days(at("2026-10-31T14:59:59Z"), at("2026-10-31T15:00:00Z"))
    assert [(day.name, day.start, day.end) for day in days] == [
        ("2026-10-31", at("2026-10-30T15:00:00Z"), at("2026-10-31T15:00:00Z")),
        ("2026-11-01", at("2026-10-31T15:00:00Z"), at("2026-11-01T15:00:00Z")),
    ]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("America/Santiago", "2026-09-06", 23),  # midnight itself is skipped
        ("America/Havana", "2026-11-01", 25),  # the hour after midnight comes twice
        ("UTC", "2026-10-25", 24),
    ],
)
def test_a_day_is_as_long_as_the_clocks_make_it(zone: str, day: str, hours: int) -> None:
    calendar = ZoneCalendar(zone)
    (found,) = calendar.days(calendar.instant(day), calendar.instant(day) + 3600)
    assert (found.name, found.end - found.start) == (day, hours * 3600)


def test_days_follow_each_other_without_gaps() -> None:
    days = ZoneCalendar("America/Santiago").days(at("2025-01-01T12:00:00Z"), at("2026-12-31T12:00:00Z"))
    assert [day.end for day in days[:-1]] == [day.start for day in days[1:]]
    assert (len(days), days[0].name, days[-1].name) == (730, "2025-01-01", "2026-12-31")


def test_a_day_that_a_place_has_skipped_is_none() -> None:
    """Samoa crossed the date line at the end of 2011-12-29."""
    days = ZoneCalendar("Pacific/Apia").days(at("2011-12-29T12:00:00-10:00"), at("2011-12-31T12:00:00+14:00"))
    assert [day.name for day in days] == ["2011-12-29", "2011-12-31"]


def test_a_day_and_an_instant_can_be_written() -> None:
    calendar = ZoneCalendar("Europe/Berlin")
    assert calendar.instant("2026-11-01") == at("2026-11-01T00:00:00+01:00")
    assert calendar.instant("2026-11-01T12:00:00Z") == at("2026-11-01T12:00:00+00:00")
    assert calendar.instant("2026-11-01T12:00:00.5+02:00") == at("2026-11-01T10:00:00.5+00:00")


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2026-13-01", "2026-W45-1", "2026-11-01T12:00:00", "9999-12-31T23:59:59-23:00x", "1e9"],
)
def test_what_is_no_time_is_told_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time\. Write a day"):
        ZoneCalendar("UTC").instant(text)
