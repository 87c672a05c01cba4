"""Refusals as HTTP answers, in OpenAI's shape."""

from email.utils import formatdate

import orjson

from gateway.core.errors import Refusal
from gateway.core.headers import Header


def answer(refusal: Refusal, request_id: str, now: float) -> tuple[list[Header], bytes]:
    """
    Head and body of a refusal.

    Args:
        refusal: what to say.
        request_id: ours: the client's only handle on this request.
        now: epoch seconds, for Date.
    """
    body = orjson.dumps(refusal.body())
    headers: list[Header] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"date", formatdate(now, usegmt=True).encode("ascii")),
        (b"x-should-retry", b"true" if refusal.should_retry else b"false"),
        (b"x-request-id", request_id.encode("ascii")),
        (b"x-imagegate-id", request_id.encode("ascii")),
    ]
    if refusal.retry_after_ms is not None:
        seconds = -(-refusal.retry_after_ms // 1000)
        headers.append((b"retry-after", str(seconds).encode("ascii")))
        headers.append((b"retry-after-ms", str(refusal.retry_after_ms).encode("ascii")))
    headers.extend(refusal.headers)
    return headers, body
