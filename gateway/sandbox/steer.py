"""
What a test may ask of the sandbox with `X-Sandbox: key=value; key=value`.

Read once per call into a `Steering`. An unknown key, a value out of range or a contradiction is a 400 that says so:
a test that steers by a misspelt word would otherwise prove nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gateway.sandbox import errors

FAILURES: Final = ("before", "lost", "mid-stream", "error-event", "hang")
USAGES: Final = ("omit", "no_details", "without_surcharge")
ERROR_FORMS: Final = ("nested", "flat")
MAX_PARTIALS: Final = 16
MAX_IMAGE_CALLS: Final = 16
MAX_DELAY_MS: Final = 3_600_000
_SIZE = re.compile(r"[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")
_WORD = re.compile(r"[a-z]{1,16}")


@dataclass(frozen=True, slots=True)
class Steering:
    """What this call was asked to do differently; every field's default changes nothing."""

    delay_ms: int | None = None
    partials: int | None = None
    usage: str | None = None
    tool_usage: str | None = None
    fail: str | None = None
    fail_status: int | None = None
    error_form: str = "nested"
    chunk: int | None = None
    image_calls: int | None = None
    size_out: str | None = None
    quality_out: str | None = None
    moderate: str | None = None


def parse(header: str) -> Steering:
    """
    The steering a header spells.

    Raises:
        ApiError: 400 that names the key, the value and what would be right.
    """
    found = Steering()
    for part in header.split(";"):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not key and not equals:
            continue
        reader = _KEYS.get(key)
        if reader is None:
            raise errors.steering(f"unknown key '{key}'; known are {', '.join(sorted(_KEYS))}")
        found = reader(found, value)
    return found


def _number(key: str, value: str, low: int, high: int) -> int:
    if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
        raise errors.steering(f"{key}='{value}' must be a whole number from {low} to {high}")
    return int(value)


def _word(key: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise errors.steering(f"{key}='{value}' must be one of {', '.join(known)}")
    return value


def _status(found: Steering, value: str) -> Steering:
    return replace(found, fail="status", fail_status=_number("status", value, 400, 599))


def _fail(found: Steering, value: str) -> Steering:
    status = value.removeprefix("status=").strip()
    if value.startswith("status=") or status.isdigit():
        return _status(found, status)
    if value not in FAILURES:
        raise errors.steering(f"fail='{value}' must be status=NNN or one of {', '.join(FAILURES)}")
    return replace(found, fail=value)


def _size(found: Steering, value: str) -> Steering:
    if not _SIZE.fullmatch(value):
        raise errors.steering(f"size_out='{value}' must be WIDTHxHEIGHT")
    return replace(found, size_out=value)


def _quality(found: Steering, value: str) -> Steering:
    if not _WORD.fullmatch(value):
        raise errors.steering(f"quality_out='{value}' must be a quality such as low")
    return replace(found, quality_out=value)


_KEYS: Final[dict[str, Callable[[Steering, str], Steering]]] = {
    "delay_ms": lambda s, v: replace(s, delay_ms=_number("delay_ms", v, 0, MAX_DELAY_MS)),
    "partials": lambda s, v: replace(s, partials=_number("partials", v, 0, MAX_PARTIALS)),
    "usage": lambda s, v: replace(s, usage=_word("usage", v, USAGES)),
    "tool_usage": lambda s, v: replace(s, tool_usage=_word("tool_usage", v, ("omit",))),
    "fail": _fail,
    "status": _status,
    "error_form": lambda s, v: replace(s, error_form=_word("error_form", v, ERROR_FORMS)),
    "chunk": lambda s, v: replace(s, chunk=_number("chunk", v, 1, 1 << 30)),
    "image_calls": lambda s, v: replace(s, image_calls=_number("image_calls", v, 0, MAX_IMAGE_CALLS)),
    "size_out": _size,
    "quality_out": _quality,
    "moderate": lambda s, v: replace(s, moderate=_word("moderate", v, ("input", "output"))),
}
