import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.calendar import ZoneCalendar
from gateway.core.allowance import PATIENCE_S, headers, instant, refusal, tightest
from gateway.core.errors import Code, Refusal
from gateway.core.limits import Limit, Unit, Window, parse_limit
from gateway.core.quota import Exceeded, Reading, Standing
from gateway.core.windows import GRAIN_OF, ROLLING_US, SECOND_US
from tests.support.ledger import NOON

NOON_US: Final = int(NOON) * SECOND_US
"""2027-01-15T12:00:00Z, a Friday."""
FRAME: Final = ZoneCalendar("UTC").frames(NOON).at(NOON_US)


def reading(said: str, used: int = 0, held: int = 0, scope: str = "key:k") -> Reading:
    limit = parse_limit(said)
    ends = None if limit.window is None else FRAME.end_us(limit.window)
    return Reading(scope, limit, used, held, ends)


def told(*readings: Reading) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers(Standing(NOON_US, readings))}


def refused(stopped_by: Reading, asked: int, after_us: int | None, others: Sequence[Reading] = ()) -> Refusal:
    clears = None if after_us is None else NOON_US + after_us
    return refusal(Exceeded(NOON_US, stopped_by, asked, clears, (stopped_by, *others)))


# What every answer says


def test_who_has_no_limits_is_told_nothing() -> None:
    assert told() == {}


def test_each_unit_is_told_as_openai_tells_it() -> None:
    assert told(
        reading("60 requests per minute", used=1),
        reading("1000000 tokens per hour", held=900),
        reading("20 images per minute", used=3, held=4),
        reading("200000 image_tokens per day", used=4160),
        reading("$0.50 per second", used=1),
    ) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1m0.6s",
        "x-ratelimit-limit-tokens": "1000000",
        "x-ratelimit-remaining-tokens": "999100",
        "x-ratelimit-reset-tokens": "1h0m36s",
        "x-ratelimit-limit-images": "20",
        "x-ratelimit-remaining-images": "13",
        "x-ratelimit-reset-images": "1m0.6s",
        "x-ratelimit-limit-image-tokens": "200000",
        "x-ratelimit-remaining-image-tokens": "195840",
        "x-ratelimit-reset-image-tokens": "12h0m0s",
        "x-ratelimit-limit-usd": "0.5",
        "x-ratelimit-remaining-usd": "0.499999999",
        "x-ratelimit-reset-usd": "1.01s",
    }


def test_of_one_unit_the_tightest_limit_is_told_whatever_its_scope() -> None:
    found = told(
        reading("20 images per minute", used=2),
        reading("50 images per day", used=40, scope="team:t"),
        reading("1000 images total", used=10, scope="org"),
    )
    assert found == {
        "x-ratelimit-limit-images": "50",
        "x-ratelimit-remaining-images": "10",
        "x-ratelimit-reset-images": "12h0m0s",
    }


def test_what_never_comes_back_has_no_reset() -> None:
    assert told(reading("1000 images total", used=10)) == {
        "x-ratelimit-limit-images": "1000",
        "x-ratelimit-remaining-images": "990",
    }


@pytest.mark.parametrize("said", ["20 images per minute", "20 images per day"])
def test_what_is_unused_has_reset_already(said: str) -> None:
    """OpenAI writes `0s`, as recorded answers of it show."""
    assert told(reading(said))["x-ratelimit-reset-images"] == "0s"


def test_a_debt_leaves_nothing_and_no_less() -> None:
    found = told(reading("$5 per day", used=7_000_000_000))
    assert found["x-ratelimit-remaining-usd"] == "0"
    assert found["x-imagegate-budget-remaining-usd"] == "0"


def test_places_are_no_unit_of_openais() -> None:
    assert told(reading("4 concurrent", used=1)) == {}


def test_the_budget_is_the_least_that_is_left_of_money_that_does_not_roll() -> None:
    found = told(
        reading("$5 per day", used=1_250_000_000),
        reading("$100 per month", used=99_000_000_000, scope="team:t"),
        reading("$0.10 per minute", used=99_000_000, scope="org"),
    )
    assert found["x-imagegate-budget-remaining-usd"] == "1"
    assert found["x-ratelimit-remaining-usd"] == "0.001"


def test_money_that_rolls_alone_is_no_budget() -> None:
    assert "x-imagegate-budget-remaining-usd" not in told(reading("$0.10 per minute"))


def test_a_soft_limit_warns_and_does_not_count_as_the_tightest() -> None:
    soft, hard = reading("10 images per day soft", used=10, scope="team:t"), reading("20 images per minute")
    found = dict(headers(Standing(NOON_US, (soft, hard), (soft,))))
    assert found[b"x-imagegate-warning"] == b"beyond a soft limit (team 't': 10 images per day soft)"
    assert found[b"x-ratelimit-limit-images"] == b"20"


def test_a_warning_names_every_soft_limit_and_is_fit_for_a_header() -> None:
    passed = (
        reading("1 image per day soft", scope="key:växt"),
        reading("$1 per day soft", scope="org"),
    )
    found = dict(headers(Standing(NOON_US, (), passed)))[b"x-imagegate-warning"]
    assert (
        found == b"beyond a soft limit (key 'v?xt': 1 image per day soft, the organisation: $1 per day soft)"
    )


def test_the_tightest_limit_of_a_unit_has_least_left_and_refuses() -> None:
    few, many = reading("9 images per day", used=8), reading("900 images per day", used=8)
    soft = reading("9 images per day soft", used=9)
    assert tightest([many, soft, few], Unit.IMAGES) is few
    assert tightest([soft], Unit.IMAGES) is None
    assert tightest([few], Unit.TOKENS) is None


# Refusals


def test_a_rate_is_told_with_its_scope_its_use_and_the_wait() -> None:
    found = refused(reading("20 images per minute", used=18, held=1), 2, 6_017_000)
    assert found.code is Code.RATE_LIMIT_EXCEEDED
    assert found.message == (
        "Rate limit reached for key 'k': 20 images per minute; 18 images used and 1 image held by calls under way, "
        "and this call may need 2 images. Please try again in 6.017s."
    )
    assert (found.retry_after_ms, found.should_retry, found.param) == (6017, True, None)
    assert dict(found.headers)[b"x-ratelimit-remaining-images"] == b"1"


def test_a_budget_is_told_with_the_instant_at_which_it_comes_back() -> None:
    stopped = reading("$5 per day", used=4_990_000_000, scope="team:t")
    found = refused(stopped, 20_000_000, FRAME.day.end_us - NOON_US)
    assert found.code is Code.INSUFFICIENT_QUOTA
    assert found.message == (
        "The budget of team 't' is spent: $5 per day; $4.99 used, and this call may need $0.02. "
        "It comes back at 2027-01-16T00:00:00Z."
    )
    assert (found.retry_after_ms, found.should_retry) == (12 * 3_600_000, False)


def test_a_total_does_not_come_back() -> None:
    found = refused(reading("100 images total", used=100, scope="org"), 1, None)
    assert found.code is Code.INSUFFICIENT_QUOTA
    assert found.message == (
        "The budget of the organisation is spent: 100 images total; 100 images used, and this call may need 1 image. "
        "It does not come back: have it raised."
    )
    assert (found.retry_after_ms, found.should_retry) == (None, False)


@pytest.mark.parametrize("said", ["2 images per minute", "2 images per day", "2 images total"])
def test_a_call_larger_than_a_whole_limit_is_not_told_to_wait(said: str) -> None:
    found = refused(reading(said), 3, None)
    assert found.code is Code.INSUFFICIENT_QUOTA
    assert found.message.startswith(
        f"This call may need 3 images, more than the whole limit of key 'k': {said}. Ask for less"
    )
    assert (found.retry_after_ms, found.should_retry) == (None, False)


def test_too_many_at_once_are_told_how_many_there_are() -> None:
    found = refused(reading("4 concurrent", used=4), 1, SECOND_US)
    assert found.code is Code.RATE_LIMIT_EXCEEDED
    assert found.message == (
        "Too many requests at once for key 'k': 4 concurrent, and 4 are under way. "
        "Please try again when one has ended."
    )
    assert (found.retry_after_ms, found.should_retry) == (1000, True)


@pytest.mark.parametrize(
    ("after_us", "retry"),
    [(1, True), (60_000_000, True), (60_000_001, False), (60_600_000, False), (3_636_000_000, False)],
)
def test_a_retry_is_advised_if_waiting_for_a_minute_helps(after_us: int, *, retry: bool) -> None:
    found = refused(reading("20 images per hour", used=20), 1, after_us)
    assert found.should_retry is retry


def test_a_budget_advises_no_retry_even_if_its_window_is_about_to_end() -> None:
    found = refused(reading("20 images per day", used=20), 1, 5 * SECOND_US)
    assert (found.retry_after_ms, found.should_retry) == (5000, False)


@pytest.mark.parametrize(("after_us", "ms"), [(1, 1), (999, 1), (1000, 1), (1001, 2), (0, 1)])
def test_the_wait_is_rounded_up_to_a_millisecond_and_never_nothing(after_us: int, ms: int) -> None:
    assert refused(reading("20 images per hour", used=20), 1, after_us).retry_after_ms == ms


# How times and durations are written


@pytest.mark.parametrize(
    ("after_us", "said"),
    [
        (1, "1ms"),
        (17_000, "17ms"),
        (999_000, "999ms"),
        (999_001, "1s"),
        (1_000_000, "1s"),
        (8_640_000, "8.64s"),
        (58_891_000, "58.891s"),
        (59_999_001, "1m0s"),
        (60_000_000, "1m0s"),
        (86_400_000, "1m26.4s"),
        (360_000_000, "6m0s"),
        (3_600_000_000, "1h0m0s"),
        (3_636_001_000, "1h0m36.001s"),
    ],
)
def test_a_duration_is_written_as_openai_writes_it(after_us: int, said: str) -> None:
    found = refused(reading("20 images per hour", used=20), 1, after_us)
    assert found.message.endswith(f"Please try again in {said}.")


_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(\d+(?:\.\d{1,3})?)(m?s)")


@given(after_us=st.integers(1, 40 * 86_400 * SECOND_US))
def test_a_duration_reads_back_as_the_wait(after_us: int) -> None:
    found = refused(reading("20 images per hour", used=20), 1, after_us)
    said = _DURATION.fullmatch(found.message.rpartition(" in ")[2].removesuffix("."))
    assert said is not None
    hours, minutes, last, unit = said.groups(default="0")
    last_ms = round(float(last) * (1 if unit == "ms" else 1000))
    assert (int(hours) * 60 + int(minutes)) * 60_000 + last_ms == found.retry_after_ms
    assert last_ms < (1000 if unit == "ms" else 60_000)
    assert int(minutes) < 60


@given(at_us=st.integers(0, 4_000_000_000 * SECOND_US))
def test_an_instant_is_written_in_whole_seconds_of_utc(at_us: int) -> None:
    text = instant(at_us)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", text)
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(at_us // SECOND_US, UTC)


# Any limits


UNITS: Final = {
    Unit.REQUESTS: "requests",
    Unit.TOKENS: "tokens",
    Unit.IMAGES: "images",
    Unit.IMAGE_TOKENS: "image-tokens",
    Unit.USD: "usd",
}


@st.composite
def readings(draw: st.DrawFn, *, soft: bool = True) -> Reading:
    unit = draw(st.sampled_from(Unit))
    window = None if unit is Unit.CONCURRENT else draw(st.sampled_from(Window))
    limit = Limit(draw(st.integers(1, 10**12)), unit, window, soft=soft and draw(st.booleans()))
    used, held = draw(st.integers(0, 2 * limit.amount)), draw(st.integers(0, limit.amount))
    ends = None if window is None else FRAME.end_us(window)
    return Reading(draw(st.sampled_from(["key:k", "team:t", "org"])), limit, used, held, ends)


def number(unit: Unit, text: str) -> int:
    """The amount that a header says; money back in nano-dollars, without a float."""
    if unit is not Unit.USD:
        return int(text)
    whole, _, part = text.partition(".")
    return int(whole) * 10**9 + int(part.ljust(9, "0"))


@given(standing=st.lists(readings(), max_size=8))
def test_a_client_is_told_exactly_what_is_left_of_its_tightest_limits(standing: list[Reading]) -> None:
    found = told(*standing)
    for unit, name in UNITS.items():
        left = [one.remaining for one in standing if one.limit.unit is unit and not one.limit.soft]
        said = found.get(f"x-ratelimit-remaining-{name}")
        assert (None if said is None else number(unit, said)) == min(left, default=None)
        limit = found.get(f"x-ratelimit-limit-{name}")
        assert limit is None or number(unit, limit) in {one.limit.amount for one in standing}
        assert f"x-ratelimit-reset-{name}" not in found or said is not None


@given(stopped=readings(soft=False), data=st.data())
def test_every_refusal_is_true_to_its_code(stopped: Reading, data: st.DataObject) -> None:
    """
    A rate or too many at once: come back then, and try again if that is within a minute. A budget: never on one's own.

    Larger than the whole limit: no time is told.
    """
    asked = data.draw(st.integers(1, 2 * stopped.limit.amount), "asked")
    after = data.draw(st.integers(1, 2 * ROLLING_US[GRAIN_OF[Window.HOUR]]), "after")
    never = asked > stopped.limit.amount or stopped.limit.window is Window.TOTAL
    found = refused(stopped, asked, None if never else after)
    rate = stopped.limit.window in {None, Window.SECOND, Window.MINUTE, Window.HOUR}
    if never or not rate:
        assert (found.code, found.should_retry) == (Code.INSUFFICIENT_QUOTA, False)
    else:
        assert found.code is Code.RATE_LIMIT_EXCEEDED
        if stopped.limit.window is not None:
            assert found.should_retry is (after <= PATIENCE_S * SECOND_US)
    if never:
        assert found.retry_after_ms is None
    else:
        assert found.retry_after_ms is not None
        assert found.retry_after_ms * 1000 - 1000 < after <= found.retry_after_ms * 1000
    assert found.message.isascii()
    assert stopped.limit.text in found.message


@given(standing=st.lists(readings(), min_size=1, max_size=5))
def test_a_refusal_tells_the_same_limits_as_an_answer(standing: list[Reading]) -> None:
    first = replace(standing[0], limit=replace(standing[0].limit, soft=False))
    shown = (first, *standing[1:])
    found = refusal(Exceeded(NOON_US, first, 1, None, shown))
    said = {name for name, _ in found.headers}
    assert said == {name.encode() for name in told(*shown) if name.startswith("x-ratelimit-")}


def test_a_budget_that_is_held_is_not_called_spent() -> None:
    reading = Reading("org", parse_limit("$5 total"), used=0, held=5 * 10**9)
    found = refusal(Exceeded(0, reading, 1, None, (reading,)))
    assert found.message == (
        "The budget of the organisation is spent or held: $5 total; $0 used and $5 held by calls under way, and this "
        "call may need $0.000000001. What calls under way do not need comes free when they end. It does not come back: "
        "have it raised."
    )


def test_a_soft_budget_is_not_what_remains() -> None:
    hard = Reading("org", parse_limit("$5 total"), used=0, held=0)
    soft = Reading("org", parse_limit("$1 total soft"), used=0, held=0)
    assert dict(headers(Standing(0, (hard, soft))))[b"x-imagegate-budget-remaining-usd"] == b"5"


@pytest.mark.parametrize(("scope", "kind"), [("org", "org"), ("team:a", "team"), ("key:b", "key")])
def test_a_refusal_knows_whose_limit_it_was(scope: str, kind: str) -> None:
    assert refused(reading("$1 per day", used=10**9, scope=scope), 1, 1).scope == kind
