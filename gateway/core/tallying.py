"""
What a record means in metrics.

Two things are counted of each request, at two moments. What it was (`of_request`) is known when it is over, and counted
once, when its line is written. What it came to (`of_settlement`) is what stands in the ledger, and counted when it stands
there: so the sums are the ledger's, whoever settles a call, however late, and however often.

Late truth corrects what was counted, by the difference. A counter cannot fall: of money what was too much is counted by
itself, of the rest it stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.core import metrics as m
from gateway.core.catalog import Catalog, ImageModel, PerImageModel, SizeLimits
from gateway.core.errors import Code
from gateway.core.ledger import Settlement, Verdict
from gateway.core.metrics import Count, Metric
from gateway.core.record import CacheUse, Outcome, Record

_GUIDE_SIZES: Final = (
    "1024x1024",
    "1024x1536",
    "1536x1024",
    "2048x2048",
    "2048x1152",
    "1152x2048",
    "3840x2160",
    "2160x3840",
)
"""Those that OpenAI's image generation guide names for models that draw any size."""
_OPEN: Final = frozenset({"auto"})
_UNANSWERED: Final = frozenset({Code.UPSTREAM_UNREACHABLE.code, Code.UPSTREAM_TIMEOUT.code})
_GIVEN: Final = frozenset({CacheUse.HIT, CacheUse.COLLAPSED})
"""Answers that another call paid for."""
_STATUSES: Final = range(100, 600)


@dataclass(frozen=True, slots=True)
class Names:
    """What labels can say that clients name."""

    models: frozenset[str]
    sizes: frozenset[str]
    qualities: frozenset[str]

    def model(self, name: str | None) -> str:
        """The label of a model."""
        return _known(name, self.models)


def names_of(catalog: Catalog) -> Names:
    """The names of a catalogue."""
    sizes, qualities = set(_GUIDE_SIZES), {"standard", "hd"}
    for model in catalog.models.values():
        if isinstance(model, ImageModel):
            qualities.update(model.qualities)
            if not isinstance(model.sizes, SizeLimits):
                sizes.update(_text(size) for size in model.sizes)
        elif isinstance(model, PerImageModel):
            qualities.update(quality for quality, _ in model.prices)
            sizes.update(_text(size) for _, size in model.prices)
    return Names(frozenset(catalog.models), frozenset(sizes) | _OPEN, frozenset(qualities) | _OPEN)


def of_request(record: Record, names: Names) -> Iterator[Count]:
    """What a request was."""
    route, cache = record.route or m.NONE, record.cache.value
    yield Count(m.REQUESTS, (route, names.model(record.model), record.outcome.value, cache), 1)
    yield Count(m.DURATION, (route, cache), _micros(record.duration_ms))
    if record.outcome is Outcome.REFUSED:
        yield Count(m.REFUSALS, (record.code or m.NONE, record.refused_by or m.NONE), 1)
    # What is joined waits for somebody else's request.
    upstream_ms = None if record.cache is CacheUse.COLLAPSED else record.upstream_ms
    if record.first_byte_ms is not None:
        yield Count(m.FIRST_BYTE, (route,), _micros(record.first_byte_ms))
        own_ms = record.first_byte_ms - (record.upstream_ms or 0.0)
        yield Count(m.OVERHEAD, (route, cache), max(0, _micros(own_ms)))
    if upstream_ms is not None:
        yield Count(m.UPSTREAM_DURATION, (route,), _micros(upstream_ms))
        yield Count(m.UPSTREAM_REQUESTS, (route, _status(record.upstream_status)), 1)
    elif record.code in _UNANSWERED and record.cache not in _GIVEN:
        yield Count(m.UPSTREAM_REQUESTS, (route, m.NONE), 1)


def of_settlement(found: Settlement, names: Names) -> Iterator[Count]:
    """What stands in the ledger now that did not before."""
    if found.verdict is Verdict.REPEATED:
        return
    now = dict(_amounts(found.record, names))
    before: dict[tuple[Metric, tuple[str, ...]], int] = {}
    if found.verdict is Verdict.CORRECTED and found.before is not None:
        before = dict(_amounts(found.before, names))
    else:
        yield Count(m.RECORDS, (found.record.tokens_from.value,), 1)
    for metric, labels in now.keys() | before.keys():
        more = now.get((metric, labels), 0) - before.get((metric, labels), 0)
        if more > 0:
            yield Count(metric, labels, more)
        elif more < 0 and metric is m.COST:
            yield Count(m.TAKEN_BACK, labels, -more)


def _amounts(record: Record, names: Names) -> Iterator[tuple[tuple[Metric, tuple[str, ...]], int]]:
    model, team = names.model(record.model), record.team or m.NONE
    if record.cache not in _GIVEN:
        pictured = (model, _known(record.size, names.sizes), _known(record.quality, names.qualities))
        yield (m.IMAGES, pictured), record.images
    yield (m.TOKENS, (model, "input_text")), record.input_text_tokens
    yield (m.TOKENS, (model, "input_image")), record.input_image_tokens
    yield (m.TOKENS, (model, "cached_input")), record.cached_input_tokens
    yield (m.TOKENS, (model, "output_image")), record.output_image_tokens
    yield (m.TOKENS, (model, "output_text")), record.output_text_tokens
    yield (m.PARTIALS, (model,)), record.partial_images_delivered
    yield (m.PARTIAL_TOKENS, (model,)), record.partial_image_tokens
    yield (m.COST, (team, model)), record.cost_nusd
    yield (m.SAVED, (team, model)), record.saved_nusd
    if record.priced_as is not None:
        yield (m.STAND_INS, (names.model(record.priced_as),)), 1


def _known(name: str | None, known: frozenset[str]) -> str:
    if not name:
        return m.NONE
    return name if name in known else m.OTHER


def _status(status: int | None) -> str:
    if status is None:
        return m.NONE
    return str(status) if status in _STATUSES else m.OTHER


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _micros(ms: float) -> int:
    return round(ms * 1000)
