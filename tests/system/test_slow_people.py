"""
Slow people, many at once: heads that drip, bodies that drip or stop, readers that hardly read.

slowhttptest plays them, 300 connections of each kind; meanwhile healthy requests are answered, and in the end none of
the slow connections is left.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.answers import read_answer
from tests.support.process import KEY, Running, gateway_process
from tests.support.raw import RawUpstream, Wire, raw_client, raw_upstream, request_bytes
from tests.support.tools import missing
from tests.support.waiting import until

pytestmark = pytest.mark.system

CONNECTIONS = 300
LIMITS = "[server]\nheader_timeout_s = 2\nbody_timeout_s = 2\n"
MANY = ("-c", str(CONNECTIONS), "-r", "150", "-l", "8", "-p", "3")
"""150 new ones a second, for 8 seconds at most; its own probes wait for 3."""
WITH_KEY = ("-j", f"a=b\r\nAuthorization: Bearer {KEY}")
BODIES = ("-B", "-s", "8192", "-t", "POST", "-f", "application/json")
LONG = b"[" + b" " * 2_000_000 + b"]"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

ATTACKS = [
    pytest.param(("-H", "-i", "1"), "/v1/models", None, id="heads"),
    pytest.param((*BODIES, "-i", "1"), "/v1/responses", ("refused", "invalid_api_key"), id="bodies, no key"),
    pytest.param(
        (*BODIES, *WITH_KEY, "-i", "3"),
        "/v1/responses",
        ("refused", "request_timeout"),
        id="bodies that stop",
    ),
    pytest.param(
        ("-X", *WITH_KEY, "-w", "256", "-y", "512", "-n", "2", "-z", "16"),
        "/v1/files",
        ("client_gone", None),
        id="readers",
    ),
]


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    """Answers everything with 200; the list of files is long."""
    async with raw_upstream() as server:
        serving = asyncio.create_task(serve(server))
        yield server
        serving.cancel()


async def serve(server: RawUpstream) -> None:
    async with asyncio.TaskGroup() as group:
        while True:
            group.create_task(serve_one(await server.arrivals.get()))


async def serve_one(wire: Wire) -> None:
    while True:
        try:
            request = await wire.read_request()
            body = LONG if request.target == "/v1/files" else b"{}"
            await wire.write(HEAD, f"Content-Length: {len(body)}\r\n\r\n".encode(), body)
        except (EOFError, ConnectionError, TimeoutError):
            return


@pytest.mark.parametrize(("attack", "path", "ended"), ATTACKS)
async def test_slow_people_hold_nobody_up(
    upstream: RawUpstream,
    tmp_path: Path,
    attack: tuple[str, ...],
    path: str,
    ended: tuple[str, str | None] | None,
) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        missing("slowhttptest", "apt-get install slowhttptest")
    with gateway_process(upstream.base_url, tmp_path, rest=LIMITS) as gateway:
        await ask(gateway)
        before = connections(gateway)
        attacker = await asyncio.create_subprocess_exec(
            program, *MANY, *attack, "-u", f"{gateway.url}{path}", stdout=asyncio.subprocess.DEVNULL
        )
        ending = asyncio.create_task(attacker.wait())
        most = 0
        while not ending.done():
            await ask(gateway)
            most = max(most, connections(gateway) - before)
            await asyncio.wait({ending}, timeout=0.05)
        await until(lambda: connections(gateway) <= before, every_s=0.05)
        await ask(gateway)
        slow = most if ended is None else endings(gateway).count(ended)
    assert slow > CONNECTIONS / 2, "they were there"


async def ask(gateway: Running) -> None:
    """A healthy request, on a connection of its own."""
    async with raw_client(gateway.port) as client:
        await client.write(request_bytes("POST", "/v1/responses", b'{"model":"gpt-5"}', key=KEY))
        answer = await read_answer(client)
        assert (answer.status, answer.body) == (200, b"{}")


def endings(gateway: Running) -> list[tuple[str, str | None]]:
    """Outcome and code of every request that is over."""
    return [(one["outcome"], one.get("code")) for one in gateway.logged("imagegate.request")]


def connections(gateway: Running) -> int:
    """Client connections that the gateway's process holds: established, or closed by the client only."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    port = f":{gateway.port:04X}"
    return sum(row[1].endswith(port) and row[3] in {"01", "08"} for row in rows)
