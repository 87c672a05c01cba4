"""SIGTERM: nothing new is admitted, what is under way may finish in time, then it is cut; every request is recorded."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.process import KEY, Running, gateway_process
from tests.support.raw import PATIENCE_S, RawUpstream, raw_client, raw_upstream, request_bytes
from tests.support.waiting import until
from tests.support.workers import workers_of

pytestmark = pytest.mark.system
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"event: image_generation.completed\ndata: {}\n\n"
FRAME = f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n"
REQUEST = request_bytes("POST", "/v1/images/generations", b'{"prompt":"x","stream":true}', key=KEY)


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream() as server:
        yield server


def server(drain_timeout_s: int) -> str:
    return f"\n[server]\ndrain_timeout_s = {drain_timeout_s}\n"


def outcomes(gateway: Running) -> list[tuple[Any, ...]]:
    return [
        (line["outcome"], line.get("status"), line.get("code"))
        for line in gateway.logged("imagegate.request")
    ]


async def refuses_connections(port: int) -> None:
    """Returns once nobody listens there any more."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.transport.abort()
        await asyncio.sleep(0.01)


async def ended(gateway: Running) -> int:
    return await asyncio.to_thread(gateway.process.wait, 30)


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_stream_under_way_is_finished_and_nothing_new_begins(
    upstream: RawUpstream, tmp_path: Path, workers: int
) -> None:
    arguments = ("--workers", str(workers))
    with gateway_process(upstream.base_url, tmp_path, rest=server(30), arguments=arguments) as gateway:
        async with raw_client(gateway.port) as client, raw_client(gateway.port) as idle:
            await client.write(REQUEST)
            wire, _ = await upstream.request()
            await wire.write(HEAD)
            await client.read_until(b"\r\n\r\n")
            gateway.process.send_signal(signal.SIGTERM)
            await idle.wait_closed_by_peer()
            await refuses_connections(gateway.port)
            await wire.write(FRAME, b"0\r\n\r\n")
            assert await client.read_all() == FRAME + b"0\r\n\r\n"
        await ended(gateway)
        assert outcomes(gateway) == [("completed", 200, None)]


async def test_what_takes_longer_than_the_drain_is_cut_or_told(upstream: RawUpstream, tmp_path: Path) -> None:
    with gateway_process(upstream.base_url, tmp_path, rest=server(1)) as gateway:
        async with raw_client(gateway.port) as streaming, raw_client(gateway.port) as waiting:
            await streaming.write(REQUEST)
            wire, _ = await upstream.request()
            await wire.write(HEAD, FRAME)
            await streaming.read_until(FRAME)
            await waiting.write(REQUEST)
            other, _ = await upstream.request()
            gateway.process.send_signal(signal.SIGTERM)
            assert await streaming.read_all() == b"", "cut: no final chunk"
            told = await waiting.read_all()
            assert told.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"shutting_down"' in told
            await wire.wait_closed_by_peer()
            await other.wait_closed_by_peer()
        await ended(gateway)
        assert sorted(outcomes(gateway)) == [
            ("cancelled", 200, "shutting_down"),
            ("cancelled", 503, "shutting_down"),
        ]
        assert "Traceback" not in gateway.log.read_text()


async def test_workers_end_when_what_started_them_was_killed(tmp_path: Path, upstream: RawUpstream) -> None:
    """As long as one of them is there, its socket takes connections."""
    rest = server(1) + "workers = 2\n"
    with gateway_process(upstream.base_url, tmp_path, rest=rest) as gateway:
        await until(lambda: len(workers_of(gateway)) == 2, every_s=0.05)
        gateway.process.kill()
        await until(lambda: is_refused(gateway.port), every_s=0.05)


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except ConnectionError:
        return True
    return False
