"""An upstream that plays a script: the `Upstream` port, in the test's hands."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from gateway.core.errors import UpstreamFailed
from gateway.core.headers import Header
from gateway.ports import UpstreamRequest

JSON: tuple[Header, ...] = ((b"content-type", b"application/json"),)


@dataclass(frozen=True)
class Held:
    """The `RequestBody` port over pieces in memory."""

    held: tuple[bytes, ...]

    @property
    def size(self) -> int:
        return sum(map(len, self.held))

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self.held:
            yield piece


@dataclass
class Reply:
    """An answer, chunk by chunk; an exception among the chunks is raised in its place, an event waited for."""

    status: int = 200
    headers: Sequence[Header] = JSON
    script: Sequence[bytes | asyncio.Event | UpstreamFailed] = ()
    closed: int = 0
    read: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        for step in self.script:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, UpstreamFailed):
                raise step
            else:
                self.read += 1
                yield step

    async def aclose(self) -> None:
        self.closed += 1


@dataclass
class Scripted:
    """Plays its answers in order; an exception is raised in place of one, an event waited for."""

    script: list[Reply | UpstreamFailed | LookupError | asyncio.Event]
    requests: list[UpstreamRequest] = field(default_factory=list)
    bodies: list[bytes | None] = field(default_factory=list)

    async def open(self, request: UpstreamRequest) -> Reply:
        self.requests.append(request)
        body = request.body
        self.bodies.append(None if body is None else b"".join([piece async for piece in body.pieces()]))
        while isinstance(step := self.script.pop(0), asyncio.Event):
            await step.wait()
        if isinstance(step, UpstreamFailed | LookupError):
            raise step
        return step

    async def aclose(self) -> None:
        pass
