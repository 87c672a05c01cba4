import re

from gateway.core import metrics as m
from gateway.core.metrics import IN_FLIGHT_KINDS, LABELS, METRICS, TOKEN_KINDS, Kind


def test_every_metric_has_a_name_of_its_own_and_says_what_it_is() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.help.endswith(".") or metric is m.BUILD_INFO for metric in METRICS)
    assert all(re.fullmatch(r"(imagegate|process)_[a-z_]+", metric.name) for metric in METRICS)


def test_only_counters_are_totals() -> None:
    assert all((metric.kind is Kind.COUNTER) is metric.name.endswith("_total") for metric in METRICS)


def test_every_label_says_what_bounds_it_and_none_is_left_over() -> None:
    assert {label for metric in METRICS for label in metric.labels} == LABELS.keys()


def test_the_kinds_are_told_where_the_label_is() -> None:
    assert all(f"`{kind}`" in LABELS["kind"] for kind in (*TOKEN_KINDS, *IN_FLIGHT_KINDS))


def test_histograms_have_rising_bounds_and_nothing_else_has_any() -> None:
    for metric in METRICS:
        assert (metric.kind is Kind.HISTOGRAM) is bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_the_names_that_dashboards_of_others_rely_on_are_there() -> None:
    labels = {metric.name.removeprefix(m.PREFIX): metric.labels for metric in METRICS}
    assert labels["requests_total"] == ("route", "model", "outcome", "cache")
    assert labels["cost_usd_total"] == labels["saved_usd_total"] == ("team", "model")
    assert labels["images_total"] == ("model", "size", "quality")
    assert labels["tokens_total"] == ("model", "kind")
    assert labels["limit_used_ratio"] == ("scope", "limit")
    assert labels["overhead_seconds"] == labels["request_duration_seconds"] == ("route", "cache")
