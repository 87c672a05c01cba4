"""
The answer on its way to the client: bytes on as they come.

Once the head is out there is no error page. A broken upstream breaks the client's connection (`Client.end` is not
called); a clean end is a clean end.
"""

from gateway.core.headers import STREAM_HEADERS, Header, down, first, is_event_stream, server_timing
from gateway.flow.exchange import Arrival, Client
from gateway.flow.fetch import Fetch, Head
from gateway.ports import Clock


async def relay(arrival: Arrival, fetch: Fetch, client: Client, clock: Clock) -> None:
    """
    Hand the upstream's answer on, unchanged but for the headers that are ours to change.

    Raises:
        UpstreamFailed: before the head, or in the middle of the body.
    """
    head = await fetch.head()
    await client.start(head.status, head_for(arrival, head, clock))
    async for chunk in fetch.chunks():
        await client.send(chunk)
    await client.end()


def head_for(arrival: Arrival, head: Head, clock: Clock) -> list[Header]:
    """The headers of an answer that comes from the upstream."""
    headers = down(head.headers)
    if is_event_stream(headers):
        headers = [(name, value) for name, value in headers if name != b"cache-control"]
        headers.extend(STREAM_HEADERS)
    if first(headers, b"x-request-id") is None:
        headers.append((b"x-request-id", arrival.id.encode("ascii")))
    headers.append((b"x-imagegate-id", arrival.id.encode("ascii")))
    headers.append(server_timing(clock.ticks() - arrival.at - head.waited_s, head.waited_s))
    return headers


async def relay_rewritten(body: bytes, arrival: Arrival, head: Head, client: Client, clock: Clock) -> None:
    """Send a body of ours under the upstream's head."""
    headers = [
        (name, value)
        for name, value in head_for(arrival, head, clock)
        if name not in {b"content-length", b"etag"}
    ]
    headers.append((b"content-length", str(len(body)).encode("ascii")))
    await client.start(head.status, headers)
    await client.send(body)
    await client.end()
