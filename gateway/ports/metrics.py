"""What is counted, and how it is shown."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from gateway.core.metrics import Count, Sample

Series = tuple[str, tuple[str, ...], str]
"""The name of a metric, what its labels say, and which number of it: "" for its only one, see `Counters.totals`."""


class Counters(Protocol):
    """What is counted, of all workers of a gateway."""

    def take(self, counts: Iterable[Count]) -> None:
        """Count; at once, without waiting, never raising. From the loop's thread."""
        ...

    def totals(self) -> Mapping[Series, int]:
        """
        The sums over all workers, those that have died included; of gauges, over those that live.

        Waits for the disk: to be called in a thread. Nothing that was counted before it is missing, and no counter is ever
        lower than it was. Of a histogram there are `sum` and, by its number, each bucket, which holds what belongs to none
        before it; the last is beyond all bounds.
        """
        ...

    def close(self) -> None:
        """This worker counts no more; what it has counted stays. More than once."""
        ...


class Exposition(Protocol):
    """How metrics are told."""

    def told(self, totals: Mapping[Series, int], read: Iterable[Sample], accept: str) -> tuple[str, bytes]:
        """
        The content type and the body, in the best form that whoever asks accepts.

        Args:
            totals: as `Counters.totals` has them.
            read: gauges that were read just now.
            accept: the request's `Accept`.
        """
        ...


class Processes(Protocol):
    """The processes of this gateway."""

    def read(self) -> tuple[Sample, ...]:
        """What they use; nothing where the system does not tell. Waits for the system: to be called in a thread."""
        ...
