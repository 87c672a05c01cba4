"""
Where a message on an HTTP/1.1 connection begins and ends.

What goes out is checked after it was rendered: whatever a name or a value holds, the bytes must read as exactly the
lines that were meant. What comes in is framed by RFC 9112 §6.3, without leniency: an answer that two readers could
cut in two ways is malformed, since on a connection that is used again its rest would be the next caller's answer.

Not here: reading bytes (gateway/adapters/wire.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

from gateway.core.headers import Header

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(_TOKEN + rb" [!-~]+ HTTP/1\.1\r\n")
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb": [\t -~\x80-\xff]*\r\n)*")
OURS = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"trailer", b"upgrade"})
"""Fields that only a transport writes."""
MAX_LENGTH_DIGITS = 18
"""Of a Content-Length: what fits a signed 64-bit number. Python reads any number of them, slowly."""


class MalformedError(Exception):
    """What came is not an HTTP/1.1 answer, or one that could be read in two ways."""


def request_line(method: str, target: bytes) -> bytes:
    """
    The first line of a request.

    Raises:
        ValueError: a blank, a line break or another character that cannot stand there.
    """
    line = b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), target)
    if _REQUEST_LINE.fullmatch(line) is None:
        raise ValueError("the request's method or target holds a character that HTTP does not allow there")
    return line


def fields(headers: Sequence[Header]) -> bytes:
    """
    Header fields, one line each.

    Raises:
        ValueError: a name or a value holds a line break, NUL or another character that cannot stand there. The
            message does not show it: it may be a secret.
    """
    rendered = b"".join([b"%b: %b\r\n" % header for header in headers])
    # The grammar alone is not enough: a value with a whole further line in it is well-formed, too.
    if rendered.count(b"\n") != len(headers) or _FIELDS.fullmatch(rendered) is None:
        raise ValueError("a header to the upstream holds a character that HTTP does not allow there")
    return rendered


def check_not_ours(headers: Iterable[Header]) -> None:
    """
    Refuse fields that would say twice what the transport says.

    Raises:
        ValueError: there is one.
    """
    for name, _ in headers:
        if name in OURS:
            raise ValueError(f"the header {name.decode('ascii')} is the transport's to write")


class Body(Enum):
    """How the end of a body is told."""

    NONE = "no body"
    LENGTH = "by its length"
    CHUNKED = "by its last chunk"
    TO_END = "by the end of the connection"


@dataclass(frozen=True, slots=True)
class Framing:
    """Where an answer ends, and whether its connection goes on."""

    body: Body
    length: int
    """Bytes of the body; 0 unless it is framed by its length."""
    keeps_alive: bool


def framing_of(status: int, version: str, headers: Iterable[Header]) -> Framing:
    """
    The framing of a final answer to a request other than HEAD and CONNECT.

    Args:
        status: of the answer, 200 or more.
        version: `1.1` or `1.0`.
        headers: names in lower case.

    Raises:
        MalformedError: framing that is unknown, contradicts itself, or could be read in two ways.

    Source: RFC 9112 §6.1, §6.3 and §9.3.
    """
    if version not in {"1.1", "1.0"}:
        raise MalformedError(f"HTTP/{version}")
    said = _said(headers)
    length = None if said.length is None else _number(said.length)
    if said.coding is not None and (said.coding != b"chunked" or length is not None or version == "1.0"):
        raise MalformedError("a transfer coding that is unknown, or beside a length, or in HTTP/1.0")
    keeps_alive = b"close" not in said.options and (version == "1.1" or b"keep-alive" in said.options)
    if status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED} or length == 0:
        return Framing(Body.NONE, 0, keeps_alive)
    if said.coding is not None:
        return Framing(Body.CHUNKED, 0, keeps_alive)
    if length is None:
        return Framing(Body.TO_END, 0, keeps_alive=False)
    return Framing(Body.LENGTH, length, keeps_alive)


@dataclass(slots=True)
class _Said:
    """What an answer's fields say of its framing."""

    coding: bytes | None = None
    length: bytes | None = None
    options: frozenset[bytes] = frozenset()


def _said(headers: Iterable[Header]) -> _Said:
    said = _Said()
    for name, value in headers:
        if name == b"content-length":
            if said.length not in {None, value}:
                raise MalformedError("two lengths")
            said.length = value
        elif name == b"transfer-encoding":
            if said.coding is not None:
                raise MalformedError("two transfer codings")
            said.coding = value.strip().lower()
        elif name == b"connection":
            said.options |= {option.strip().lower() for option in value.split(b",")}
    return said


def _number(text: bytes) -> int:
    """A Content-Length: digits, nothing else."""
    if not text.isdigit() or len(text) > MAX_LENGTH_DIGITS:
        raise MalformedError("a length that is no number")
    return int(text)
