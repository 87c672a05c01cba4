"""Metrics as Prometheus reads them, over prometheus-client: the text formats, and which of them is asked for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import (
    Metric as Family,
)
from prometheus_client.registry import Collector, CollectorRegistry

from gateway.core.metrics import METRICS, Kind, Metric, Sample
from gateway.ports.metrics import Series

Labels = tuple[str, ...]
Numbers = dict[Labels, dict[str, int]]


class PrometheusText:
    """The `Exposition` port."""

    def told(self, totals: Mapping[Series, int], read: Iterable[Sample], accept: str) -> tuple[str, bytes]:
        """The content type and the body."""
        registry = CollectorRegistry()
        registry.register(_Collector(totals, read))
        encode, content_type = choose_encoder(accept)
        return content_type, encode(registry)


class _Collector(Collector):
    """Families of what is known now. Without a time of creation: none is kept, and each would be a series more."""

    def __init__(self, totals: Mapping[Series, int], read: Iterable[Sample]) -> None:
        self._numbers: dict[str, Numbers] = defaultdict(lambda: defaultdict(dict))
        for (name, labels, part), value in totals.items():
            self._numbers[name][labels][part] = value
        self._read: dict[str, list[Sample]] = defaultdict(list)
        for sample in read:
            self._read[sample.metric.name].append(sample)

    def collect(self) -> Iterator[Family]:
        """Those that have a series."""
        for metric in METRICS:
            family = _family(metric)
            for labels, numbers in sorted(self._numbers[metric.name].items()):
                if isinstance(family, HistogramMetricFamily):
                    _observed(family, metric, labels, numbers)
                else:
                    family.add_metric(labels, sum(numbers.values()) / metric.per)
            if not isinstance(family, HistogramMetricFamily):
                for _, labels, value in self._read[metric.name]:
                    family.add_metric(labels, value)
            if family.samples:
                yield family


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    match metric.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)


def _observed(
    family: HistogramMetricFamily, metric: Metric, labels: Labels, numbers: Mapping[str, int]
) -> None:
    below, buckets = 0, []
    for number, bound in enumerate((*metric.buckets, None)):
        below += numbers.get(str(number), 0)
        buckets.append(("+Inf" if bound is None else str(bound / metric.per), below))
    family.add_metric(labels, buckets, numbers.get("sum", 0) / metric.per)
