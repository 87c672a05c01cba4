"""What `/metrics` of a gateway says."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import httpx2
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Scrape:
    """One answer."""

    text: str

    @cached_property
    def series(self) -> Mapping[Series, float]:
        """Name and labels -> value."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.text)
            for sample in family.samples
        }

    @cached_property
    def counters(self) -> Mapping[Series, float]:
        """Those that never fall."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.text)
            if family.type in {"counter", "histogram"}
            for sample in family.samples
        }

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric over the series that have these labels."""
        return sum(
            value
            for (known, said), value in self.series.items()
            if known == f"imagegate_{name}" and labels.items() <= dict(said).items()
        )

    def by(self, name: str, label: str) -> Mapping[str, float]:
        """The sums of a metric by one of its labels."""
        sums: dict[str, float] = defaultdict(float)
        for (known, said), value in self.series.items():
            if known == f"imagegate_{name}":
                sums[dict(said)[label]] += value
        return sums


async def scrape(url: str) -> Scrape:
    """
    Ask on a connection of its own, so that any worker may answer.

    Args:
        url: of the operators' listener.
    """
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.get(f"{url}/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)
