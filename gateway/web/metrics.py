"""
`GET /metrics`, on the operators' listener only; and who is inside the public one.

Whichever worker is asked answers for all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.core.headers import is_event_stream
from gateway.core.metrics import Sample
from gateway.ports.metrics import Counters, Exposition, Processes

PATH = "/metrics"


class InFlight:
    """
    An application, and how many of its requests are under way.

    Args:
        application: it.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self.requests = 0
        self.streams = 0
        """Those of them that are answered by a stream of events, from its head on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_stream = False

        async def watching(message: Message) -> None:
            nonlocal is_stream
            if message["type"] == "http.response.start" and is_event_stream(message.get("headers", ())):
                is_stream = True
                self.streams += 1
            await send(message)

        self.requests += 1
        try:
            await self._application(scope, receive, watching)
        finally:
            self.requests -= 1
            self.streams -= is_stream


class Metrics:
    """
    The endpoint.

    Args:
        counters: what was counted.
        exposition: how it is told.
        processes: what they use.
        publish: says how this worker is doing, before it is asked.
        read: what the store knows, in bounded time.
        constant: what never changes.
    """

    def __init__(
        self,
        counters: Counters,
        exposition: Exposition,
        processes: Processes,
        *,
        publish: Callable[[], None],
        read: Callable[[], Awaitable[Sequence[Sample]]],
        constant: Sequence[Sample] = (),
    ) -> None:
        self._counters = counters
        self._exposition = exposition
        self._processes = processes
        self._publish = publish
        self._read = read
        self._constant = constant

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape."""
        del receive
        self._publish()
        known = await self._read()
        accept = b", ".join(value for name, value in scope["headers"] if name == b"accept")
        # It looks into files, and puts thousands of lines together.
        content_type, body = await asyncio.to_thread(self._told, known, accept.decode("latin-1"))
        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _told(self, known: Sequence[Sample], accept: str) -> tuple[str, bytes]:
        read = (*self._constant, *known, *self._processes.read())
        return self._exposition.told(self._counters.totals(), read, accept)
