"""Liveness and readiness, on both listeners."""

from collections.abc import Awaitable, Callable
from email.utils import formatdate

import orjson

from gateway.core.headers import Header
from gateway.core.health import OK, Health

LIVE = "/livez"
READY = "/readyz"
PATHS = frozenset({LIVE, READY})

Look = Callable[[], Awaitable[Health]]


async def always_ready() -> Health:
    """Where nobody looks."""
    return Health()


async def answer(path: str, look: Look, now: float) -> tuple[int, list[Header], bytes]:
    """
    Status, head and body of an answer.

    `/livez` asks whether to restart the process: it serves, so no. `/readyz` asks whether to send it requests.

    Args:
        path: one of `PATHS`.
        look: how it is.
        now: epoch seconds, for Date.
    """
    if path == LIVE:
        return (200, *_json({"status": OK}, now))
    health = await look()
    return (200 if health.is_ready else 503, *_json({"status": health.status, "parts": health.parts}, now))


def _json(content: object, now: float) -> tuple[list[Header], bytes]:
    body = orjson.dumps(content)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"date", formatdate(now, usegmt=True).encode("ascii")),
    ]
    return headers, body
