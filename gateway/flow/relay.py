"""
The answer on its way to the client: bytes on as they come, then a look at them.

The head of a plain answer that can cost something waits for the body, so that it can say what it cost; that of a
stream never waits. Once the head is out there is no error page: a broken upstream breaks the client's connection; a
clean end is a clean end.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Protocol

from gateway.core import allowance
from gateway.core.headers import STREAM_HEADERS, Header, cost, down, first, is_event_stream, server_timing
from gateway.core.models import filter_models
from gateway.core.observation import Ending
from gateway.core.principal import Principal
from gateway.core.record import CacheUse
from gateway.core.units import NanoUSD
from gateway.flow.account import Accounts
from gateway.flow.exchange import Client
from gateway.flow.fetch import Fetch, Head
from gateway.flow.story import Story
from gateway.ports import Clock

HELD_BYTES = 8 << 20
"""Of an answer whose head waits; a longer one goes without its cost, so that a header takes neither much memory nor the
client's time."""

_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_PIECES = 256
"""Held apart at most. More are small ones, whose objects would take more memory than their bytes."""


class Source(Protocol):
    """An answer of the upstream, as it comes."""

    async def head(self) -> Head:
        """Its head, as soon as it is there."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Its body."""
        ...


Telling = Callable[[bool], Awaitable[Sequence[Header]]]
"""What else the head says, asked for when it goes. Its argument: whether the whole body is there."""


async def relay(
    source: Source,
    client: Client,
    story: Story,
    accounts: Accounts,
    *,
    telling: Telling | None = None,
    is_seen: bool = False,
) -> None:
    """
    Hand the upstream's answer on, unchanged but for the headers that are ours to change.

    Args:
        source: the answer.
        client: gets it.
        story: of the request.
        accounts: tell what it cost.
        telling: says what else is in the head.
        is_seen: whether the story is told of head and chunks by whoever reads them, and not here.

    Raises:
        UpstreamFailed: before the head went out, or in the middle of the body.
    """
    head = await source.head()
    if not is_seen:
        story.came(head)
    since = accounts.clock.ticks()
    chunks, held = source.chunks(), _Held()
    told: tuple[Header, ...] = ()
    is_whole = False
    if story.is_kept and not is_event_stream(head.headers):
        is_whole = await _is_whole(chunks, held, None if is_seen else story)
    if is_whole:
        story.ended()
        told = _cost(story, accounts)
        await accounts.make_room(story)
    if telling is not None:
        told = (*told, *await telling(is_whole))
    waited_s = head.waited_s + accounts.clock.ticks() - since
    headers = _headers(head, waited_s, story, accounts)
    story.answered(accounts.clock.ticks())
    await client.start(head.status, [*headers, *told])
    for chunk in held.pieces():
        await _send(chunk, client, story)
    async for chunk in chunks:
        try:
            await _send(chunk, client, story)
        finally:
            # Looked at even if the client leaves just now: it has come, and may tell what the call cost.
            if not is_seen:
                story.saw(chunk)
    if story.ending is not Ending.CLEAN:
        story.ended()
        await accounts.make_room(story)
    await client.end()


class _Held:
    """The beginning of a body, in hardly more memory than its bytes, however small the chunks it came in."""

    def __init__(self) -> None:
        self.size = 0
        self._joined: deque[bytes] = deque()
        self._apart: deque[bytes] = deque()

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._apart.append(chunk)
        if len(self._apart) == _PIECES:
            self._joined.append(b"".join(self._apart))
            self._apart.clear()

    def pieces(self) -> Iterator[bytes]:
        """Each is let go of once it is taken."""
        for pieces in (self._joined, self._apart):
            while pieces:
                yield pieces.popleft()


async def _is_whole(chunks: AsyncIterator[bytes], held: _Held, story: Story | None) -> bool:
    """Hold a body until it is complete, or is too long to be held; whether it is complete. `story`: to be told of it."""
    async for chunk in chunks:
        # No await between the two: a client that leaves leaves a chunk that was seen, or one that has not come.
        if story is not None:
            story.saw(chunk)
        held.add(chunk)
        if held.size >= HELD_BYTES:
            return False
    return True


def _cost(story: Story, accounts: Accounts) -> tuple[Header, ...]:
    """The headers that tell what a complete answer cost; none while its response goes on in the background."""
    clock = accounts.clock
    settled = story.settled(clock.now(), clock.ticks(), accounts.catalog, accounts.rules)
    if settled is None or story.is_pending:
        return ()
    if story.cache is CacheUse.COLLAPSED:
        return tuple(cost(NanoUSD(0), 0))
    return tuple(cost(settled.cost_nusd, settled.output_image_tokens))


async def _send(chunk: bytes, client: Client, story: Story) -> None:
    try:
        await client.send(chunk)
    finally:
        story.passed(chunk)


async def relay_models(
    principal: Principal, fetch: Fetch, client: Client, story: Story, accounts: Accounts
) -> None:
    """
    Hand a list of models on, without those that the caller may not use.

    Raises:
        UpstreamFailed: there was no whole answer.
    """
    head = await fetch.head()
    if head.status != HTTPStatus.OK:
        await relay(fetch, client, story, accounts)
        return
    body = filter_models(b"".join([chunk async for chunk in fetch.chunks()]), principal)
    story.came(head)
    story.saw(body)
    headers = [
        (name, value)
        for name, value in _headers(head, head.waited_s, story, accounts)
        if name not in {b"content-length", b"etag"}
    ]
    story.answered(accounts.clock.ticks())
    await client.start(head.status, [*headers, (b"content-length", str(len(body)).encode("ascii"))])
    await _send(body, client, story)
    story.ended()
    await client.end()


def _headers(head: Head, waited_s: float, story: Story, accounts: Accounts) -> list[Header]:
    """The headers of an answer that comes from the upstream. `waited_s`: for it, until they could go."""
    headers = down(head.headers)
    if head.status in _WITHOUT_BODY:
        # It may tell the length that a body would have had (RFC 9110 §8.6); here it would promise one.
        headers = [(name, value) for name, value in headers if name != b"content-length"]
    if is_event_stream(headers):
        headers = [(name, value) for name, value in headers if name != b"cache-control"]
        headers.extend(STREAM_HEADERS)
    if first(headers, b"x-request-id") is None:
        headers.append((b"x-request-id", story.arrival.id.encode("ascii")))
    headers.extend(of_us(story, waited_s, accounts.clock))
    return headers


def of_us(story: Story, waited_s: float | None, clock: Clock) -> list[Header]:
    """What every answer that is not an error of ours says. `waited_s`: for the upstream; None: it was not asked."""
    headers: list[Header] = [(b"x-imagegate-id", story.arrival.id.encode("ascii"))]
    if story.standing is not None:
        headers.extend(allowance.headers(story.standing))
    headers.append(server_timing(clock.ticks() - story.arrival.at - (waited_s or 0.0), waited_s))
    return headers
