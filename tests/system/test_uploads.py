"""Sixteen pictures of fifty megabytes and a mask: byte for byte, in bounded memory."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import FULL
from tests.support.process import KEY, gateway_process
from tests.support.raw import Wire, raw_client, raw_upstream, request_bytes

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]
PICTURES = 16
PICTURE_BYTES = (50 if FULL else 5) << 20
BLOCK = random.Random(1).randbytes(1 << 20)
ALLOWED_KB = 48 * 1024
"""Memory that an upload may add to the process, whatever its size."""


def form() -> Iterator[bytes]:
    """An edit with sixteen references and a mask, a megabyte at a time."""
    for name, value in (("model", "gpt-image-2"), ("prompt", "a collage"), ("n", "1")):
        yield f'--B\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for field in ["image[]"] * PICTURES + ["mask"]:
        head = f'--B\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        yield head.encode()
        for _ in range(PICTURE_BYTES >> 20):
            yield BLOCK
        yield b"\r\n"
    yield b"--B--\r\n"


def peak_kb(pid: int) -> int:
    """The most memory that a process has held so far (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


async def received(wire: Wire) -> tuple[int, str]:
    """Length and digest of the body that arrives, which is not kept."""
    head = await wire.read_until(b"\r\n\r\n")
    lowered = head.lower()
    assert b"transfer-encoding" not in lowered
    left = length = int(lowered.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    digest = hashlib.sha256()
    while left:
        piece = await asyncio.wait_for(wire.reader.read(min(left, 1 << 20)), 60)
        assert piece
        digest.update(piece)
        left -= len(piece)
    return length, digest.hexdigest()


async def upload(client: Wire) -> tuple[int, str]:
    """Send the form in chunks; its length and digest."""
    digest, length = hashlib.sha256(), 0
    head = request_bytes(
        "POST", "/v1/images/edits", key=KEY, headers=("Content-Type: multipart/form-data; boundary=B",)
    )
    await client.write(head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"))
    for piece in form():
        digest.update(piece)
        length += len(piece)
        await client.write(f"{len(piece):x}\r\n".encode(), piece, b"\r\n")
    await client.write(b"0\r\n\r\n")
    return length, digest.hexdigest()


async def test_a_large_upload_passes_whole_in_bounded_memory(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path) as gateway:
            async with raw_client(gateway.port) as client:
                await client.write(request_bytes("GET", "/v1/models", key=KEY))
                wire, _ = await upstream.request()
                await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await client.read_until(b"{}")
                before = await asyncio.to_thread(peak_kb, gateway.process.pid)

                sent = await upload(client)
                assert await received(wire) == sent
                await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                await client.read_until(b"{}")
                after = await asyncio.to_thread(peak_kb, gateway.process.pid)
    assert after - before < ALLOWED_KB
    figure("megabytes of one upload, byte for byte and in bounded memory", sent[0] >> 20)
