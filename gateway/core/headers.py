"""
What goes up, and what comes down.

Up by allow-list: the upstream sees what it needs and nothing that belongs to us or to the client's own network.
Down by deny-list: the client sees what the upstream said, but for what concerns one connection only (RFC 9110
§7.6.1), what would bind the client to the upstream's host, and what tells about the organisation's account.
"""

from collections.abc import Iterable

from gateway.core.errors import Code, Refusal, Refused
from gateway.core.units import NanoUSD, usd_text

Header = tuple[bytes, bytes]
"""Name in lower case, value."""

UP = frozenset({b"content-type", b"accept", b"user-agent", b"openai-beta", b"x-client-request-id"})
UP_PREFIX = b"x-stainless-"
"""The official SDKs' description of themselves."""
STEERING = b"x-sandbox"
"""Goes up only to a sandbox."""

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
NOT_DOWN = HOP_BY_HOP | {
    b"set-cookie",
    b"alt-svc",
    b"strict-transport-security",
    b"openai-organization",
    b"openai-project",
}
NOT_DOWN_PREFIXES = (b"x-ratelimit-", b"x-imagegate-")
"""The organisation's own limits, and what another gateway upstream says of itself: both are ours to tell."""

EVENT_STREAM = b"text/event-stream"
STREAM_HEADERS: tuple[Header, ...] = (
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
"""Keeps reverse proxies in front of us from holding events back."""

SINGLE = frozenset({b"authorization", b"api-key", b"content-type", b"content-length", b"host"})
"""Fields that decide something: said twice, they could be read in two ways."""


def up(headers: Iterable[Header], *, sandbox: bool) -> tuple[Header, ...]:
    """
    The client's headers that go up; framing, Host, credentials and encoding are the transport's.

    Args:
        headers: as received, names in lower case.
        sandbox: whether the upstream is a sandbox that may be steered.
    """
    return tuple(
        (name, value)
        for name, value in headers
        if name in UP or name.startswith(UP_PREFIX) or (sandbox and name == STEERING)
    )


def down(headers: Iterable[Header]) -> list[Header]:
    """The upstream's headers that go to the client, in their order, names in lower case."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        one.strip().lower() for name, value in lowered if name == b"connection" for one in value.split(b",")
    }
    return [
        (name, value)
        for name, value in lowered
        if name not in NOT_DOWN and name not in named and not name.startswith(NOT_DOWN_PREFIXES)
    ]


def first(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The first value of a field, None if it is absent."""
    return next((value for known, value in headers if known == name), None)


def joined(headers: Iterable[Header], name: bytes) -> bytes | None:
    """The value of a list field, its lines as one (RFC 9110 §5.3); None if it is absent."""
    values = [value for known, value in headers if known == name]
    return b",".join(values) if values else None


def is_event_stream(headers: Iterable[Header]) -> bool:
    """Whether an answer is a stream of events: its Content-Type says so, whatever was asked."""
    kind = first(headers, b"content-type") or b""
    return kind.partition(b";")[0].strip().lower() == EVENT_STREAM


def wants_websocket(headers: Iterable[Header]) -> bool:
    """Whether the client asks to leave HTTP for a WebSocket, whose messages nobody here would meter."""
    return b"websocket" in (first(headers, b"upgrade") or b"").lower()


def check_single(headers: Iterable[Header]) -> None:
    """
    Refuse a request that says a decisive field twice.

    Raises:
        Refused: 400 `invalid_header`.
    """
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in SINGLE and name in seen:
            text = name.decode("ascii")
            raise Refused(Refusal(Code.INVALID_HEADER, f"The header {text} was sent more than once."))
        seen.add(name)


def bearer(headers: Iterable[Header]) -> str | None:
    """
    The secret that the caller presents: `Authorization: Bearer …`, else `api-key`; None if neither is there.

    Scheme names are case-insensitive (RFC 9110 §11.1).
    """
    held = list(headers)
    authorization = first(held, b"authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        return secret.strip().decode("utf-8", "surrogateescape") or None
    api_key = first(held, b"api-key")
    return api_key.strip().decode("utf-8", "surrogateescape") or None if api_key is not None else None


def server_timing(gateway_s: float, upstream_s: float | None) -> Header:
    """`Server-Timing` (W3C): how long the answer's head took here and upstream, in milliseconds."""
    value = f"gateway;dur={gateway_s * 1000:.1f}"
    if upstream_s is not None:
        value += f", upstream;dur={upstream_s * 1000:.1f}"
    return (b"server-timing", value.encode("ascii"))


def cost(cost_nusd: NanoUSD, output_image_tokens: int) -> tuple[Header, ...]:
    """What an answer cost, in plain decimals: USD, and output image tokens with the surcharge for partial images."""
    return (
        (b"x-imagegate-cost-usd", usd_text(cost_nusd).encode("ascii")),
        (b"x-imagegate-output-image-tokens", str(output_image_tokens).encode("ascii")),
    )
