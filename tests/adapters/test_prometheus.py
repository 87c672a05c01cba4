from prometheus_client.parser import text_string_to_metric_families

from gateway.adapters.prometheus import PrometheusText
from gateway.adapters.tallies import Tallies
from gateway.core import metrics as m
from gateway.core.metrics import Count, Sample


def told(*counts: Count, read: tuple[Sample, ...] = (), accept: str = "") -> tuple[str, str]:
    tallies = Tallies()
    tallies.take(counts)
    content_type, body = PrometheusText().told(tallies.totals(), read, accept)
    return content_type, body.decode()


def test_money_is_shown_in_dollars() -> None:
    _, text = told(Count(m.COST, ("design", "gpt-image-1"), 23_560_000))
    assert '\nimagegate_cost_usd_total{model="gpt-image-1",team="design"} 0.02356\n' in text


def test_buckets_are_cumulative_and_end_with_all() -> None:
    _, text = told(*(Count(m.STORE_DURATION, ("ledger.settle",), amount) for amount in (1, 300, 10**8)))
    (family,) = text_string_to_metric_families(text)
    buckets = {
        sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")
    }
    assert (buckets["0.00025"], buckets["0.0005"], buckets["5.0"], buckets["+Inf"]) == (1, 2, 2, 3)
    assert 'imagegate_store_duration_seconds_count{op="ledger.settle"} 3.0' in text
    assert 'imagegate_store_duration_seconds_sum{op="ledger.settle"} 100.000301' in text


def test_no_series_tells_when_it_was_made() -> None:
    _, text = told(
        Count(m.REFUSALS, ("overloaded", "none"), 1),
        Count(m.FIRST_BYTE, ("models.list",), 1),
        accept="application/openmetrics-text; version=1.0.0",
    )
    assert "_created" not in text


def test_the_form_is_the_one_that_is_asked_for() -> None:
    plain, _ = told(Count(m.WAITING, (), 1))
    openmetrics, text = told(
        Count(m.WAITING, (), 1), accept="application/openmetrics-text; version=1.0.0, text/plain;q=0.5"
    )
    assert plain.startswith("text/plain; version=0.0.4")
    assert openmetrics.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


def test_what_was_read_stands_beside_what_was_counted() -> None:
    _, text = told(
        Count(m.IN_FLIGHT, ("streams",), 2),
        read=(Sample(m.BUILD_INFO, ("1.2.3",), 1), Sample(m.LIMIT_USED, ("org", "$5 per day"), 0.25)),
    )
    assert 'imagegate_in_flight{kind="streams"} 2.0' in text
    assert 'imagegate_build_info{version="1.2.3"} 1.0' in text
    assert 'imagegate_limit_used_ratio{limit="$5 per day",scope="org"} 0.25' in text


def test_what_has_no_series_is_not_named() -> None:
    assert told() == ("text/plain; version=0.0.4; charset=utf-8", "")
