"""An answer that is kept, on its way to one more client."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from gateway.core import artefact, cachecontrol
from gateway.core.artefact import Cutter, Form, Plan
from gateway.core.entry import Entry
from gateway.core.errors import UpstreamFailed
from gateway.core.freshness import is_upstream_error
from gateway.core.headers import STREAM_HEADERS, Header, cost, is_event_stream
from gateway.core.record import Outcome
from gateway.core.units import NanoUSD
from gateway.flow.account import Accounts
from gateway.flow.exchange import Client
from gateway.flow.relay import Source, of_us
from gateway.flow.story import Story
from gateway.flow.tape import Head
from gateway.flow.tasks import WhilePresent
from gateway.ports import Cache, CacheBody, Draft


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer that may be given."""

    entry: Entry
    body: CacheBody
    """Open: whoever gives it closes it."""
    plan: Plan


async def open_hit(cache: Cache, entry: Entry, plan: Plan) -> Hit | None:
    """The answer, ready to be given; None: it is gone."""
    body = await cache.open(entry)
    return None if body is None else Hit(entry, body, plan)


async def give(
    hit: Hit,
    wanted: Form,
    says: Sequence[Header],
    story: Story,
    client: Client,
    accounts: Accounts,
    *,
    copy: Draft | None = None,
) -> None:
    """
    Give a kept answer.

    Args:
        hit: it. Closed in the end.
        wanted: the form that it is given in.
        says: what the cache says of it.
        story: of the request.
        client: gets it.
        accounts: free the client's place, and read the clock.
        copy: takes what is given, too.

    Raises:
        ClientGoneError: the client has left.
        StoreFailed: the body cannot be read any more.
    """
    entry, clock = hit.entry, accounts.clock
    try:
        story.hit(entry)
        headers = _head_of(entry, wanted, story)
        headers.append((b"content-length", str(artefact.length(hit.plan)).encode("ascii")))
        headers.extend(says)
        headers.append(cachecontrol.age(entry.life.age_s(clock.now())))
        headers.extend(cost(NanoUSD(0), 0))
        headers.extend(of_us(story, None, clock))
        async with WhilePresent(client.gone):
            story.answered(clock.ticks())
            await client.start(entry.status, headers)
            last = b""
            async for piece in _pieces(hit):
                if last:
                    await client.send(last)
                    story.passed(last)
                if copy is not None:
                    await copy.write(piece)
                last = piece
            # The client knows when it has all of it, and may leave, or ask again: its place is free before that.
            await accounts.make_room(story)
            await client.send(last)
            story.passed(last)
        story.outcome = Outcome.COMPLETED
        await client.end()
    finally:
        hit.body.close()


async def _pieces(hit: Hit) -> AsyncIterator[bytes]:
    cutter = Cutter(hit.plan)
    async for chunk in hit.body.chunks():
        for piece in cutter.feed(chunk):
            yield piece
        if cutter.done:
            return


class Copying:
    """
    An answer of which a draft takes a copy while it is given.

    Args:
        source: the answer.
        draft: takes it.
    """

    def __init__(self, source: Source, draft: Draft) -> None:
        self.draft = draft
        self.head_: Head | None = None
        """Of the answer, once it has come."""
        self._source = source

    async def head(self) -> Head:
        """The head, as of the source."""
        self.head_ = await self._source.head()
        return self.head_

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as of the source."""
        async for chunk in self._source.chunks():
            yield chunk
            await self.draft.write(chunk)


class Instead(Exception):  # noqa: N818 - it is what happens, not a failure
    """
    The upstream failed, and a kept answer is given in the place of its error.

    Args:
        hit: that answer.
        status: of the upstream's error; None: there was no answer.
    """

    def __init__(self, hit: Hit, status: int | None) -> None:
        super().__init__(f"a stale answer in place of {status or 'none'}")
        self.hit = hit
        self.status = status


class Standby:
    """
    The upstream's answer, in place of whose error a kept one is given that is past its life.

    Args:
        source: the upstream's answer.
        open_stale: opens the kept one; None: it is gone.
    """

    def __init__(self, source: Source, open_stale: Callable[[], Awaitable[Hit | None]]) -> None:
        self._source = source
        self._open_stale = open_stale

    async def head(self) -> Head:
        """
        The head of an answer that is no error of the upstream's.

        Raises:
            Instead: it is one, or there is no answer.
            UpstreamFailed: there is no answer, nor a kept one.
        """
        try:
            head = await self._source.head()
        except UpstreamFailed as failed:
            stale = await self._open_stale()
            if stale is None:
                raise
            raise Instead(stale, None) from failed
        if is_upstream_error(head.status) and (stale := await self._open_stale()) is not None:
            raise Instead(stale, head.status)
        return head

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, as of the source."""
        return self._source.chunks()


def headers_in(entry: Entry, wanted: Form) -> tuple[Header, ...]:
    """What is kept of the head of an answer that is given in this form."""
    if wanted == entry.form:
        return entry.headers
    rest = [(name, value) for name, value in entry.headers if name != b"content-type"]
    return (*rest, (b"content-type", artefact.content_type(wanted)))


def _head_of(entry: Entry, wanted: Form, story: Story) -> list[Header]:
    """The head of an answer from the cache, as far as the cache knows it."""
    headers = list(headers_in(entry, wanted))
    if is_event_stream(headers):
        headers.extend(STREAM_HEADERS)
    headers.append((b"x-request-id", story.arrival.id.encode("ascii")))
    return headers
