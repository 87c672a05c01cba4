"""
Every metric: its name, what it means, its labels, and what each label can say.

Counted are integers, money in nano-dollars and time in microseconds; how many of them make one of the unit that is shown
is `per`. Prometheus knows floats only: they arise where it is told, and nowhere before.

Bounded by construction: what a label can say is known before the first request, or is `other`. Whoever adds a label says
in `LABELS` what bounds it. docs/metrics.md is made of this file (`make generated`).

Not here: what a record means in these (tallying.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

PREFIX: Final = "imagegate_"
NUSD: Final = 1_000_000_000
MICROS: Final = 1_000_000
NONE: Final = "none"
"""What a label says of what there is not."""
OTHER: Final = "other"
"""And of what is not known beforehand."""


class Kind(Enum):
    """What may be done with the numbers of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metric:
    """One name, of one or more series."""

    name: str
    """As it is shown."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    per: int = 1
    """How many of what is counted make one of what is shown."""
    buckets: tuple[int, ...] = ()
    """Of a histogram: upper bounds, included, in what is counted, rising."""


class Count(NamedTuple):
    """So much more of a counter, one observation of a histogram, or the state of a gauge of this process."""

    metric: Metric
    labels: tuple[str, ...]
    amount: int


class Sample(NamedTuple):
    """What a gauge shows that was read just now."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


def _counter(name: str, text: str, *labels: str, per: int = 1) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.COUNTER, help=text, labels=labels, per=per)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name=PREFIX + name, kind=Kind.GAUGE, help=text, labels=labels)


def _seconds(name: str, text: str, buckets_s: Iterable[float], *labels: str) -> Metric:
    bounds = tuple(round(bound * MICROS) for bound in buckets_s)
    return Metric(
        name=PREFIX + name, kind=Kind.HISTOGRAM, help=text, labels=labels, per=MICROS, buckets=bounds
    )


_LONG_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
"""From a hit to a large picture at the highest quality."""
_SHORT_S: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
"""From a look into a table to a store that does not answer."""

# What each request was, by its record: counted once, when it is over.

REQUESTS: Final = _counter("requests_total", "Requests that are over.", "route", "model", "outcome", "cache")
DURATION: Final = _seconds(
    "request_duration_seconds",
    "From the head of a request to the last byte of its answer.",
    _LONG_S,
    "route",
    "cache",
)
OVERHEAD: Final = _seconds(
    "overhead_seconds",
    "Until the head of an answer went to the client, without the wait for the upstream's head.",
    _SHORT_S,
    "route",
    "cache",
)
FIRST_BYTE: Final = _seconds(
    "first_byte_seconds", "Until the head of an answer went to the client.", _LONG_S, "route"
)
UPSTREAM_REQUESTS: Final = _counter(
    "upstream_requests_total",
    "Requests that went up, by the status of the last answer of the upstream, or none.",
    "route",
    "status",
)
UPSTREAM_DURATION: Final = _seconds(
    "upstream_duration_seconds", "Until the head of the upstream's answer was there.", _LONG_S, "route"
)
REFUSALS: Final = _counter(
    "refusals_total",
    "Requests that the gateway answered with an error of its own, by the error's code.",
    "reason",
    "scope",
)

# What it came to, by the ledger: counted when it stands there.

IMAGES: Final = _counter(
    "images_total", "Images delivered by calls that were paid for.", "model", "size", "quality"
)
TOKENS: Final = _counter(
    "tokens_total",
    "Tokens of calls that were paid for; cached_input is a part of the input.",
    "model",
    "kind",
)
PARTIALS: Final = _counter(
    "partial_images_total", "Partial images delivered, again from the cache too.", "model"
)
PARTIAL_TOKENS: Final = _counter(
    "partial_image_tokens_total", "Output image tokens that are surcharge for partial images.", "model"
)
COST: Final = _counter(
    "cost_usd_total", "What calls cost, as it was first known, in US dollars.", "team", "model", per=NUSD
)
TAKEN_BACK: Final = _counter(
    "cost_taken_back_usd_total",
    "The part of cost_usd_total that late truth has shown not to be owed: a counter cannot fall.",
    "team",
    "model",
    per=NUSD,
)
SAVED: Final = _counter(
    "saved_usd_total",
    "What the originals of kept and joined answers cost, in US dollars.",
    "team",
    "model",
    per=NUSD,
)
RECORDS: Final = _counter(
    "ledger_records_total",
    "Records written to the ledger, by where their token counts come from.",
    "tokens_from",
)
STAND_INS: Final = _counter(
    "stand_in_prices_total",
    "Calls charged at the prices of a known model, which stood in for one that the catalogue does not know.",
    "priced_as",
)

# What is the case now.

IN_FLIGHT: Final = _gauge("in_flight", "What is under way, a second ago at most.", "kind")
WAITING: Final = _gauge(
    "settlements_waiting", "Settlements that are kept in the outbox until the store takes them."
)
LIMIT_USED: Final = _gauge(
    "limit_used_ratio",
    "The part of a limit that is used, without what calls under way hold; above 1 is a debt.",
    "scope",
    "limit",
)
RESERVATIONS: Final = _gauge(
    "reservations_open", "Calls that are noted in the ledger and have no record yet."
)
CACHE_ENTRIES: Final = _gauge("cache_entries", "Answers in the cache.")
CACHE_BYTES: Final = _gauge("cache_bytes", "What counts against cache.max_bytes.")
BUILD_INFO: Final = _gauge("build_info", "1, with the version of the gateway.", "version")

# How the store does.

STORE_DURATION: Final = _seconds(
    "store_duration_seconds", "How long an act of a store took, its failures included.", _SHORT_S, "op"
)
STORE_ERRORS: Final = _counter(
    "store_errors_total", "Acts of a store that failed, or that nobody waited for any longer.", "op"
)

# The processes. The names are those that every client library of Prometheus uses.


def _process(name: str, text: str, kind: Kind = Kind.GAUGE) -> Metric:
    return Metric(name=f"process_{name}", kind=kind, help=text)


CPU: Final = _process(
    "cpu_seconds_total",
    "CPU time of all processes of this gateway, those that have ended included.",
    Kind.COUNTER,
)
RESIDENT: Final = _process(
    "resident_memory_bytes", "Memory of all processes; what they share counts for each."
)
VIRTUAL: Final = _process("virtual_memory_bytes", "Address space of all processes.")
OPEN_FDS: Final = _process("open_fds", "File descriptors that all processes have open.")
MAX_FDS: Final = _process("max_fds", "File descriptors that one process may have open.")
STARTED: Final = _process("start_time_seconds", "When the gateway started, epoch seconds.")

METRICS: Final = (
    REQUESTS,
    DURATION,
    OVERHEAD,
    FIRST_BYTE,
    UPSTREAM_REQUESTS,
    UPSTREAM_DURATION,
    IMAGES,
    TOKENS,
    PARTIALS,
    PARTIAL_TOKENS,
    COST,
    TAKEN_BACK,
    SAVED,
    STAND_INS,
    REFUSALS,
    LIMIT_USED,
    IN_FLIGHT,
    RESERVATIONS,
    WAITING,
    CACHE_ENTRIES,
    CACHE_BYTES,
    STORE_DURATION,
    STORE_ERRORS,
    RECORDS,
    BUILD_INFO,
    CPU,
    RESIDENT,
    VIRTUAL,
    OPEN_FDS,
    MAX_FDS,
    STARTED,
)
"""In the order in which they are shown."""

IN_FLIGHT_KINDS: Final = ("requests", "streams", "followers", "orphans")
TOKEN_KINDS: Final = ("input_text", "input_image", "cached_input", "output_image", "output_text")

LABELS: Final = {
    "route": "a route of [http.md](http.md); `none` where none was found",
    "model": "the record's `model`: a name of the catalogue, `other` for any other one, `none` where none was named",
    "outcome": "as in the log line and the ledger",
    "cache": "`hit`, `miss`, `collapsed`, `bypass`, `off`",
    "status": "the HTTP status, 100 to 599; `other` beyond; `none`: there was no answer",
    "size": "a size that the catalogue or OpenAI's guide names, `auto`; else `other`; `none` where none is known",
    "quality": "a quality that the catalogue names, `auto`, `standard`, `hd`; else `other`; `none` where none is known",
    "kind": "of tokens: "
    + ", ".join(f"`{one}`" for one in TOKEN_KINDS)
    + "; in flight: "
    + ", ".join(f"`{one}`" for one in IN_FLIGHT_KINDS),
    "team": "a team of the configuration; `none` where the caller is not known",
    "reason": "an error code of [errors.md](errors.md)",
    "scope": "whose limit or permission said no: `key`, `team`, `org`; `none`: nobody's. Of a limit: `org`, `team:ID`, "
    "and `key:ID` with `metrics.key_labels`",
    "limit": "the limit as a sentence: `$500 per month`",
    "tokens_from": "`reported`, `computed`, `estimated`, `none`",
    "priced_as": "a name of the catalogue",
    "op": "`ledger.`, `cache.`, `flights.`, `keys.` or `answers.` (of `Idempotency-Key`), and the act: `ledger.settle`",
    "version": "of the gateway",
}
"""What each label can say."""
