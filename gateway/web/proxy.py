"""
The public listener: one pure ASGI endpoint, from the request's head to the last byte of its answer.

uvicorn does not tell an application that its client has left, unless it is asked: somebody must await `receive`.
Here that is `Connection.gone`, which the pipeline watches while it answers.
"""

import asyncio
import re
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from gateway.core.errors import Code, Refusal, Refused
from gateway.core.headers import Header
from gateway.flow.exchange import Arrival
from gateway.flow.succession import Serving
from gateway.flow.tasks import ClientGoneError
from gateway.ports import Clock, Ids
from gateway.web import errors, health
from gateway.web.guard import LINE, Line

_NOT_A_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


MIN_BODY_RATE = 10_240
"""Bytes a second, on average, below which a body only drips: its sender holds a place that others wait for."""


class Connection:
    """
    One request's `receive` and `send`, as the `Client` that the flow knows.

    Args:
        receive: ASGI's.
        send: ASGI's.
        line: the connection it came on.
        clock: for dates.
        body_timeout_s: how long the client may pause while it sends its body.
    """

    def __init__(self, receive: Receive, send: Send, line: Line, clock: Clock, body_timeout_s: float) -> None:
        self._receive = receive
        self._send = send
        self._line = line
        self._clock = clock
        self._body_timeout_s = body_timeout_s

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body."""
        more = True
        waited_s, received = 0.0, 0
        while more:
            began = self._clock.ticks()
            # A pause may be as long as that; all of them together only if something comes of them.
            left_s = self._body_timeout_s + received / MIN_BODY_RATE - waited_s
            try:
                async with asyncio.timeout(max(0.0, min(self._body_timeout_s, left_s))):
                    message = await self._receive()
            except TimeoutError:
                words = (
                    f"The request's body paused for more than {self._body_timeout_s:g} seconds, or came more slowly "
                    f"than {MIN_BODY_RATE} bytes a second."
                )
                raise Refused(Refusal(Code.REQUEST_TIMEOUT, words)) from None
            waited_s += self._clock.ticks() - began
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            if self._line.fault is not None:
                raise Refused(self._line.fault)
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            received += len(chunk)
            if chunk:
                yield chunk

    async def gone(self) -> None:
        """Return once the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: list[Header]) -> None:
        """Send the head, without the fields whose values HTTP does not allow (RFC 9110 §5.5)."""
        headers = [header for header in headers if _NOT_A_VALUE.search(header[1]) is None]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, chunk: bytes) -> None:
        """Send a piece of the body."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """Complete the answer."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def cut(self) -> None:
        """End the connection in the middle of the answer."""
        self._line.cut()

    async def refuse(self, refusal: Refusal, request_id: str) -> None:
        """Answer with an error of ours."""
        headers, body = errors.answer(refusal, request_id, self._clock.now())
        await self.whole(refusal.code.status, headers, body)

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a complete answer of ours; if the request has not been read to its end, also the last one."""
        if not self._line.whole:
            headers = [*headers, (b"connection", b"close")]
        await self.start(status, headers)
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


class Proxy:
    """
    The ASGI application of the public listener. It runs behind `guard.GuardedProtocol`.

    Args:
        serving: answers requests.
        clock: for arrival times and dates.
        ids: names for requests.
        body_timeout_s: how long a client may pause while it sends its body.
        look: whether requests should be sent here.
    """

    def __init__(
        self,
        serving: Serving,
        clock: Clock,
        ids: Ids,
        *,
        body_timeout_s: float,
        look: health.Look = health.always_ready,
    ) -> None:
        self._serving = serving
        self._clock = clock
        self._ids = ids
        self._body_timeout_s = body_timeout_s
        self._look = look

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        line: Line = scope["extensions"][LINE]["line"]
        client = Connection(receive, send, line, self._clock, self._body_timeout_s)
        if scope["path"] in health.PATHS and scope["method"] in {"GET", "HEAD"}:
            await client.whole(*await health.answer(scope["path"], self._look, self._clock.now()))
            return
        arrival = Arrival(
            id=self._ids.new(),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=tuple(scope["headers"]),
            at=self._clock.ticks(),
        )
        await self._serving.serve(arrival, client)
