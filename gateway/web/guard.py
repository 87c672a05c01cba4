"""
The guard in front of the application: what must not even begin, and what must not last.

uvicorn has no time limit for a request's head and none for its size under httptools, answers garbage in plain text,
waits for ever for a client that has stopped reading, forgets the request under way when one that was pipelined
behind it is cut off, and answers HTTP/1.0 in chunks. This protocol class mends that, between the socket and the ASGI
application:

- a head has to arrive within `head_timeout_s` of its first byte, and the first byte within that of connecting;
- it is limited in size and number of fields, as are trailers and chunk extensions; the rest is `web.head`;
- a client that takes nothing for `stall_timeout_s` while there is something to take is cut;
- answers come in the order of their requests, a refusal too; it is OpenAI's JSON, and the end of the connection;
- a connection ends in two steps: the client is told that nothing more comes, and may read what came before. A close
  with unread bytes is a reset, which outruns the answer (RFC 9112 §9.6).

What concerns a body (its size, its pace) is the application's: it knows who asks.
"""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.core.errors import Code, Refusal
from gateway.core.headers import Header
from gateway.core.record import Outcome, Record
from gateway.ports import Journal
from gateway.web import errors
from gateway.web.head import Head, objection
from gateway.web.outlet import Outlet, is_old, until_close

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

LINE = "imagegate.line"
"""The ASGI extension under whose key `line` the application finds its `Line`."""
MAX_PIPELINED = 16
"""Requests waiting for the one before them on the same connection. Clients of today send none."""
_RESET = struct.pack("ii", 1, 0)

_log = logging.getLogger("imagegate.guard")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the guard lets pass."""

    head_timeout_s: float
    stall_timeout_s: float
    linger_s: float = 5.0
    """How long a client that has its answer may go on sending, or keep its side open."""
    last_call_s: float = 2.0
    """How long an idle connection is left open while the process drains."""
    max_head_bytes: int = 64 * 1024
    """Request line and fields. Node allows 16 KiB, Apache 8 KiB a line, h11 64 KiB."""
    max_fields: int = 100


class Line:
    """
    What the application may know and do about the connection of its request, besides ASGI.

    Args:
        cycle: uvicorn's, of this request.
        cut: ends the connection in the middle of this request's answer.
    """

    def __init__(self, cycle: RequestResponseCycle, cut: Callable[[], None]) -> None:
        self._cycle = cycle
        self.cut = cut
        self.fault: Refusal | None = None
        """What is wrong with the framing of the body, as soon as it is known: nothing more of it will come."""

    @property
    def whole(self) -> bool:
        """Whether the request has arrived to its end."""
        return not self._cycle.more_body


class GuardedProtocol(HttpToolsProtocol):
    """
    uvicorn's protocol, guarded.

    Args:
        limits: what to let pass.
        new_id: names for requests refused here.
        now: epoch seconds, for Date.
        journal: is told of them.
        arguments: uvicorn's own.
    """

    def __init__(
        self,
        *,
        limits: Limits,
        new_id: Callable[[], str],
        now: Callable[[], float],
        journal: Journal,
        **arguments: Any,  # noqa: ANN401 - uvicorn's, handed on
    ) -> None:
        super().__init__(**arguments)
        self._limits = limits
        self._new_id = new_id
        self._now = now
        self._journal = journal
        self._in_head = False
        self._overhead = 0
        """Bytes since the last read in which a head began or a piece of body came."""
        self._moved = False
        """Either of these happened in the read being parsed."""
        self._refusal: Refusal | None = None
        """Why nothing more is read as HTTP. It is said once the requests before it have their answers."""
        self._deaf = False
        """What comes is dropped."""
        self._ending = False
        """Nothing more is said."""
        self._answering: RequestResponseCycle | None = None
        """The request whose turn it is, or was last; `cycle` is the one that arrived last."""
        self._line: Line | None = None
        """Of `cycle`."""
        self._outlet: Outlet
        self._taken = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        """Until which what begins on this connection is still answered; the process drains."""

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        """Wait for the first head."""
        super().connection_made(transport)
        self._outlet = Outlet(transport, self._end)
        self._await_head()
        if getattr(self.server_state, "is_draining", False):
            # Taken off the queue just before the listener was closed.
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget every timer; tell the request whose turn it is."""
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        for timer in (self._stall_timer, self._end_timer, self._drain_timer):
            if timer is not None:
                timer.cancel()
        answering = self._answering
        if answering is not None and not answering.response_complete:
            answering.disconnected = True
            answering.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, unless the client has been refused already."""
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        if self._head_timer is None and not self._in_head and self._owes_nothing():
            self._await_head()
        self._moved = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The upgrade is declined: the request is answered as it is, what follows it is no HTTP.
            self._deaf = True
            if self._latest is not None:
                self._latest.keep_alive = False
        except httptools.HttpParserCallbackError:
            _log.exception("internal error while a head was read")
            self._refusal = Refusal(
                Code.INTERNAL_ERROR, "The gateway had an error while reading your request."
            )
        except httptools.HttpParserError:
            self._refusal = self._refusal or Refusal(
                Code.INVALID_HEADER, "This is not a valid HTTP/1.1 request."
            )
        if not self._moved:
            self._overhead += len(data)
            if self._overhead > self._limits.max_head_bytes:
                self._refusal = self._refusal or self._too_large()
        if self._refusal is not None:
            self._refuse(self._refusal)

    # The parser's callbacks

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head = True
        self._progress()
        if self._refusal is None:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request line."""
        if self._refusal is None:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer: trailers are dropped."""
        if self._refusal is not None or not self._in_head:
            return
        if len(self.headers) >= self._limits.max_fields:
            message = f"The request has more than {self._limits.max_fields} header fields."
            self._refusal = Refusal(Code.HEADERS_TOO_LARGE, message)
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: let it pass, or do not begin."""
        self._in_head = False
        self._stop_head_timer()
        if self._refusal is not None:
            return
        head = Head(self.url, self.parser.get_http_version(), self.headers)
        self._refusal = self._too_large() if head.size > self._limits.max_head_bytes else objection(head)
        if self._refusal is None and len(self.pipeline) >= MAX_PIPELINED:
            message = (
                f"More than {MAX_PIPELINED} requests wait on this connection. Please wait for the answers."
            )
            self._refusal = Refusal(Code.OVERLOADED, message, retry_after_ms=1000)
        if self._refusal is not None:
            return
        # HTTP/1.0 knows no interim answers, and without a body there is nothing to continue.
        self.expect_100_continue = self.expect_100_continue and head.version != "1.0" and head.has_body
        super().on_headers_complete()
        cycle = self.cycle
        if self._drain_timer is not None:
            cycle.keep_alive = False
        cycle.transport = self._outlet
        self._line = Line(cycle, lambda: self._cut(cycle))
        self.scope["extensions"] = {LINE: {"line": self._line}}
        # uvicorn stops reading behind a pipelined request, and would not see its client leave.
        self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._progress()
        if self._refusal is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._refusal is None:
            super().on_message_complete()
            # Also when it has had its answer already, where uvicorn leaves it open.
            self.cycle.more_body = False

    def _progress(self) -> None:
        self._moved = True
        self._overhead = 0

    # Answers, in their order

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._answering = cycle
        if cycle is self._latest and self._line is not None and self._line.fault is not None:
            self._end_soon()
        super()._start_asgi_task(cycle, until_close(cycle, app) if is_old(cycle) else app)

    def on_response_complete(self) -> None:
        """An answer is whole: the next one's turn."""
        answering = self._answering
        if self._ending or (answering is not None and answering.more_body):
            # Answered without a look at the body, and without saying that this is the end.
            self.server_state.total_requests += 1
            self._end()
        elif self._refusal is not None and not self.pipeline:
            self.server_state.total_requests += 1
            self._say(self._refusal)
        else:
            super().on_response_complete()
            if self._in_head and self._head_timer is None:
                # It began while the answer was under way.
                self._unset_keepalive_if_required()
                self._await_head()
            self._watch_stall()

    def _refuse(self, refusal: Refusal) -> None:
        self._deaf = True
        self._stop_head_timer()
        latest = self._latest
        if latest is not None and latest.more_body and self._line is not None:
            # Its body is what is wrong. Whoever reads it says so, where nothing has been said yet.
            latest.keep_alive = False
            self._line.fault = refusal
            latest.message_event.set()
            if latest is self._answering:
                self._end_soon()
        elif self._owes_nothing():
            self._say(refusal)

    def _say(self, refusal: Refusal) -> None:
        if self._ending or self.transport.is_closing():
            return
        name, now = self._new_id(), self._now()
        headers, body = errors.answer(refusal, name, now)
        if self.parser.get_method() == b"HEAD":
            body = b""
        self._outlet.write(_head(refusal.code.status, [*headers, (b"connection", b"close")]) + body)
        self._end()
        # What never became a request leaves its line, too; nothing of it is told that could not be read.
        code = refusal.code
        self._journal.write(
            Record(
                id=name,
                at=now,
                method="-",
                outcome=Outcome.REFUSED,
                status=code.status,
                code=code.code,
                bytes_out=len(body),
                duration_ms=0.0,
            )
        )

    @property
    def _latest(self) -> RequestResponseCycle | None:
        """The request that came last; None before the first, whatever uvicorn's annotation says."""
        return self.cycle

    def _owes_nothing(self) -> bool:
        answering, latest = self._answering, self._latest
        return (
            (answering is None or answering.response_complete)
            and (latest is None or not latest.more_body)
            and not self.pipeline
        )

    # A head that is late

    def _await_head(self) -> None:
        # In two halves: a process that stood still for longer reads what lies in its sockets before it judges anybody.
        self._head_timer = self.loop.call_later(self._limits.head_timeout_s / 2, self._await_rest_of_head)

    def _await_rest_of_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.head_timeout_s / 2, self._head_is_late)

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
        self._refusal = Refusal(Code.REQUEST_TIMEOUT, message)
        self._refuse(self._refusal)

    def _too_large(self) -> Refusal:
        message = f"The request's head, or what frames its body, is larger than {self._limits.max_head_bytes} bytes."
        return Refusal(Code.HEADERS_TOO_LARGE, message)

    # A client that does not read

    def pause_writing(self) -> None:
        """The client takes less than there is: watch whether it takes anything at all."""
        super().pause_writing()
        self._watch_stall()

    def _watch_stall(self) -> None:
        if self._stall_timer is None and self.transport.get_write_buffer_size():
            self._taken = self._outlet.taken
            self._stall_timer = self.loop.call_later(self._limits.stall_timeout_s, self._check_stall)

    def _check_stall(self) -> None:
        self._stall_timer = None
        if self.transport.get_write_buffer_size() and self._outlet.taken == self._taken:
            self.transport.abort()
        else:
            self._watch_stall()

    # The end

    def shutdown(self) -> None:
        """
        The process drains: the next answer says that it is the last one.

        An idle connection is left open a little longer. A client may be writing to it at this moment, and one whose
        request is met by a close does not know whether it was carried out.
        """
        if self._drain_timer is not None:
            return
        if not self._owes_nothing() and self._latest is not None:
            self._latest.keep_alive = False
        self._drain_timer = self.loop.call_later(self._limits.last_call_s, self._last_call)

    def _last_call(self) -> None:
        if self._owes_nothing() and not self._in_head and not self._ending:
            self.transport.close()

    def eof_received(self) -> None:
        """The client sends nothing more: it has left, whatever it still means to read."""
        super().eof_received()
        # asyncio closes now, and waits for what is not written yet.
        self._watch_stall()

    def _cut(self, cycle: RequestResponseCycle) -> None:
        """End the connection in the middle of an answer: what was written arrives, the rest is missing."""
        cycle.disconnected = True
        if self.transport.is_closing():
            return
        if is_old(cycle):
            # An answer that ends with its connection has no other way of breaking off.
            sock: socket.socket = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()
        else:
            self._end()

    def _end(self) -> None:
        """Say nothing more; close when the client has read what was said, or had the time for it."""
        if self._ending or self.transport.is_closing():
            return
        self._ending = self._deaf = self._outlet.shut = True
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        # Unread bytes would turn the close into a reset.
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._watch_stall()
        self._end_soon()

    def _end_soon(self) -> None:
        if self._end_timer is None:
            self._end_timer = self.loop.call_later(self._limits.linger_s, self._close)

    def _close(self) -> None:
        self._end_timer = None
        if self.transport.get_write_buffer_size():
            # It is still reading; one that is not is cut as stalled.
            self._watch_stall()
            self._end_soon()
        else:
            self.transport.abort()


def _head(status: int, headers: list[Header]) -> bytes:
    line = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode("ascii")
    return b"".join([line, *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n"])
