from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog import load
from gateway.core import metrics as m
from gateway.core.ledger import Settlement, Verdict
from gateway.core.metrics import Count, Metric
from gateway.core.record import CacheUse, Outcome, Record, TokensFrom
from gateway.core.tallying import Names, names_of, of_request, of_settlement
from gateway.core.units import NanoUSD

NAMES = names_of(load())
MODEL = "gpt-image-1"
PAID = Record(
    id="igr_1",
    at=0.0,
    method="POST",
    outcome=Outcome.COMPLETED,
    status=200,
    team="design",
    route="images.generations",
    model=MODEL,
    cache=CacheUse.MISS,
    images=2,
    size="1024x1024",
    quality="low",
    partial_images_delivered=3,
    input_text_tokens=10,
    input_image_tokens=20,
    cached_input_tokens=5,
    output_image_tokens=400,
    partial_image_tokens=300,
    output_text_tokens=7,
    tokens_from=TokensFrom.REPORTED,
    cost_nusd=NanoUSD(1_000_000_007),
    upstream_status=200,
    duration_ms=2041.4,
    upstream_ms=2032.8,
    first_byte_ms=2035.0,
)


def request(record: Record) -> dict[tuple[str, ...], int]:
    return {
        (one.metric.name.removeprefix(m.PREFIX), *one.labels): one.amount for one in of_request(record, NAMES)
    }


def settled(found: Settlement) -> dict[tuple[str, ...], int]:
    return {
        (one.metric.name.removeprefix(m.PREFIX), *one.labels): one.amount
        for one in of_settlement(found, NAMES)
        if one.amount
    }


def test_a_request_is_counted_with_its_durations() -> None:
    route = "images.generations"
    assert request(PAID) == {
        ("requests_total", route, MODEL, "completed", "miss"): 1,
        ("request_duration_seconds", route, "miss"): 2_041_400,
        ("first_byte_seconds", route): 2_035_000,
        ("overhead_seconds", route, "miss"): 2200,
        ("upstream_requests_total", route, "200"): 1,
        ("upstream_duration_seconds", route): 2_032_800,
    }


def test_what_was_paid_is_counted_by_what_stands_in_the_ledger() -> None:
    assert settled(Settlement(Verdict.WRITTEN, PAID)) == {
        ("images_total", MODEL, "1024x1024", "low"): 2,
        ("tokens_total", MODEL, "input_text"): 10,
        ("tokens_total", MODEL, "input_image"): 20,
        ("tokens_total", MODEL, "cached_input"): 5,
        ("tokens_total", MODEL, "output_image"): 400,
        ("tokens_total", MODEL, "output_text"): 7,
        ("partial_images_total", MODEL): 3,
        ("partial_image_tokens_total", MODEL): 300,
        ("cost_usd_total", "design", MODEL): 1_000_000_007,
        ("ledger_records_total", "reported"): 1,
    }


@pytest.mark.parametrize("cache", [CacheUse.HIT, CacheUse.COLLAPSED])
def test_images_that_another_call_paid_for_are_saved_money_and_no_images(cache: CacheUse) -> None:
    given_again = replace(
        PAID, cache=cache, cost_nusd=NanoUSD(0), saved_nusd=NanoUSD(7), output_image_tokens=0
    )
    found = settled(Settlement(Verdict.WRITTEN, given_again))
    assert found["saved_usd_total", "design", MODEL] == 7
    assert not any(name[0] in {"images_total", "cost_usd_total"} for name in found)


def test_who_joins_another_call_asks_the_upstream_nothing() -> None:
    found = request(replace(PAID, cache=CacheUse.COLLAPSED))
    assert not any(name[0].startswith("upstream") for name in found)


def test_a_refusal_is_counted_by_its_code_and_by_whose_limit_it_was() -> None:
    refused = Record(
        id="igr_1",
        at=0.0,
        method="POST",
        outcome=Outcome.REFUSED,
        status=429,
        code="insufficient_quota",
        refused_by="team",
        duration_ms=1.0,
    )
    assert request(refused)["refusals_total", "insufficient_quota", "team"] == 1
    assert request(refused)["requests_total", "none", "none", "refused", "off"] == 1
    unknown = replace(refused, code="invalid_api_key", refused_by=None)
    assert request(unknown)["refusals_total", "invalid_api_key", "none"] == 1


def test_an_upstream_that_gives_no_answer_is_counted_too() -> None:
    failed = replace(
        PAID, outcome=Outcome.FAILED, code="upstream_unreachable", upstream_ms=None, upstream_status=None
    )
    assert request(failed)["upstream_requests_total", "images.generations", "none"] == 1


def test_a_status_that_no_rfc_knows_is_other() -> None:
    odd = request(replace(PAID, upstream_status=999))
    assert odd["upstream_requests_total", "images.generations", "other"] == 1


def test_prices_that_stood_in_are_counted_by_whose_they_are() -> None:
    found = settled(Settlement(Verdict.WRITTEN, replace(PAID, model="gpt-image-9", priced_as=MODEL)))
    assert found["stand_in_prices_total", MODEL] == 1
    assert found["cost_usd_total", "design", "other"] == PAID.cost_nusd


def test_what_was_counted_already_is_not_counted_again() -> None:
    assert settled(Settlement(Verdict.REPEATED, PAID, PAID)) == {}


def test_late_truth_counts_by_the_difference_and_money_is_taken_back_by_itself() -> None:
    lost = replace(
        PAID,
        outcome=Outcome.LOST,
        tokens_from=TokensFrom.ESTIMATED,
        cost_nusd=NanoUSD(3_000_000_000),
        output_image_tokens=300,
        images=0,
    )
    assert settled(Settlement(Verdict.CORRECTED, PAID, lost)) == {
        ("images_total", MODEL, "1024x1024", "low"): 2,
        ("tokens_total", MODEL, "output_image"): 100,
        ("cost_taken_back_usd_total", "design", MODEL): 3_000_000_000 - PAID.cost_nusd,
    }


amounts = st.integers(0, 10**12)
records = st.builds(
    lambda cost, model, team: replace(PAID, cost_nusd=NanoUSD(cost), model=model, team=team),
    amounts,
    st.sampled_from([MODEL, "gpt-image-2", "unheard-of"]),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(records, min_size=1, max_size=5))
def test_however_often_a_call_is_corrected_the_sums_are_what_stands(history: list[Record]) -> None:
    counted: Counter[tuple[Metric, tuple[str, ...]]] = Counter()
    before: Record | None = None
    for record in history:
        verdict = Verdict.WRITTEN if before is None else Verdict.CORRECTED
        for one in of_settlement(Settlement(verdict, record, before), NAMES):
            assert one.amount >= 0
            counted[one.metric, one.labels] += one.amount
        before = record
    stands = history[-1]
    for team in ("a", "b"):
        for model in (MODEL, "gpt-image-2", "other"):
            labels = (team, model)
            is_it = (stands.team, NAMES.model(stands.model)) == labels
            owed = counted[m.COST, labels] - counted[m.TAKEN_BACK, labels]
            assert owed == (stands.cost_nusd if is_it else 0)


names = st.text(min_size=1, max_size=20)


@given(names, names, names)
def test_nothing_that_a_client_names_makes_a_series(model: str, size: str, quality: str) -> None:
    strange = replace(PAID, model=f"~{model}", size=f"~{size}", quality=f"~{quality}")
    counts: list[Count] = [
        *of_request(strange, NAMES),
        *of_settlement(Settlement(Verdict.WRITTEN, strange), NAMES),
    ]
    said = {label for one in counts for label in one.labels}
    assert not any(label.startswith("~") for label in said)
    assert Count(m.IMAGES, ("other", "other", "other"), 2) in counts


def test_the_names_of_a_catalogue_are_its_models_sizes_and_qualities() -> None:
    assert {"gpt-image-1", "dall-e-2"} <= NAMES.models
    assert {"1024x1024", "1792x1024", "256x256", "auto"} <= NAMES.sizes
    assert {"low", "medium", "high", "hd", "standard", "auto"} <= NAMES.qualities
    assert NAMES.model(None) == "none"
    assert Names(frozenset(), frozenset(), frozenset()).model("any") == "other"
