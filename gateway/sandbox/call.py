"""
One call as it came over the wire, and the ways to answer it: whole, as a stream, or by cutting the line.

Everything is plain ASGI. An event is one `send`, so it leaves at once; a body is never held back by a framework.
The look-out for a client that has left works beside the stream, because uvicorn raises nothing when it happens.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from gateway.sandbox import clock, errors
from gateway.sandbox.steer import Steering
from gateway.sandbox.tasks import spawn

JSON: Final = "application/json"
SSE: Final = "text/event-stream; charset=utf-8"


class GoneError(Exception):
    """The client has left, or we cut its line; nobody reads on."""


@dataclass(slots=True)
class Call:
    """
    A request with its body read, and the line back.

    Args:
        path: below `/v1`, without a leading slash: `images/generations`.
        request_id: goes out as `x-request-id`.
        speed: how many times faster than a real generation; 0 never waits.
    """

    scope: Scope
    receive: Receive
    send: Send
    body: bytes
    path: str
    request_id: str
    speed: float
    steering: Steering = field(default_factory=Steering)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    # Set when the client leaves, and by whoever has news for a stream that waits for them.
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = field(default_factory=clock.now)

    def header(self, name: str) -> str:
        """A request header's value, or nothing."""
        wanted = name.encode()
        for key, value in self.scope["headers"]:
            if key == wanted:
                return str(value.decode("latin-1"))
        return ""

    def is_form(self) -> bool:
        """Whether the body says to be a multipart form, in whatever capitals."""
        return self.header("content-type").lower().startswith("multipart/form-data")

    def query(self, name: str) -> str | None:
        """The last value of a query parameter."""
        values = parse_qs(self.scope["query_string"].decode("latin-1")).get(name)
        return values[-1] if values else None

    def own_hosts(self) -> frozenset[str]:
        """The names under which this server is known to this client, with port."""
        server = self.scope.get("server")
        port = server[1] if server else None
        return frozenset({self.header("host"), f"127.0.0.1:{port}", f"localhost:{port}"})

    def payload(self) -> dict[str, object]:
        """
        The JSON object in the body.

        Raises:
            ApiError: 400 in OpenAI's words where it is none.
        """
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise errors.ApiError(
                400,
                "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your "
                f"HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid "
                f"JSON: {error}.)",
            ) from error
        if not isinstance(found, dict):
            raise errors.ApiError(
                400, "The JSON body of your request must be an object.", code="invalid_type"
            )
        return found

    def seconds(self, natural_s: float) -> float:
        """What work that takes `natural_s` seconds at speed 1 takes here; `delay_ms` overrides it exactly."""
        if self.steering.delay_ms is not None:
            return self.steering.delay_ms / 1000
        return natural_s / self.speed if self.speed else 0.0

    def pace(self, natural_s: float) -> clock.Pace:
        """The pace of such work, for somebody who waits on this line."""
        return clock.Pace(self.seconds(natural_s), self.gone)

    async def json(
        self, payload: object, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """The whole answer as JSON."""
        await self.whole(orjson.dumps(payload), JSON, status=status, headers=headers)

    async def whole(
        self, data: bytes, content_type: str, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        """The whole answer; in the middle of it the line is cut where the test asked for that."""
        await self.head(status, content_type, length=len(data), headers=headers)
        if self.steering.fail == "mid-stream":
            await self.write(data[: len(data) // 2])
            await self.cut()
        await self.write(data, last=True)

    async def head(
        self,
        status: int,
        content_type: str,
        *,
        length: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """
        Status and headers, with those that OpenAI and its edge add.

        Raises:
            GoneError: the test asked that the answer be lost (`fail=lost`): made, billed, and never sent.
        """
        if self.steering.fail == "lost":
            await self.cut(unsent=False)
        found = _edge_headers(self.request_id, clock.now() - self.began) | {"content-type": content_type}
        if length is not None and self.steering.chunk is None:
            found["content-length"] = str(length)
        found |= headers or {}
        raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in found.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """
        Some bytes of the body, in writes of `chunk` bytes if asked.

        Raises:
            GoneError: the client had left before all of it was handed to the connection.
        """
        size = self.steering.chunk or max(1, len(data))
        for start in range(0, max(1, len(data)), size):
            if self.gone.is_set():
                raise GoneError
            ends = last and start + size >= len(data)
            await self.send(
                {"type": "http.response.body", "body": data[start : start + size], "more_body": not ends}
            )
            # The look-out runs between the writes: a client that has left is noticed at once.
            await asyncio.sleep(0)

    async def event(self, payload: dict[str, object], *, half: bool = False) -> None:
        """One server-sent event; with `half` its first half only, and then the line is cut."""
        frame = b"event: %b\ndata: %b\n\n" % (str(payload["type"]).encode(), orjson.dumps(payload))
        if half:
            await self.write(frame[: len(frame) // 2])
            await self.cut()
        await self.write(frame)

    async def end(self) -> None:
        """The clean end of a stream."""
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """While inside, `gone` is set as soon as the client leaves."""
        look_out = spawn(self._look_out())
        try:
            yield
        finally:
            look_out.cancel()

    async def _look_out(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone.set()
        self.wake.set()

    async def left(self) -> None:
        """Returns when the client has left."""
        if not self.gone.is_set():
            await self._look_out()

    async def cut(self, *, unsent: bool = True) -> None:
        """
        Ends the connection without ending the answer, as a broken line does.

        ASGI has no word for it: an application that returns early gets a 500 page from uvicorn if the head is not
        out yet. `send` is a method of uvicorn's request cycle, and that knows its transport: we close it ourselves.

        Args:
            unsent: whether what was written may still leave (a FIN after it); otherwise the line is reset.

        Raises:
            GoneError: always, so that no caller goes on.
        """
        transport = getattr(getattr(self.send, "__self__", None), "transport", None)
        # By its methods and not by its class: uvloop's transports are not asyncio's.
        hang_up = getattr(transport, "close" if unsent else "abort", None)
        if hang_up is None:
            raise ConnectionAbortedError("this server does not let us reach its transport; use uvicorn")
        hang_up()
        # uvicorn calls a return before it knows of the disconnect an error, so we wait until it knows.
        if not self.gone.is_set():
            await self.receive()
            self.gone.set()
        raise GoneError


def _edge_headers(request_id: str, elapsed_s: float) -> dict[str, str]:
    """What OpenAI's edge adds; a proxy in front of it must keep some of these to itself."""
    cookie = hashlib.sha256(request_id.encode()).hexdigest()[:43]
    return {
        "x-request-id": request_id,
        "openai-organization": "org-sandbox",
        "openai-project": "proj_sandbox",
        "openai-version": "2020-10-01",
        "openai-processing-ms": str(int(elapsed_s * 1000)),
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "499",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "800000",
        "x-ratelimit-remaining-tokens": "799000",
        "x-ratelimit-reset-tokens": "75ms",
        "set-cookie": f"__cf_bm={cookie}; path=/; domain=.api.openai.com; HttpOnly; Secure; SameSite=None",
        "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
        "alt-svc": 'h3=":443"; ma=86400',
        "cf-cache-status": "DYNAMIC",
        "cf-ray": f"{cookie[:16]}-FRA",
        "x-content-type-options": "nosniff",
    }
