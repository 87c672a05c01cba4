"""Filters, cursors, groups and sums; which record stands."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ledger import (
    COUNTS,
    SUMS,
    Day,
    LedgerFilter,
    OpenCall,
    Place,
    UsageRow,
    Verdict,
    combined,
    dumps,
    group_of,
    grouping,
    is_provisional,
    loads,
    lost,
    micros,
    place_after,
    place_of,
    seconds,
    settled,
    settles,
    summed,
)
from gateway.core.record import CacheUse, Outcome, Record, TokensFrom
from gateway.core.units import NanoUSD
from tests.support.ledger import NOON, noted, record, records

DAYS = (Day("2027-01-14", NOON - 86_400, NOON), Day("2027-01-15", NOON, NOON + 86_400))


@given(st.integers(-(10**15), 4 * 10**15))
def test_microseconds_survive_as_seconds(at_us: int) -> None:
    assert micros(seconds(at_us)) == at_us


@given(st.integers(-(1 << 63) + 1, (1 << 63) - 1), st.text(max_size=40))
def test_a_cursor_leads_back_to_its_place(at_us: int, id_: str) -> None:
    place = Place(at_us, id_)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", place.cursor())
    assert place_after(place.cursor()) == place


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_-]{0,60}", fullmatch=True))
def test_what_is_no_cursor_is_told_so_and_nothing_else_happens(text: str) -> None:
    try:
        place = place_after(text)
    except ValueError as error:
        assert str(error) == "This cursor is not one that we gave. Start without one."  # noqa: PT017 - either may be
    else:
        assert place.cursor() == text


@pytest.mark.parametrize(
    "text", ["", "!", "a", "MS54=", "ICAxLng", "MV8wLng", "MTg0NDY3NDQwNzM3MDk1NTE2MTYueA"]
)
def test_a_cursor_that_only_looks_like_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not one that we gave"):
        place_after(text)


def test_the_ledger_shows_what_arrived_last_first_and_then_the_greater_id() -> None:
    several = [record(1, at=NOON), record(2, at=NOON), record(0, at=NOON + 1)]
    assert [one.id[-1] for one in sorted(several, key=place_of, reverse=True)] == ["0", "2", "1"]


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        (LedgerFilter(), True),
        (LedgerFilter(team="design", key="design-1", model="gpt-image-2", outcome=Outcome.COMPLETED), True),
        (LedgerFilter(team="other"), False),
        (LedgerFilter(key="other"), False),
        (LedgerFilter(model="gpt-image-1"), False),
        (LedgerFilter(outcome=Outcome.LOST), False),
        (LedgerFilter(since=NOON), True),
        (LedgerFilter(since=NOON + 0.000001), False),
        (LedgerFilter(until=NOON), False),
        (LedgerFilter(until=NOON + 0.000001), True),
    ],
)
def test_a_filter_takes_what_matches_all_of_it(asked: LedgerFilter, *, taken: bool) -> None:
    assert asked.takes(record()) is taken


def test_groups_are_read_in_order_and_once() -> None:
    assert grouping("day, team,day,,tag:campaign,tag:a:b") == ("day", "team", "tag:campaign", "tag:a:b")
    assert grouping("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("teams", "Usage cannot be grouped by 'teams'. Use any of team, key, model, day, tag:NAME."),
        ("tag:", "Usage cannot be grouped by 'tag:'. Use any of team, key, model, day, tag:NAME."),
        ("Team", "Usage cannot be grouped by 'Team'. Use any of team, key, model, day, tag:NAME."),
        (
            ",".join(f"tag:{n}" for n in range(9)),
            "Usage can be grouped by 8 names at most; these are 9.",
        ),
    ],
)
def test_a_group_that_means_nothing_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        grouping(text)


def test_a_record_belongs_to_the_day_in_which_it_arrived() -> None:
    at = [NOON - 86_400.000001, NOON - 86_400, NOON - 0.000001, NOON, NOON + 86_399.999999, NOON + 86_400]
    found = [group_of(record(at=one), ("day",), DAYS) for one in at]
    assert found == [None, ("2027-01-14",), ("2027-01-14",), ("2027-01-15",), ("2027-01-15",), None]


def test_a_record_without_a_value_has_a_group_of_its_own_that_comes_first() -> None:
    rows = summed([record(1, team=None, tags=()), record(2), record(3)], ("team", "tag:campaign"))
    assert [(row.group, row.requests) for row in rows] == [((None, None), 1), (("design", "spring"), 2)]


def test_sums_count_requests_and_hits_and_add_the_rest() -> None:
    hit = record(
        2, cache=CacheUse.HIT, cost_nusd=NanoUSD(0), saved_nusd=NanoUSD(8_160_000), output_image_tokens=0
    )
    (row,) = summed([record(1), hit], ())
    assert row.told(()) == {
        "requests": 2,
        "hits": 1,
        "images": 2,
        "partial_images": 0,
        "output_image_tokens": 272,
        "partial_image_tokens": 0,
        "input_text_tokens": 22,
        "input_image_tokens": 0,
        "output_text_tokens": 0,
        "cost_usd": "0.00816",
        "saved_usd": "0.00816",
    }


def test_without_groups_nothing_sums_to_one_row_of_nothing() -> None:
    assert summed([], ()) == [UsageRow()]
    assert summed([], ("team",)) == []


def test_a_row_tells_its_groups_by_name() -> None:
    told = UsageRow(group=("design", None)).told(("team", "tag:campaign"))
    assert list(told)[:3] == ["team", "tag:campaign", "requests"]
    assert (told["team"], told["tag:campaign"], told["cost_usd"]) == ("design", None, "0")


@given(records())
def test_however_it_is_grouped_it_comes_to_the_same(several: list[Record]) -> None:
    (whole,) = summed(several, ())
    for by in (("team",), ("key", "model"), ("tag:a", "tag:b")):
        rows = summed(several, by)
        for name in (*COUNTS, *SUMS):
            assert sum(getattr(row, name) for row in rows) == getattr(whole, name)


@given(records(), st.integers(0, 30))
def test_sums_of_parts_come_to_the_sum_of_all(several: list[Record], cut: int) -> None:
    for by in ((), ("team",), ("key", "tag:a")):
        parts = [*summed(several[:cut], by), *summed(several[cut:], by)]
        assert combined(parts) == summed(several, by)


@given(records(most=3))
def test_a_record_survives_as_json(several: list[Record]) -> None:
    for one in several:
        assert loads(dumps(one)) == one


def test_a_record_of_an_older_version_has_the_defaults_of_what_it_lacks() -> None:
    older = '{"id":"a","at":1.5,"method":"POST","outcome":"completed","duration_ms":2.0,"unheard_of":1}'
    assert loads(older) == Record(id="a", at=1.5, method="POST", outcome=Outcome.COMPLETED, duration_ms=2.0)


def test_hits_and_joined_calls_pay_for_no_response() -> None:
    paid = {use: settles(record(response_id="resp_1", cache=use)) for use in CacheUse}
    assert {use for use, response in paid.items() if response is None} == {CacheUse.HIT, CacheUse.COLLAPSED}


def test_only_the_truth_replaces_a_loss() -> None:
    loss = lost(OpenCall(record=record(1), dispatched=True), NOON + 60)
    assert settled(None, record(1)).verdict is Verdict.WRITTEN
    assert settled(record(1), loss).record == record(1)
    assert settled(loss, loss).verdict is Verdict.REPEATED
    late = settled(loss, record(7, cost_nusd=NanoUSD(5)))
    assert (late.verdict, late.record.id, late.record.at) == (Verdict.CORRECTED, loss.id, loss.at)
    assert (late.record.cost_nusd, late.before) == (5, loss)


def test_a_loss_is_what_was_noted_of_the_call() -> None:
    known = noted(1, partial_images_requested=2)
    found = lost(OpenCall(record=known, dispatched=True), NOON + 61)
    assert found == replace(known, outcome=Outcome.LOST, duration_ms=60_000)
    assert (found.cost_nusd, found.output_image_tokens) == (found.reserved_nusd, 660)


def test_what_an_older_version_noted_is_charged_as_reserved_in_one_line() -> None:
    known = noted(1, route="responses.create", lines=(), cost_nusd=NanoUSD(0), tokens_from=TokensFrom.NONE)
    found = lost(OpenCall(record=known, dispatched=True), NOON + 61)
    assert (found.outcome, found.tokens_from, found.cost_nusd) == (
        Outcome.LOST,
        TokensFrom.ESTIMATED,
        record().reserved_nusd,
    )
    assert [(line.model, line.role.value, line.cost_nusd) for line in found.lines] == [
        ("gpt-image-2", "main", record().reserved_nusd)
    ]
    assert found.duration_ms == 60_000


def test_a_loss_that_was_never_sent_costs_nothing() -> None:
    known = noted(1, priced_as="gpt-image-1", cached_input_tokens=5, partial_images_requested=2)
    found = lost(OpenCall(record=known), NOON)
    assert (found.cost_nusd, found.tokens_from, found.lines, found.duration_ms) == (0, TokensFrom.NONE, (), 0)
    assert [name for name, value in found.told().items() if "tokens" in name and value] == ["tokens_from"]
    assert (found.priced_as, found.partial_images_requested) == (None, 2)
    assert found.reserved_nusd == record().reserved_nusd


def test_nothing_reserved_is_nothing_lost() -> None:
    free = noted(1, lines=(), cost_nusd=NanoUSD(0), reserved_nusd=NanoUSD(0), tokens_from=TokensFrom.NONE)
    found = lost(OpenCall(record=free, dispatched=True), NOON)
    assert (found.cost_nusd, found.lines, found.tokens_from) == (0, (), TokensFrom.NONE)


GUESS = record(1, response_id="resp_1", tokens_from=TokensFrom.ESTIMATED)
TRUTH = record(1, response_id="resp_1", cost_nusd=NanoUSD(5))


@pytest.mark.parametrize(
    ("before", "new", "verdict"),
    [
        (GUESS, TRUTH, Verdict.CORRECTED),
        (TRUTH, replace(TRUTH, cost_nusd=NanoUSD(6)), Verdict.REPEATED),
        (GUESS, replace(GUESS, cost_nusd=NanoUSD(6)), Verdict.REPEATED),
        (GUESS, replace(TRUTH, response_id="resp_2"), Verdict.REPEATED),
        (GUESS, replace(TRUTH, response_id=None), Verdict.REPEATED),
        (GUESS, replace(TRUTH, outcome=Outcome.LOST), Verdict.REPEATED),
        (replace(GUESS, response_id=None), replace(TRUTH, response_id=None), Verdict.REPEATED),
        (replace(GUESS, cache=CacheUse.HIT), TRUTH, Verdict.REPEATED),
    ],
)
def test_a_guess_gives_way_to_what_its_own_response_reports(
    before: Record, new: Record, verdict: Verdict
) -> None:
    assert settled(before, new).verdict is verdict


def test_what_may_be_corrected_was_lost_or_estimated_with_a_response_to_ask_for() -> None:
    assert is_provisional(record(1, outcome=Outcome.LOST))
    assert is_provisional(GUESS)
    assert not is_provisional(TRUTH)
    assert not is_provisional(replace(GUESS, response_id=None))
