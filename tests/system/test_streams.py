"""
The promise: a stream passes byte for byte and at once.

Each event is in the client's hands before the upstream sends the next. No clock is asked: the upstream here sends
an event only after the client has shown the whole of the one before.
"""

import base64
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import orjson
import pytest

from gateway.core.sse import Event, Scanner
from tests.support.process import KEY, Running, gateway_process
from tests.support.raw import RawUpstream, Wire, raw_client, raw_upstream, request_bytes

pytestmark = pytest.mark.system
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nX-Request-Id: req_1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
PARTIAL_BYTES = 1_100_000
FINAL_BYTES = 2_200_000


def picture(size: int) -> str:
    return base64.b64encode(random.Random(size).randbytes(size)).decode()


def frame(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def images_stream() -> list[bytes]:
    """Three partials and the picture, as on the Images API."""
    partials = [
        frame("image_generation.partial_image", b64_json=picture(PARTIAL_BYTES + n), partial_image_index=n)
        for n in range(3)
    ]
    usage = {"input_tokens": 14, "output_tokens": 572, "total_tokens": 586}
    return [*partials, frame("image_generation.completed", b64_json=picture(FINAL_BYTES), usage=usage)]


def responses_stream() -> list[bytes]:
    """An image tool's events, small ones and large ones, a keep-alive and an event nobody knows."""
    item = {"id": "ig_1", "type": "image_generation_call"}
    done = {**item, "status": "completed", "result": picture(FINAL_BYTES)}
    name = "response.image_generation_call"
    return [
        frame("response.created", response={"id": "resp_1", "status": "in_progress"}, sequence_number=0),
        frame("response.output_item.added", item=item, output_index=0, sequence_number=1),
        frame(f"{name}.generating", item_id="ig_1", sequence_number=2),
        b": a comment\n\n",
        frame(
            f"{name}.partial_image",
            partial_image_b64=picture(PARTIAL_BYTES),
            partial_image_index=0,
            sequence_number=3,
        ),
        frame("keepalive", sequence_number=4),
        frame("response.something_new", what={"ever": [1, None]}, sequence_number=5),
        frame(f"{name}.completed", item_id="ig_1", sequence_number=6),
        frame("response.output_item.done", item=done, output_index=0, sequence_number=7),
        frame("response.completed", response={"id": "resp_1", "output": [done]}, sequence_number=8),
    ]


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream() as server:
        yield server


@pytest.fixture
def gateway(upstream: RawUpstream, tmp_path: Path) -> Iterator[Running]:
    with gateway_process(upstream.base_url, tmp_path) as process:
        yield process


CASES = [
    pytest.param(
        "/v1/images/generations",
        b'{"prompt":"x","stream":true,"partial_images":3}',
        images_stream,
        id="images",
    ),
    pytest.param(
        "/v1/responses", b'{"model":"gpt-5","input":"x","stream":true}', responses_stream, id="responses"
    ),
]


async def read_chunk(client: Wire) -> bytes:
    size = int((await client.read_until(b"\r\n")).strip(), 16)
    return (await client.read(size + 2))[:-2]


@pytest.mark.parametrize(("path", "body", "events"), CASES)
@pytest.mark.parametrize(
    "split_at", [None, 65_536, 1000], ids=["whole events", "64 KiB pieces", "1 KB pieces"]
)
async def test_each_event_is_with_the_client_before_the_upstream_sends_the_next(
    gateway: Running, upstream: RawUpstream, path: str, body: bytes, events: object, split_at: int | None
) -> None:
    assert callable(events)
    frames: list[bytes] = events()
    async with raw_client(gateway.port) as client:
        await client.write(request_bytes("POST", path, body, key=KEY))
        wire, request = await upstream.request()
        assert request.body == body
        await wire.write(HEAD)
        assert b" 200 " in await client.read_until(b"\r\n\r\n")
        for event in frames:
            step = split_at or len(event)
            for at in range(0, len(event), step):
                piece = event[at : at + step]
                await wire.write(f"{len(piece):x}\r\n".encode(), piece, b"\r\n")
            received = b""
            while len(received) < len(event):
                received += await read_chunk(client)
            assert received == event
        await wire.write(b"0\r\n\r\n")
        assert await read_chunk(client) == b""


@pytest.mark.parametrize(("path", "body", "events"), CASES)
async def test_a_stream_arrives_byte_for_byte_and_reads_as_the_same_events(
    gateway: Running, upstream: RawUpstream, path: str, body: bytes, events: object
) -> None:
    assert callable(events)
    frames: list[bytes] = events()
    sent = b"".join(frames)
    async with raw_client(gateway.port) as client:
        await client.write(request_bytes("POST", path, body, key=KEY))
        wire, _ = await upstream.request()
        await wire.write(HEAD)
        chance = random.Random(7)
        at = 0
        while at < len(sent):
            size = chance.choice([1, 100, 5000, 65_536, 300_000])
            piece = sent[at : at + size]
            await wire.write(f"{len(piece):x}\r\n".encode(), piece, b"\r\n")
            at += size
        await wire.write(b"0\r\n\r\n")
        await client.read_until(b"\r\n\r\n")
        received, scanner, seen = b"", Scanner(), []
        while chunk := await read_chunk(client):
            received += chunk
            seen += scanner.feed(chunk)
        assert received == sent
        assert [event.type for event in seen if isinstance(event, Event)] == [
            one.partition(b"\n")[0].removeprefix(b"event: ").decode()
            for one in frames
            if one.startswith(b"event")
        ]


async def test_two_workers_serve_the_same_port(upstream: RawUpstream, tmp_path: Path) -> None:
    with gateway_process(upstream.base_url, tmp_path, arguments=("--workers", "2")) as gateway:
        for _ in range(4):
            async with raw_client(gateway.port) as client:
                await client.write(request_bytes("POST", "/v1/images/generations", b"{}", key=KEY))
                wire, _ = await upstream.request()
                await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                assert b" 200 " in await client.read_until(b"\r\n\r\n")
                await wire.close()


async def test_the_operators_listener_knows_nothing_of_the_public_routes(
    gateway: Running, upstream: RawUpstream
) -> None:
    ops = int(gateway.addresses[1].rsplit(":", 1)[1])
    for path, status in (
        ("/livez", b" 200 "),
        ("/readyz", b" 200 "),
        ("/v1/models", b" 404 "),
        ("/metrics", b" 200 "),
    ):
        async with raw_client(ops) as client:
            await client.write(request_bytes("GET", path, key=KEY))
            assert status in await client.read_until(b"\r\n\r\n")
    assert upstream.connections == 0
