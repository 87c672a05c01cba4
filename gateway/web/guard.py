"""
The guard in front of the application: what must not even begin.

uvicorn has no time limit for a request's head, no limit for its size under httptools, takes no Host or two of them,
answers garbage in plain text, and waits for ever for a client that has stopped reading. This protocol class closes
that, between the socket and the ASGI application:

- a head has to arrive within `head_timeout_s` of its first byte, and the first byte within that of connecting;
- it is limited in size and number of fields; it has exactly one good Host;
- no Transfer-Encoding with HTTP/1.0, no Content-Encoding, no underscore in a field's name: each is read
  differently by somebody;
- a client that takes nothing for `stall_timeout_s` while there is something to take is cut;
- a refusal is OpenAI's JSON, and is given time to arrive before the connection is closed (a close with unread bytes
  is a reset, which outruns the answer).

What concerns the body (its size, its pace) is the application's: it knows who asks.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.core.errors import Code, Refusal
from gateway.core.headers import Header
from gateway.web import errors

LINGER_S = 5.0
"""How long a refused client may go on sending before the connection is cut, and a closed one may go on reading."""
CUT = "imagegate.cut"
"""The ASGI scope's extension by which the application cuts a connection whose answer has begun."""

_HOST = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the guard lets pass."""

    head_timeout_s: float
    stall_timeout_s: float
    max_head_bytes: int = 64 * 1024
    """Request line and fields. Node allows 16 KiB, Apache 8 KiB a line, h11 64 KiB."""
    max_fields: int = 100


class GuardedProtocol(HttpToolsProtocol):
    """
    uvicorn's protocol, guarded.

    Args:
        limits: what to let pass.
        new_id: names for requests refused here.
        now: epoch seconds, for Date.
        arguments: uvicorn's own.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        new_id: Callable[[], str],
        now: Callable[[], float],
        **arguments: Any,  # noqa: ANN401 - uvicorn's, handed on
    ) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._new_id = new_id
        self._now = now
        self._head_bytes = 0
        """Of a head that is still coming, without the read in which it began: that may hold other things too."""
        self._in_head = False
        self._began = False
        """The head began in the read being parsed."""
        self._refused: Refusal | None = None
        self._deaf = False
        """Nothing more is read: what comes is dropped."""
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        """Wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget every timer."""
        for timer in (self._head_timer, self._stall_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless the client has been refused already."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        if self._head_timer is None and not self._in_head and self._is_between_requests():
            self._await_head()
        self._began = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The application answers 404; what follows on this connection is no HTTP.
            self._deaf = True
        except httptools.HttpParserError:
            self._refuse(
                Refusal(Code.INVALID_HEADER, "This is not a valid HTTP/1.1 request.")
                if self._refused is None
                else self._refused
            )
            return
        if self._refused is not None:
            self._refuse(self._refused)
        elif self._in_head and not self._began:
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.max_head_bytes:
                self._refuse(self._head_too_large())

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """A head begins."""
        if self._refused is None:
            self._in_head = self._began = True
            self._head_bytes = 0
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        if self._refused is None:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer: trailers are dropped."""
        if self._refused is None and self._in_head:
            if len(self.headers) >= self._limits.max_fields:
                self._refused = Refusal(
                    Code.HEADERS_TOO_LARGE,
                    f"The request has more than {self._limits.max_fields} header fields.",
                )
                return
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: let it pass, or do not begin."""
        self._in_head = False
        self._stop_head_timer()
        if self._refused is None:
            self._refused = self._objection()
        if self._refused is None:
            super().on_headers_complete()
            self.scope["extensions"] = {CUT: {"cut": self.cut}}

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._refused is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._refused is None:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is whole; a request that is still coming in has a little time to end."""
        super().on_response_complete()
        cycle = self._latest
        if self.transport.is_closing() or (cycle is not None and cycle.more_body):
            self._abort_later()

    # A client that does not read

    def pause_writing(self) -> None:
        """The client takes less than there is: watch whether it takes anything at all."""
        super().pause_writing()
        self._watch_stall(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _watch_stall(self, unsent: int) -> None:
        def check() -> None:
            left = self.transport.get_write_buffer_size()
            if left and left >= unsent:
                self.transport.abort()
            else:
                self._watch_stall(left)

        self._stall_timer = self.loop.call_later(self._limits.stall_timeout_s, check)

    # Refusing and cutting

    def cut(self) -> None:
        """End the connection in the middle of an answer: what was written arrives, the rest is missing."""
        cycle = self._latest
        if cycle is not None:
            cycle.disconnected = True
        self.transport.close()
        self._abort_later()

    def _abort_later(self) -> None:
        if self._close_timer is None:
            self._close_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def _refuse(self, refusal: Refusal) -> None:
        self._deaf = True
        self._refused = refusal
        self._stop_head_timer()
        cycle = self._latest
        if cycle is not None and not cycle.response_complete:
            # A pipelined request: the one before it gets its answer, whole; then the connection ends.
            cycle.keep_alive = False
            return
        name = self._new_id()
        headers, body = errors.answer(refusal, name, self._now())
        self.transport.write(_serialised(refusal.code.status, [*headers, (b"connection", b"close")], body))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._abort_later()

    @property
    def _latest(self) -> RequestResponseCycle | None:
        """The request that came last; None before the first, whatever uvicorn's annotation says."""
        return self.cycle

    def _is_between_requests(self) -> bool:
        cycle = self._latest
        return cycle is None or (cycle.response_complete and not cycle.more_body)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self._head_is_late)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self._in_head:
            # Nothing was asked: nothing is answered.
            self.transport.abort()
            return
        message = f"The request's head did not arrive within {self._limits.head_timeout_s:g} seconds."
        self._refuse(Refusal(Code.REQUEST_TIMEOUT, message))

    # What a head must be

    def _objection(self) -> Refusal | None:
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self._limits.max_head_bytes:
            return self._head_too_large()
        names = [name for name, _ in self.headers]
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 or not _HOST.match(hosts[0]):
            return Refusal(Code.INVALID_HOST, "The request needs exactly one Host header with a host name.")
        if any(b"_" in name for name in names):
            return Refusal(Code.INVALID_HEADER, "Header names must not contain an underscore.")
        if self.parser.get_http_version() == "1.0" and b"transfer-encoding" in names:
            return Refusal(Code.INVALID_HEADER, "HTTP/1.0 has no Transfer-Encoding.")
        if b"content-encoding" in names:
            message = "Request bodies must not be compressed: send them without Content-Encoding."
            return Refusal(Code.UNSUPPORTED_CONTENT_ENCODING, message)
        try:
            httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            return Refusal(Code.INVALID_HEADER, "The request target is not a valid URL.")
        return None

    def _head_too_large(self) -> Refusal:
        message = f"The request's head is larger than {self._limits.max_head_bytes} bytes."
        return Refusal(Code.HEADERS_TOO_LARGE, message)


def _serialised(status: int, headers: list[Header], body: bytes) -> bytes:
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode("ascii")
    return b"".join([line, *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n", body])
