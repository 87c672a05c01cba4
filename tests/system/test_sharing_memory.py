"""One stream of 20 MB and very many who want it: the gateway holds it once."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from tests.support.process import KEY, Running, gateway_process
from tests.support.raw import RawUpstream, Wire, raw_client, raw_upstream, request_bytes
from tests.support.replies import event, usage
from tests.support.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
FOLLOWERS = 200
PARTIAL_BYTES = 5_000_000
EACH_BYTES = 400_000
"""What one client may cost that takes nothing: its socket's buffers, and what is ahead of it."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = orjson.dumps(
    {
        "model": "gpt-image-1",
        "prompt": "a fox",
        "quality": "low",
        "size": "1024x1024",
        "stream": True,
        "partial_images": 3,
    }
)
ASK = request_bytes("POST", "/v1/images/generations", BODY, key=KEY)


def stream() -> bytes:
    look = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}
    picture = "A" * PARTIAL_BYTES
    partials = [
        event("image_generation.partial_image", b64_json=picture, partial_image_index=n, created_at=1, **look)
        for n in range(3)
    ]
    end = event("image_generation.completed", b64_json=picture, created_at=1, usage=usage(572), **look)
    return b"".join([*partials, end])


def memory(gateway: Running) -> int:
    """Bytes resident in memory (proc_pid_status(5))."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


async def checksum(client: Wire) -> tuple[int, int]:
    """Length and CRC of a chunked body, once it has ended."""
    crc = size = 0
    await client.read_until(b"\r\n\r\n")
    while True:
        length = int((await client.read_until(b"\r\n")).strip(), 16)
        piece = await client.read(length + 2)
        if not length:
            return size, crc
        crc, size = zlib.crc32(piece[:-2], crc), size + length


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream() as server:
        yield server


async def test_many_followers_of_one_stream_cost_one_copy(
    upstream: RawUpstream, tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    body = stream()
    with gateway_process(upstream.base_url, tmp_path, cached=True) as gateway:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(raw_client(gateway.port)) for _ in range(FOLLOWERS)]
            for client in clients:
                await client.write(ASK)
                client.pause()
            wire, _ = await upstream.request()
            await wire.write(HEAD, b"%x\r\n" % len(body))
            before = memory(gateway)
            wire.writer.write(body)

            async def everything_has_come() -> None:
                await wire.writer.drain()
                transport = wire.writer.transport
                await until(lambda: transport.get_write_buffer_size() == 0, every_s=0.05)

            # With nobody reading it is read all the same: into memory, and into the file that is to be kept.
            await everything_has_come()
            await asyncio.sleep(0.5)
            cost = memory(gateway) - before
            for client in clients:
                client.resume()
            await wire.write(b"\r\n0\r\n\r\n")
            found = {await checksum(client) for client in clients}
        assert found == {(len(body), zlib.crc32(body))}
        assert upstream.connections == 1
        assert cost < 2 * len(body) + FOLLOWERS * EACH_BYTES, f"{cost / 1e6:.0f} MB"
        assert cost < FOLLOWERS * len(body) / 10
    figure("followers of one stream of 20 MB, which was held once", FOLLOWERS)
