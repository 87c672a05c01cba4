"""`/readyz` of a real gateway: ready with its ledger, not without it, and not while it stops."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.books import eventually
from tests.support.locker import locked
from tests.support.process import KEY, Running, gateway_process
from tests.support.raw import PATIENCE_S, Wire, raw_client, raw_upstream, request_bytes
from tests.support.redis import redis_server

pytestmark = pytest.mark.system
NOBODY = "http://127.0.0.1:9/v1"
READYZ = request_bytes("GET", "/readyz", key=None)


async def ask(client: Wire) -> tuple[int, dict[str, Any], bytes]:
    await client.write(READYZ)
    head = await client.read_until(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")
    )
    return int(head.split(b" ")[1]), json.loads(await client.read(length)), head


async def asked(port: int) -> tuple[int, dict[str, Any]]:
    async with raw_client(port) as client:
        return (await ask(client))[:2]


async def until_it_says(port: int, status: str) -> tuple[int, dict[str, Any]]:
    """What it says once its status is this one."""
    found: list[tuple[int, dict[str, Any]]] = []

    async def says() -> bool:
        found[:] = [await asked(port)]
        return bool(found[0][1]["status"] == status)

    await eventually(says, PATIENCE_S)
    return found[0]


def ops_port(gateway: Running) -> int:
    return int(gateway.addresses[1].rsplit(":", 1)[1])


@pytest.mark.parametrize(
    ("workers", "parts"), [(1, {"ledger", "cache"}), (2, {"ledger", "cache", "flights"})]
)
async def test_both_listeners_say_which_parts_answer(tmp_path: Path, workers: int, parts: set[str]) -> None:
    with gateway_process(NOBODY, tmp_path, arguments=("--workers", str(workers))) as gateway:
        for port in (gateway.port, ops_port(gateway)):
            assert await asked(port) == (200, {"status": "ready", "parts": dict.fromkeys(parts, "ok")})


async def test_without_its_ledger_it_is_not_ready_until_that_is_back(tmp_path: Path) -> None:
    with gateway_process(NOBODY, tmp_path) as gateway:
        assert (await asked(gateway.port))[0] == 200
        with locked(tmp_path / "data" / "ledger.db"):
            status, said = await until_it_says(gateway.port, "unavailable")
            assert status == 503
            assert said["parts"]["ledger"].endswith("; calls are refused")
            assert said["parts"]["cache"] == "ok"
            async with raw_client(gateway.port) as client:
                await client.write(request_bytes("GET", "/livez", key=None))
                assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert (await until_it_says(gateway.port, "ready"))[0] == 200


async def test_where_calls_pass_uncounted_it_is_ready_without_its_ledger_and_says_so(tmp_path: Path) -> None:
    rest = '[store]\non_failure = "open"\n'
    with (
        gateway_process(NOBODY, tmp_path, rest=rest) as gateway,
        locked(tmp_path / "data" / "ledger.db"),
    ):
        status, said = await until_it_says(gateway.port, "degraded")
        assert status == 200
        assert said["parts"]["ledger"].endswith("; calls pass uncounted")


async def test_without_the_redis_that_holds_its_ledger_it_is_not_ready(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as redis,
        gateway_process(NOBODY, tmp_path, rest=f'[store]\nurl = "{redis.url}"\n') as gateway,
    ):
        assert (await until_it_says(gateway.port, "ready"))[0] == 200
        redis.pause()
        status, said = await until_it_says(gateway.port, "unavailable")
        assert status == 503
        assert said["parts"]["ledger"].endswith("; calls are refused")
        redis.resume()
        assert (await until_it_says(gateway.port, "ready"))[0] == 200


async def test_without_the_redis_that_holds_its_cache_it_is_ready_and_says_so(tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        cache = f'url = "{redis.url}"'
        with gateway_process(NOBODY, tmp_path, cached=True, cache=cache) as gateway:
            assert (await until_it_says(gateway.port, "ready"))[0] == 200
            redis.pause()
            status, said = await until_it_says(gateway.port, "degraded")
            assert (status, said["parts"]["ledger"]) == (200, "ok")
            assert said["parts"]["cache"] != "ok"
            redis.resume()
            assert (await until_it_says(gateway.port, "ready"))[0] == 200


async def test_while_it_stops_it_is_not_ready_and_what_is_open_is_still_answered(tmp_path: Path) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path) as gateway:
            async with raw_client(gateway.port) as busy, raw_client(gateway.port) as idle:
                assert (await ask(idle))[0] == 200
                await busy.write(request_bytes("POST", "/v1/images/generations", b'{"prompt":"x"}', key=KEY))
                wire, _ = await upstream.request()
                gateway.process.send_signal(signal.SIGTERM)
                status, said, head = await ask(idle)
                while status == 200:  # The signal is on its way.
                    status, said, head = await ask(idle)
                assert (status, said["status"]) == (503, "draining")
                if b"connection: close" not in head.lower():
                    # The listener is closed a moment after.
                    await asyncio.sleep(0.3)
                    assert b"connection: close" in (await ask(idle))[2].lower()
                await idle.wait_closed_by_peer()
                await wire.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                )
                head = await busy.read_until(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 ")
                assert b"connection: close" in head.lower()
