"""
The answer on its way to the client: bytes on as they come, then a look at them.

Once the head is out there is no error page. A broken upstream breaks the client's connection; a clean end is a clean
end.
"""

from http import HTTPStatus

from gateway.core.headers import STREAM_HEADERS, Header, down, first, is_event_stream, server_timing
from gateway.core.models import filter_models
from gateway.core.principal import Principal
from gateway.flow.exchange import Client
from gateway.flow.fetch import Fetch, Head
from gateway.flow.story import Story
from gateway.ports import Clock

_WITHOUT_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


async def relay(fetch: Fetch, client: Client, story: Story, clock: Clock) -> None:
    """
    Hand the upstream's answer on, unchanged but for the headers that are ours to change.

    Raises:
        UpstreamFailed: before the head, or in the middle of the body.
    """
    head = await fetch.head()
    story.answered(head, clock.ticks())
    await client.start(head.status, _headers(head, story, clock))
    async for chunk in fetch.chunks():
        try:
            await client.send(chunk)
        finally:
            # Looked at even if the client leaves just now: it has come, and may tell what the call cost.
            story.passed(chunk)
    story.ended()
    await client.end()


async def relay_models(
    principal: Principal, fetch: Fetch, client: Client, story: Story, clock: Clock
) -> None:
    """
    Hand a list of models on, without those that the caller may not use.

    Raises:
        UpstreamFailed: there was no whole answer.
    """
    head = await fetch.head()
    if head.status != HTTPStatus.OK:
        await relay(fetch, client, story, clock)
        return
    body = filter_models(b"".join([chunk async for chunk in fetch.chunks()]), principal)
    story.answered(head, clock.ticks())
    headers = [
        (name, value)
        for name, value in _headers(head, story, clock)
        if name not in {b"content-length", b"etag"}
    ]
    await client.start(head.status, [*headers, (b"content-length", str(len(body)).encode("ascii"))])
    await client.send(body)
    story.passed(body)
    story.ended()
    await client.end()


def _headers(head: Head, story: Story, clock: Clock) -> list[Header]:
    """The headers of an answer that comes from the upstream."""
    arrival = story.arrival
    headers = down(head.headers)
    if head.status in _WITHOUT_BODY:
        # It may tell the length that a body would have had (RFC 9110 §8.6); here it would promise one.
        headers = [(name, value) for name, value in headers if name != b"content-length"]
    if is_event_stream(headers):
        headers = [(name, value) for name, value in headers if name != b"cache-control"]
        headers.extend(STREAM_HEADERS)
    if first(headers, b"x-request-id") is None:
        headers.append((b"x-request-id", arrival.id.encode("ascii")))
    headers.append((b"x-imagegate-id", arrival.id.encode("ascii")))
    headers.append(server_timing(clock.ticks() - arrival.at - head.waited_s, head.waited_s))
    return headers
