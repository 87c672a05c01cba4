from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.calendar import ZoneCalendar
from gateway.core.windows import Span


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


# The windows of limits


def spans(spans_: tuple[Span, ...]) -> list[tuple[float, float]]:
    return [(span.start_us / 1e6, span.end_us / 1e6) for span in spans_]


def own_hours(zone: str, text: str) -> float:
    day = ZoneCalendar(zone).frames(at(text)).days[1]
    return (day.end_us - day.start_us) / 3.6e9


def test_around_an_instant_lie_its_own_windows_and_their_neighbours() -> None:
    """2026-11-25 is a Wednesday."""
    found = ZoneCalendar("UTC").frames(at("2026-11-25T12:00:00Z"))
    assert spans(found.days) == [
        (at("2026-11-24T00:00Z"), at("2026-11-25T00:00Z")),
        (at("2026-11-25T00:00Z"), at("2026-11-26T00:00Z")),
        (at("2026-11-26T00:00Z"), at("2026-11-27T00:00Z")),
    ]
    assert spans(found.weeks) == [
        (at("2026-11-16T00:00Z"), at("2026-11-23T00:00Z")),
        (at("2026-11-23T00:00Z"), at("2026-11-30T00:00Z")),
        (at("2026-11-30T00:00Z"), at("2026-12-07T00:00Z")),
    ]
    assert spans(found.months) == [
        (at("2026-10-01T00:00Z"), at("2026-11-01T00:00Z")),
        (at("2026-11-01T00:00Z"), at("2026-12-01T00:00Z")),
        (at("2026-12-01T00:00Z"), at("2027-01-01T00:00Z")),
    ]


@pytest.mark.parametrize(
    ("zone", "instant", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00:00+02:00", 23),
        ("Europe/Berlin", "2026-10-25T02:30:00+02:00", 25),  # the hour that comes twice, for the first time
        ("Europe/Berlin", "2026-10-25T02:30:00+01:00", 25),  # and for the second
        ("America/New_York", "2026-03-08T00:00:00-05:00", 23),
        ("America/New_York", "2026-11-01T23:59:59-05:00", 25),
        ("America/Santiago", "2026-09-06T12:00:00-03:00", 23),  # midnight itself is skipped
        ("America/Havana", "2026-11-01T00:30:00-05:00", 25),  # the hour after midnight, for the second time
        ("UTC", "2026-10-25T12:00:00Z", 24),
    ],
)
def test_the_window_of_a_day_is_as_long_as_the_clocks_make_it(zone: str, instant: str, hours: int) -> None:
    assert own_hours(zone, instant) == hours


def test_a_month_is_an_hour_longer_in_which_summer_ends() -> None:
    month = ZoneCalendar("Europe/Berlin").frames(at("2026-10-10T12:00:00Z")).months[1]
    assert (month.end_us - month.start_us) / 3.6e9 == 31 * 24 + 1


def test_a_year_ends_within_a_week() -> None:
    """2026-12-31 is a Thursday."""
    found = ZoneCalendar("UTC").frames(at("2026-12-31T23:59:59Z"))
    assert spans(found.days)[1:] == [
        (at("2026-12-31T00:00Z"), at("2027-01-01T00:00Z")),
        (at("2027-01-01T00:00Z"), at("2027-01-02T00:00Z")),
    ]
    assert spans(found.weeks)[1] == (at("2026-12-28T00:00Z"), at("2027-01-04T00:00Z"))
    assert spans(found.months)[1:] == [
        (at("2026-12-01T00:00Z"), at("2027-01-01T00:00Z")),
        (at("2027-01-01T00:00Z"), at("2027-02-01T00:00Z")),
    ]


def test_a_year_begins_after_the_december_before_it() -> None:
    months = ZoneCalendar("UTC").frames(at("2027-01-01T00:00:00Z")).months
    assert spans(months)[0] == (at("2026-12-01T00:00Z"), at("2027-01-01T00:00Z"))


@pytest.mark.parametrize("instant", ["2027-02-01T00:00:00Z", "2027-02-28T23:59:59Z"])
def test_a_short_month_lies_between_long_ones(instant: str) -> None:
    months = ZoneCalendar("UTC").frames(at(instant)).months
    assert spans(months) == [
        (at("2027-01-01T00:00Z"), at("2027-02-01T00:00Z")),
        (at("2027-02-01T00:00Z"), at("2027-03-01T00:00Z")),
        (at("2027-03-01T00:00Z"), at("2027-04-01T00:00Z")),
    ]


@pytest.mark.parametrize(
    ("instant", "monday"),
    [
        ("2026-11-22T23:59:59.999999Z", "2026-11-16T00:00Z"),
        ("2026-11-23T00:00:00Z", "2026-11-23T00:00Z"),
        ("2026-11-29T12:00:00Z", "2026-11-23T00:00Z"),
    ],
)
def test_a_week_begins_on_monday(instant: str, monday: str) -> None:
    assert ZoneCalendar("UTC").frames(at(instant)).weeks[1].start_us == at(monday) * 1_000_000


@pytest.mark.parametrize("instant", ["2011-12-29T23:59:59-10:00", "2011-12-31T00:00:00+14:00"])
def test_a_day_that_a_place_has_skipped_is_nobodys_neighbour(instant: str) -> None:
    """Samoa crossed the date line: a store a second ahead, or behind, still finds its day."""
    found = ZoneCalendar("Pacific/Apia").frames(at(instant))
    edge = at("2011-12-31T00:00:00+14:00")
    assert edge in [start for start, _ in spans(found.days)]
    assert all(span.end_us > span.start_us for span in found.days)
    for seconds in (-86_400, -1, 0, 1, 86_399):
        at_us = round((at(instant) + seconds) * 1_000_000)
        day = found.at(at_us).day
        assert day.start_us <= at_us < day.end_us


def test_windows_turn_over_at_midnight() -> None:
    calendar = ZoneCalendar("Europe/Berlin")
    midnight = at("2026-12-01T00:00:00+01:00")
    before, after = calendar.frames(midnight - 1e-6), calendar.frames(midnight)
    assert (before.days[1], before.months[1]) == (after.days[0], after.months[0])
    assert after.days[1].start_us == after.months[1].start_us == midnight * 1_000_000
    assert calendar.frames(midnight + 86_399) is after
    assert calendar.frames(midnight - 1e-6) == before


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia"]
INSTANTS = st.integers(int(at("2008-01-01T00:00Z")), int(at("2032-01-01T00:00Z"))) | st.sampled_from(
    [
        int(at("2011-12-30T10:00Z")),  # Samoa crosses the date line
        int(at("2026-03-29T01:00Z")),  # summer begins in Berlin
        int(at("2026-10-25T01:00Z")),  # and ends
        int(at("2026-09-06T04:00Z")),  # midnight is skipped in Santiago
    ]
).flatmap(lambda second: st.integers(second - 90_000, second + 90_000))


@given(zone=st.sampled_from(ZONES), seconds=st.lists(INSTANTS, min_size=1, max_size=5))
def test_windows_have_no_gaps_and_hold_every_instant_a_day_around(zone: str, seconds: list[int]) -> None:
    calendar = ZoneCalendar(zone)
    for second in seconds:
        found = calendar.frames(second)
        for row in (found.days, found.weeks, found.months):
            assert len(row) == 3
            assert row[1].start_us <= second * 1_000_000 < row[1].end_us
            assert [span.end_us for span in row[:-1]] == [span.start_us for span in row[1:]]
            assert all(span.start_us < span.end_us for span in row)


@given(zone=st.sampled_from(ZONES), second=INSTANTS)
def test_the_window_of_a_day_is_the_day_of_reports(zone: str, second: int) -> None:
    calendar = ZoneCalendar(zone)
    (day,) = calendar.days(second, second)
    assert spans(calendar.frames(second).days)[1] == (day.start, day.end)


@given(zone=st.sampled_from(ZONES), second=INSTANTS)
def test_windows_do_not_depend_on_what_was_asked_before(zone: str, second: int) -> None:
    used = ZoneCalendar(zone)
    for before in (second - 86_400, second + 1, second - 1):
        used.frames(before)
    assert used.frames(second) == ZoneCalendar(zone).frames(second)
