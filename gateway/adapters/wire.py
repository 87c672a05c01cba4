"""
One HTTP/1.1 answer, read off the bytes of a connection: llhttp through httptools.

The parser sees heads and chunked bodies. A body by its length or to the end of the connection is handed on as it
was received: looking at each byte of a picture would cost more than moving it.

Everything that cannot be an answer is malformed at once, with bounds on what is kept before that is known. What
follows a complete answer is never read: it is only noted, so that the connection is not used again.

Not here: what the framing means (gateway/core/framing.py), connections and time (connection.py).
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import httptools

from gateway.core.framing import Body, Framing, MalformedError, framing_of
from gateway.core.headers import Header

MAX_HEAD_BYTES: Final = 64 * 1024
"""Of all heads before the body, interim ones included. nginx stops at 4–8 KB of an upstream's head, Envoy at 60."""
MAX_FIELDS: Final = 200
MAX_SILENT_BYTES: Final = 64 * 1024
"""Of chunked framing, extensions and trailers without a byte of body between them."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_FIRST_FINAL: Final = 200
_SWITCHING: Final = 101


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a final answer."""

    status: int
    headers: tuple[Header, ...]
    framing: Framing


class Answer:
    """
    What has arrived of one answer.

    `pieces` are the body's bytes that nobody has taken yet, `size` their sum; `done` says that the body is
    complete, `excess` that bytes followed it.
    """

    __slots__ = (
        "_chunked",
        "_fields",
        "_head_bytes",
        "_head_seen",
        "_last",
        "_left",
        "_parser",
        "_silent",
        "done",
        "excess",
        "head",
        "pieces",
        "size",
    )

    def __init__(self) -> None:
        self.head: Head | None = None
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.done = False
        self.excess = False
        # The parser holds this object and this object the parser, until one of them has done its work.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._fields: list[Header] = []
        self._head_seen = False
        self._head_bytes = 0
        self._last = b""
        self._left = 0
        self._chunked = False
        self._silent = 0

    def feed(self, data: memoryview) -> None:
        """
        Take in bytes, copying what is kept: the view may be overwritten afterwards.

        Raises:
            MalformedError: it is no answer, or no longer one. The pieces that came before are good.
        """
        if self.head is None:
            rest = self._feed_head(bytes(data))
            if rest:
                self._feed_body(memoryview(rest))
        else:
            self._feed_body(data)

    def end(self) -> None:
        """The server has sent all it will: for some bodies that is their end."""
        if self.head is not None and self.head.framing.body is Body.TO_END:
            self.done = True

    def take(self) -> bytes:
        """The next piece; there must be one."""
        piece = self.pieces.popleft()
        self.size -= len(piece)
        return piece

    def _feed_head(self, data: bytes) -> bytes:
        """What follows the final head, if that has ended."""
        while data:
            window = self._last + data
            found = window.find(_END_OF_HEAD)
            end = len(data) if found < 0 else found + len(_END_OF_HEAD) - len(self._last)
            self._head_bytes += end
            if self._head_bytes > MAX_HEAD_BYTES:
                raise MalformedError("a head that does not end")
            self._parse(data if end == len(data) else data[:end])
            # Where the parser and we see the end of the head differently, so might the server.
            if self._head_seen is (found < 0):
                raise MalformedError("a head that ends twice, or never")
            if found < 0:
                self._last = window[-3:]
                return b""
            data, self._last = data[end:], b""
            if self._finish_head():
                break
        return data

    def _finish_head(self) -> bool:
        """Whether the head that has ended is the final one: `100 Continue` and its like are not."""
        parser = self._parser
        assert parser is not None, "until the body is known"  # noqa: S101 - for the type checker
        status = parser.get_status_code()
        if len(self._fields) > MAX_FIELDS:
            raise MalformedError("too many header fields")
        if status < _FIRST_FINAL:
            if status == _SWITCHING or status < 100:  # noqa: PLR2004 - the classes of RFC 9110 §15
                raise MalformedError("a protocol that was not asked for")
            self._head_seen = False
            self._fields = []
            return False
        headers = tuple(self._fields)
        framing = framing_of(status, parser.get_http_version(), headers)
        self._left = framing.length
        self._chunked = framing.body is Body.CHUNKED
        self.done = framing.body is Body.NONE
        if not self._chunked:
            self._parser = None
        self.head = Head(status, headers, framing)
        return True

    def _feed_body(self, data: memoryview) -> None:
        if self.done:
            self.excess = True
        elif self._chunked:
            self._feed_chunks(data)
        elif self._left:
            piece = bytes(data[: self._left])
            self._left -= len(piece)
            self._add(piece)
            self.done = not self._left
            self.excess = len(piece) < len(data)
        else:
            self._add(bytes(data))

    def _feed_chunks(self, data: memoryview) -> None:
        self._silent += len(data)
        try:
            self._parse(data)
        except MalformedError:
            # The parser reads on behind the answer. What is there is no part of it.
            if not self.done:
                raise
            self.excess = True
        if self.done:
            self._parser = None
        elif self._silent > MAX_SILENT_BYTES:
            raise MalformedError("framing without a body")

    def _parse(self, data: bytes | memoryview) -> None:
        assert self._parser is not None, "until the body is known"  # noqa: S101 - for the type checker
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise MalformedError(type(error).__name__) from error

    def _add(self, piece: bytes) -> None:
        self.pieces.append(piece)
        self.size += len(piece)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Another message behind the complete one: nobody asked for it."""
        self.excess = self.done

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; trailers are dropped."""
        if self.head is None:
            self._fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The end of a head."""
        self._head_seen = True

    def on_body(self, body: bytes) -> None:
        """A part of a chunk."""
        if not self.done:
            self._silent = 0
            self._add(body)

    def on_message_complete(self) -> None:
        """The last chunk and its trailers are through. Of other bodies the parser sees no end."""
        if self._chunked:
            self.done = True
