"""
What a request was, as a trace: one span for all of it, and one for each stage that it was in.

It is made once, when the request is over, of its record and of when it was in which stage; so a span says nothing that the
record does not, and what has no field there (a prompt, a picture, a secret, a path) has no attribute here. Names are
OpenTelemetry's semantic conventions where they have one, else `imagegate.`: docs/tracing.md lists them.

An error is one by HTTP's rules: of the whole where we or the upstream failed (5xx, a broken answer), not where a client
was told no; of a stage wherever it said no.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.core.headers import Header, joined
from gateway.core.record import Outcome, Record, TokensFrom

Attributes = Mapping[str, str | bool | int | float]

_NS: Final = 1_000_000_000
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
_PROVIDER: Final = "openai"
_CHATS: Final = frozenset({"responses.create", "responses.compact"})
_PARENTS: Final = (b"traceparent", b"tracestate")
_GONE: Final = frozenset({Outcome.CLIENT_GONE, Outcome.CANCELLED})
_BROKEN: Final = frozenset({Outcome.FAILED, Outcome.UPSTREAM_CUT})


class Stage(Enum):
    """Where a request is on its way."""

    IDENTIFY = "identify"
    ADMIT = "admit"
    PARSE = "parse"
    """Its body is read, as fast as the client sends it."""
    LOOK_UP = "look-up"
    FOLLOW = "follow"
    """It is given what another call brings."""
    RESERVE = "reserve"
    UPSTREAM = "upstream"
    SETTLE = "settle"


class Kind(Enum):
    """Which side of a call a span is."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(slots=True)
class Stay:
    """A request in a stage. Ticks."""

    stage: Stage
    began: float
    ended: float
    fault: str | None = None
    """What it was left with: the code of a refusal, else the name of an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One span. Times are nanoseconds since the epoch."""

    name: str
    kind: Kind
    began_ns: int
    ended_ns: int
    attributes: Attributes
    fault: str | None = None
    """What is wrong with it; None: its status is unset."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One request's."""

    root: Span
    stages: tuple[Span, ...]
    """Its children, in their order."""
    parent: Mapping[str, str]
    """The client's `traceparent` and `tracestate`, as sent and unread; empty: it sent none."""


def trace_of(
    record: Record,
    stays: Sequence[Stay],
    headers: Iterable[Header],
    *,
    template: str | None,
    began: float,
    ended: float,
    is_pending: bool = False,
) -> Trace:
    """
    The trace of a request that is over.

    Args:
        record: of it.
        stays: in which stages it was, in their order.
        headers: of the request.
        template: of its route; None: there is none.
        began: when it arrived, in the ticks that `stays` are told in.
        ended: when nothing more was to be done.
        is_pending: its response goes on upstream, and what it costs is not known yet.
    """
    arrived_ns = round(record.at * _NS)

    def at_ns(ticks: float) -> int:
        # Added up as integers: a float of today's epoch tells no nanoseconds.
        return arrived_ns + round((ticks - began) * _NS)

    route = None if template is None else f"/v1/{template}"
    method = record.method if record.method in _METHODS else "_OTHER"
    root = Span(
        name=method if route is None else f"{method} {route}",
        kind=Kind.SERVER,
        began_ns=at_ns(began),
        ended_ns=at_ns(ended),
        attributes=_known(
            {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": record.status,
                "error.type": record.code or _error_status(record.status) or _fault(record),
                **_asked(record),
                **_ours(record, is_pending=is_pending),
            }
        ),
        fault=_fault(record),
    )
    stages = tuple(
        Span(
            name=stay.stage.value,
            kind=Kind.CLIENT if stay.stage is Stage.UPSTREAM else Kind.INTERNAL,
            began_ns=at_ns(stay.began),
            ended_ns=at_ns(stay.ended),
            attributes=_known(
                _upstream(record, method, is_pending=is_pending)
                if stay.stage is Stage.UPSTREAM
                else {"error.type": stay.fault}
            ),
            fault=_upstream_fault(record) if stay.stage is Stage.UPSTREAM else stay.fault,
        )
        for stay in stays
    )
    return Trace(root, stages, _parent(headers))


def _parent(headers: Iterable[Header]) -> Mapping[str, str]:
    held = tuple(headers)
    values = {name.decode("ascii"): joined(held, name) for name in _PARENTS}
    return {name: value.decode("latin-1") for name, value in values.items() if value is not None}


def _asked(record: Record) -> dict[str, object]:
    """Whom and what for; nothing where nothing is to be made."""
    route = record.route or ""
    is_image = route.startswith("images.")
    if not is_image and route not in _CHATS:
        return {}
    return {
        "gen_ai.operation.name": "generate_content" if is_image else "chat",
        "gen_ai.output.type": "image" if is_image else None,
        "gen_ai.provider.name": _PROVIDER,
        "gen_ai.request.model": record.model,
    }


def _ours(record: Record, *, is_pending: bool) -> dict[str, object]:
    money: dict[str, object] = {
        "imagegate.cost_nusd": record.cost_nusd,
        "imagegate.saved_nusd": record.saved_nusd,
        "imagegate.output_image_tokens": record.output_image_tokens,
        "imagegate.partial_image_tokens": record.partial_image_tokens,
        "imagegate.images": record.images,
    }
    return {
        "imagegate.id": record.id,
        "imagegate.route": record.route,
        "imagegate.org": record.org,
        "imagegate.team": record.team,
        "imagegate.key": record.key,
        "imagegate.outcome": record.outcome.value,
        "imagegate.code": record.code,
        "imagegate.refused_by": record.refused_by,
        "imagegate.cache": record.cache.value,
        "imagegate.stream": record.stream,
        "imagegate.tool_model": record.tool_model,
        "imagegate.first_byte_ms": record.first_byte_ms,
        "imagegate.pending": is_pending or None,
        **({} if is_pending else money),
    }


def _upstream(record: Record, method: str, *, is_pending: bool) -> dict[str, object]:
    used: dict[str, object] = {
        "gen_ai.usage.input_tokens": record.input_text_tokens + record.input_image_tokens,
        "gen_ai.usage.output_tokens": record.output_image_tokens + record.output_text_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_input_tokens,
        "imagegate.tokens_from": record.tokens_from.value,
    }
    is_known = record.tokens_from is not TokensFrom.NONE and not is_pending
    return {
        "http.request.method": method,
        "http.response.status_code": record.upstream_status,
        "error.type": _upstream_fault(record),
        **_asked(record),
        "gen_ai.response.id": record.response_id,
        **(used if is_known else {}),
        "imagegate.credential": record.credential,
        "imagegate.upstream_request_id": record.upstream_request_id,
        "imagegate.upstream_ms": record.upstream_ms,
    }


def _error_status(status: int | None) -> str | None:
    return str(status) if status is not None and status >= _CLIENT_ERROR else None


def _fault(record: Record) -> str | None:
    """What failed, of the whole; None: nothing did, or the client was told what is wrong with its request."""
    if record.status is not None and _CLIENT_ERROR <= record.status < _SERVER_ERROR:
        return None
    if record.outcome in _BROKEN or (record.status or 0) >= _SERVER_ERROR:
        return record.code or _error_status(record.status) or record.outcome.value
    return None


def _upstream_fault(record: Record) -> str | None:
    """What failed upstream."""
    status = record.upstream_status
    if status is None:
        return None if record.outcome in _GONE else record.code or Outcome.FAILED.value
    if status >= _CLIENT_ERROR:
        return str(status)
    return record.code or record.outcome.value if record.outcome in _BROKEN else None


def _known(values: Mapping[str, object]) -> Attributes:
    return {name: value for name, value in values.items() if isinstance(value, str | bool | int | float)}
