"""Flights in a test's hands: an upstream that says what it is told, a crew that keeps notes, clients that listen."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from gateway.core.errors import UpstreamFailed
from gateway.core.flight import Cut, Entrance, Erred, Failed, Landing, Lost, Stored
from gateway.core.headers import Header
from gateway.flow.flights import Flights, Follow, Joined, Lead, Passage
from gateway.flow.tape import Filing, Head, Tape
from tests.support.scripted import JSON


class Upstream:
    """One answer, given piece by piece as the test says."""

    def __init__(self, status: int = 200, headers: Sequence[Header] = JSON) -> None:
        self.status = status
        self.headers = headers
        self.opened = 0
        self.closed = 0
        self._came: asyncio.Queue[bytes | UpstreamFailed | None] = asyncio.Queue()
        self._head: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answers(self) -> None:
        """The head."""
        self._head.set_result(None)

    def says(self, *chunks: bytes) -> None:
        """A part of the body."""
        for chunk in chunks:
            self._came.put_nowait(chunk)

    def ends(self) -> None:
        self._came.put_nowait(None)

    def fails(self, failed: UpstreamFailed) -> None:
        """In place of an answer, or in the middle of it."""
        if self._head.done():
            self._came.put_nowait(failed)
        else:
            self._head.set_exception(failed)

    async def open(self) -> "Upstream":
        self.opened += 1
        await self._head
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        while (one := await self._came.get()) is not None:
            if isinstance(one, UpstreamFailed):
                raise one
            yield one

    async def aclose(self) -> None:
        self.closed += 1


@dataclass
class Hands:
    """
    A crew.

    Args:
        kept: what becomes of a good answer; an exception is raised.
        stay: seconds for which it goes on with nobody aboard; None: it is cut.
    """

    kept: Landing | Exception = field(default_factory=Stored)
    stay: float | None = None
    may_land: asyncio.Event = field(default_factory=asyncio.Event)
    heads: list[Head] = field(default_factory=list)
    seen: bytes = b""
    asked: int = 0

    def __post_init__(self) -> None:
        self.may_land.set()

    def came(self, head: Head) -> None:
        self.heads.append(head)

    def saw(self, chunk: bytes) -> None:
        self.seen += chunk

    def stay_s(self) -> float | None:
        self.asked += 1
        return self.stay

    async def land(self, tape: Tape) -> Landing:
        await self.may_land.wait()
        if tape.is_left:
            return Lost()
        if isinstance(tape.failure, UpstreamFailed):
            failed = tape.failure
            if tape.head is None:
                return Failed(failed.failure, failed.phase, failed.sent)
            return Cut(failed.failure, failed.phase)
        if tape.head is not None and tape.head.status >= 400:
            return Erred(tape.head.status)
        if isinstance(self.kept, Exception):
            raise self.kept
        return self.kept


@dataclass
class Client:
    """
    Takes what comes, and notes how it ended.

    Args:
        holds: nothing goes out before all of it is there, as with a plain answer that is to say what it cost.
    """

    holds: bool = False
    head: Head | None = None
    got: bytes = b""
    sent: bool = False
    ended: bool = False
    error: Exception | None = None
    stalls: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: it takes no more."""

    def __post_init__(self) -> None:
        self.stalls.set()

    def has_sent(self) -> bool:
        return self.sent

    async def listen(self, passage: Passage) -> None:
        try:
            self.head = await passage.head()
            self.sent = not self.holds
            async for chunk in passage.chunks():
                self.got += chunk
                await self.stalls.wait()
            self.sent = self.ended = True
        except Exception as error:  # noqa: BLE001 - noted, for the test to look at
            self.error = error
        finally:
            passage.leave()


def listen(client: Client, passage: Passage) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(client.listen(passage))


async def lead(flights: Flights, name: str = "n", *, looked_at: float = 0.0) -> Lead:
    found = await flights.join(name, looked_at=looked_at, has_sent=lambda: False)
    assert isinstance(found, Lead)
    return found


async def follow(
    flights: Flights, client: Client, name: str = "n", *, looked_at: float = 0.0
) -> asyncio.Task[None]:
    found = await flights.join(name, looked_at=looked_at, has_sent=client.has_sent)
    assert isinstance(found, Follow)
    return listen(client, found)


async def entrance(
    flights: Flights, name: str = "n", *, looked_at: float
) -> Entrance | type[Lead] | type[Follow]:
    """How a call would come in; who would lead gives up again, who would follow leaves."""
    found: Joined = await flights.join(name, looked_at=looked_at, has_sent=lambda: False)
    match found:
        case Lead():
            found.abandon()
            return Lead
        case Follow():
            found.leave()
            return Follow
        case _:
            return found


def take_off(led: Lead, upstream: Upstream, crew: Hands, file: Filing | None = None) -> Passage:
    return led.take_off(upstream.open, crew, file)
