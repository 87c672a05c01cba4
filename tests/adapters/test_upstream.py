"""What only this adapter can get wrong; its promises are tests/contracts/test_upstream.py."""

import asyncio

import pytest

from gateway.adapters.upstream import Httpx2Upstream
from gateway.core.credentials import Account
from gateway.core.errors import Failure, UpstreamFailed
from gateway.ports import Timeouts, UpstreamRequest
from tests.support.raw import PATIENCE_S, raw_upstream
from tests.support.scripted import Held


async def test_what_a_proxy_is_asked_does_not_count_as_sent() -> None:
    """A tunnel's CONNECT goes to the proxy: if it says no, the upstream has seen nothing."""
    async with raw_upstream() as proxy:
        upstream = Httpx2Upstream(
            "https://api.example/v1",
            {"default": Account("sk-up")},
            timeouts=Timeouts(connect_s=PATIENCE_S, read_s=PATIENCE_S),
            max_connections=1,
            proxy=f"http://127.0.0.1:{proxy.port}",
        )
        request = UpstreamRequest("POST", "/images/generations", b"", (), Held((b"{}",)), "default")
        opening = asyncio.get_running_loop().create_task(upstream.open(request))
        wire, seen = await proxy.request()
        assert (seen.method, seen.target) == ("CONNECT", "api.example:443")
        assert b"sk-up" not in seen.raw_head
        await wire.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(UpstreamFailed) as caught:
            await opening
        await upstream.aclose()
        assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, False)
