"""How long an upstream may take to say how it answers, whatever it says before."""

import asyncio
import contextlib

import pytest

from gateway.adapters.transport import FastUpstream
from gateway.core.credentials import Account
from gateway.core.errors import Failure, UpstreamFailed
from gateway.ports import Timeouts, UpstreamRequest
from tests.support.raw import PATIENCE_S, raw_upstream
from tests.support.scripted import Held

READ_S = 0.2
PAUSE_S = 0.02
"""Between two drops: far less than the limit, so that each would buy time if drops could."""
ASK = UpstreamRequest("POST", "/images/generations", b"", (), Held((b"{}",)), "default")
DRIPS = {
    "interim answers": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    "a head without an end": b"X",
    "nothing": b"",
}


@pytest.mark.parametrize("drop", DRIPS.values(), ids=list(DRIPS))
async def test_the_head_has_one_deadline_however_it_drips(drop: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with raw_upstream() as server:
        upstream = FastUpstream(
            server.base_url,
            {"default": Account("sk-up")},
            timeouts=Timeouts(connect_s=PATIENCE_S, read_s=READ_S),
            max_connections=1,
        )
        asking = loop.create_task(upstream.open(ASK))
        wire = await server.accept()
        await wire.read_request()
        read_at = loop.time()
        if len(drop) == 1:
            await wire.write(b"HTTP/1.1 200 OK\r\n")
        drops = 0
        async with asyncio.timeout(PATIENCE_S):
            while not asking.done():
                await wire.write(drop)
                drops += 1
                await asyncio.wait({asking}, timeout=PAUSE_S)
        with pytest.raises(UpstreamFailed) as caught:
            await asking
        assert (caught.value.failure, caught.value.sent) == (Failure.TIMED_OUT, True)
        assert loop.time() - read_at >= READ_S - 0.01, "and it has all of its time"
        assert drops > 1
        await upstream.aclose()


async def test_a_head_that_comes_in_time_ends_the_deadline() -> None:
    """From then on it is silence that is limited."""
    async with raw_upstream() as server:
        upstream = FastUpstream(
            server.base_url,
            {"default": Account("sk-up")},
            timeouts=Timeouts(connect_s=PATIENCE_S, read_s=READ_S),
            max_connections=1,
        )
        asking = asyncio.get_running_loop().create_task(upstream.open(ASK))
        wire = await server.accept()
        await wire.read_request()
        await wire.write(DRIPS["interim answers"], b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
        reply = await asking
        never = asyncio.Event()
        received = b""
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), PAUSE_S)
            await wire.write(b"x")
            received += await anext(aiter(reply.chunks()))
        assert received == b"x" * 20
        assert [one async for one in reply.chunks()] == []
        await upstream.aclose()
