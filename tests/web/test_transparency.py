"""Whatever the bytes and wherever the network cuts them: what the client gets is what the upstream sent."""

import asyncio
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import FULL
from tests.support.chunking import cuts, split
from tests.support.gateway import live_gateway
from tests.support.raw import raw_client, raw_upstream, request_bytes

REQUEST = request_bytes("POST", "/v1/images/generations", b'{"prompt":"a fox","stream":true}')
PIECE = st.sampled_from(
    [b"event: e\n", b"data: x\n\n", b"\r\n\r\n", b"0\r\n\r\n", b": ping\n\n"]
) | st.binary(max_size=2000)
BODIES = st.lists(PIECE, max_size=20).map(b"".join)
CONTENT_TYPES = st.sampled_from([b"text/event-stream", b"application/json", b"application/octet-stream"])


@settings(max_examples=200 if FULL else 20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_clients_bytes_are_the_upstreams_bytes(
    figure: Callable[[str, int], None], data: st.DataObject
) -> None:
    """A few answers on one connection after the other, each cut anew; framing by length and by chunks."""
    answers = data.draw(st.lists(st.tuples(BODIES, CONTENT_TYPES, st.booleans()), min_size=1, max_size=4))

    async def run() -> None:
        async with (
            raw_upstream() as upstream,
            live_gateway(upstream.base_url) as gateway,
            raw_client(gateway.port) as client,
        ):
            wire = None
            for body, content_type, by_length in answers:
                await client.write(REQUEST)
                wire = wire or await upstream.accept()
                await wire.read_request()
                head = b"HTTP/1.1 200 OK\r\nContent-Type: " + content_type + b"\r\n"
                if by_length:
                    head += f"Content-Length: {len(body)}\r\n\r\n".encode()
                    frames = body
                else:
                    head += b"Transfer-Encoding: chunked\r\n\r\n"
                    pieces = split(body, data.draw(cuts(len(body))))
                    frames = (
                        b"".join(f"{len(one):x}\r\n".encode() + one + b"\r\n" for one in pieces)
                        + b"0\r\n\r\n"
                    )
                await wire.write(head)
                for piece in split(frames, data.draw(cuts(len(frames)))):
                    await wire.write(piece)
                received = await client.read_until(b"\r\n\r\n")
                assert b"200 OK" in received
                if by_length:
                    assert await client.read(len(body)) == body
                else:
                    assert await read_chunked(client.reader) == body

    asyncio.run(run())
    figure("answers sent through the gateway in random pieces and compared byte for byte", len(answers))


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readline()).strip(), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return body


@settings(max_examples=200 if FULL else 20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_upstreams_bytes_are_the_clients_bytes(
    figure: Callable[[str, int], None], data: st.DataObject
) -> None:
    """A few uploads on one connection after the other, whatever their bytes, length and cuts."""
    uploads = data.draw(st.lists(st.tuples(BODIES, st.booleans()), min_size=1, max_size=4))

    async def run() -> None:
        async with (
            raw_upstream() as upstream,
            live_gateway(upstream.base_url) as gateway,
            raw_client(gateway.port) as client,
        ):
            wire = None
            for body, by_length in uploads:
                head = request_bytes(
                    "POST", "/v1/files", headers=("Content-Type: multipart/form-data; boundary=B",)
                )
                if by_length:
                    frames = body
                    head = head.replace(b"Content-Length: 0", b"Content-Length: %d" % len(body))
                else:
                    pieces = split(body, data.draw(cuts(len(body))))
                    frames = b"".join(b"%x\r\n" % len(one) + one + b"\r\n" for one in pieces) + b"0\r\n\r\n"
                    head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
                await client.write(head)
                for piece in split(frames, data.draw(cuts(len(frames)))):
                    await client.write(piece)
                wire = wire or await upstream.accept()
                assert (await wire.read_request()).body == body
                await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                assert (await client.read_until(b"{}")).startswith(b"HTTP/1.1 200")

    asyncio.run(run())
    figure("uploads sent through the gateway in random pieces and compared byte for byte", len(uploads))
