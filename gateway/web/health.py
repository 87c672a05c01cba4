"""Liveness and readiness, on both listeners."""

from email.utils import formatdate

import orjson

from gateway.core.headers import Header

PATHS = frozenset({"/livez", "/readyz"})


def answer(now: float) -> tuple[list[Header], bytes]:
    """
    Head and body of a 200: the process serves.

    `/livez` asks whether to restart it, `/readyz` whether to send it requests. A process that has started and is
    not stopping is both.

    Args:
        now: epoch seconds, for Date.
    """
    body = orjson.dumps({"status": "ok"})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"cache-control", b"no-store"),
        (b"date", formatdate(now, usegmt=True).encode("ascii")),
    ]
    return headers, body
