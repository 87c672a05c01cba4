"""SIGHUP: the configuration is read again in every worker, in place; nobody who is being answered notices."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.support.process import KEY, Process, Running, gateway_process
from tests.support.raw import RawUpstream, Wire, raw_client, raw_upstream, request_bytes
from tests.support.waiting import until
from tests.support.workers import workers_of

pytestmark = [pytest.mark.system, pytest.mark.parametrize("workers", [1, 2])]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"event: image_generation.completed\ndata: {}\n\n"
FRAME = f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n"
LAST = FRAME + b"0\r\n\r\n"
# Each call comes on a connection of its own.
MODELS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
)
OTHER_KEY = "sk-other"
STREAM = request_bytes("POST", "/v1/images/generations", b'{"prompt":"x","stream":true}', key=KEY)
TOKEN = "token"
REST = f'[auth]\nadmin_token = "{TOKEN}"\n'
IN_A_ROW = 20
"""Connections that all meet a worker with the new configuration: then every worker has it."""


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with raw_upstream() as server:
        yield server


class Scene:
    """A gateway whose file is changed."""

    def __init__(self, gateway: Running, folder: Path) -> None:
        self.gateway = gateway
        self.file = folder / "gateway.toml"

    def change(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert text.count(old) == 1, text
        self.file.write_text(text.replace(old, new))

    async def reload(self) -> list[str]:
        """What the log says of it."""
        before = len(self.said())
        self.gateway.process.send_signal(signal.SIGHUP)
        await until(lambda: len(self.said()) > before, every_s=0.02)
        return self.said()[before:]

    def said(self) -> list[str]:
        return [line["message"] for line in self.gateway.logged("imagegate.reload")]


@contextmanager
def scene(upstream: RawUpstream, folder: Path, workers: int) -> Iterator[Scene]:
    arguments = ("--workers", str(workers))
    with gateway_process(upstream.base_url, folder, rest=REST, arguments=arguments) as gateway:
        yield Scene(gateway, folder)


async def streaming(client: Wire, upstream: RawUpstream) -> Wire:
    """A stream under way; the upstream's end of it."""
    await client.write(STREAM)
    wire, _ = await upstream.request()
    await wire.write(HEAD)
    await client.read_until(b"\r\n\r\n")
    return wire


async def models(client: Wire, upstream: RawUpstream, key: str) -> bytes:
    """The head of what is answered to a request that goes up if the key is known."""
    await client.write(request_bytes("GET", "/v1/models", key=key))
    asking = asyncio.ensure_future(upstream.request())
    answered = asyncio.ensure_future(client.read_until(b"\r\n\r\n"))
    await asyncio.wait([asking, answered], return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        await asking.result()[0].write(MODELS)
    else:
        asking.cancel()
    return await answered


async def test_keys_change_and_streams_and_connections_stay(
    upstream: RawUpstream, tmp_path: Path, workers: int
) -> None:
    with scene(upstream, tmp_path, workers) as world:
        async with raw_client(world.gateway.port) as client, raw_client(world.gateway.port) as idle:
            assert (await models(idle, upstream, KEY)).startswith(b"HTTP/1.1 200 ")
            assert await idle.read(2) == b"{}"
            wire = await streaming(client, upstream)
            pids = workers_of(world.gateway)
            world.change(f'secret = "{KEY}"', f'secret = "{OTHER_KEY}"')
            assert await world.reload() == ["the configuration was read again; changed: key"]
            await until_known(world, upstream, OTHER_KEY)
            # The stream goes on by the key that is no more.
            await wire.write(FRAME)
            assert await client.read_until(FRAME) == FRAME
            await wire.write(LAST)
            assert await client.read_until(b"0\r\n\r\n") == LAST
            # The connections are the same ones, and so are the processes.
            for line in (idle, client):
                assert b" 401 " in await models(line, upstream, KEY)
            assert workers_of(world.gateway) == pids
        assert "Traceback" not in world.gateway.log.read_text()


async def until_known(world: Scene, upstream: RawUpstream, key: str) -> None:
    """Returns once this key is known in every worker."""
    in_a_row = 0
    while in_a_row < IN_A_ROW:
        async with raw_client(world.gateway.port) as client:
            is_known = (await models(client, upstream, key)).startswith(b"HTTP/1.1 200 ")
            in_a_row = in_a_row + 1 if is_known else 0


async def test_a_faulty_configuration_is_refused_with_every_fault_and_the_old_one_stays(
    upstream: RawUpstream, tmp_path: Path, workers: int
) -> None:
    with scene(upstream, tmp_path, workers) as world:
        world.change(f'secret = "{KEY}"', f'secret = "{OTHER_KEY}"\ncolour = 3')
        world.change('team = "team"', 'team = "nobody"')
        await world.reload()
        await until(lambda: len(world.said()) == 3, every_s=0.02)
        first, *faults = world.said()
        assert first.endswith("is refused; the old one stays. Faults: 2")
        assert any("colour" in fault for fault in faults)
        assert any("nobody" in fault for fault in faults)
        await until_known(world, upstream, KEY)


async def test_another_upstream_gets_the_next_call_and_the_old_one_ends_what_it_has(
    upstream: RawUpstream, tmp_path: Path, workers: int
) -> None:
    async with raw_upstream() as second:
        with scene(upstream, tmp_path, workers) as world:
            async with raw_client(world.gateway.port) as client:
                wire = await streaming(client, upstream)
                world.change(upstream.base_url, second.base_url)
                assert await world.reload() == [
                    "the configuration was read again; changed: upstream.base_url"
                ]
                in_a_row = 0
                while in_a_row < IN_A_ROW:
                    async with raw_client(world.gateway.port) as other:
                        in_a_row = in_a_row + 1 if await goes_to(other, second, upstream) else 0
                await wire.write(LAST)
                assert await client.read_until(b"0\r\n\r\n") == LAST
                # With its last call the connection to the old one is closed.
                await wire.wait_closed_by_peer()


async def goes_to(client: Wire, wanted: RawUpstream, other: RawUpstream) -> bool:
    await client.write(request_bytes("GET", "/v1/models", key=KEY))
    asked = [asyncio.ensure_future(one.request()) for one in (wanted, other)]
    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    for asking in asked:
        if asking.done():
            await asking.result()[0].write(MODELS)
        else:
            asking.cancel()
    await client.read_until(b"\r\n\r\n{}")
    return asked[0].done()


async def test_the_admin_api_sees_who_there_is_now(
    upstream: RawUpstream, tmp_path: Path, workers: int
) -> None:
    with scene(upstream, tmp_path, workers) as world:
        world.change('[[team]]\nid = "team"', '[[team]]\nid = "two"\n[[team]]\nid = "team"')
        assert await world.reload() == ["the configuration was read again; changed: team"]

        def teams() -> list[str]:
            found = httpx2.get(
                f"{world.gateway.addresses[1]}/admin/teams",
                headers={"authorization": f"Bearer {TOKEN}"},
                trust_env=False,
            ).json()
            return [one["id"] for one in found["data"]]

        in_a_row = 0
        while in_a_row < IN_A_ROW:
            in_a_row = in_a_row + 1 if await asyncio.to_thread(teams) == ["two", "team"] else 0


async def test_what_takes_a_restart_is_named_and_the_gateway_stays_where_it_is(
    upstream: RawUpstream, tmp_path: Path, workers: int
) -> None:
    with scene(upstream, tmp_path, workers) as world:
        world.change("[ops]\nport = 0", "[ops]\nport = 1")
        await world.reload()
        await until(lambda: len(world.said()) == 2, every_s=0.02)
        assert world.said()[-1] == "ops.port: in force only after a restart"
        await until_known(world, upstream, KEY)


def told_early(process: Process) -> None:
    """As soon as it can be told anything, long before it serves."""
    held = 1 << (signal.SIGHUP - 1)
    status = Path(f"/proc/{process.pid}/status")
    while not int(re.findall(r"^SigBlk:\s+(\w+)$", status.read_text(), re.MULTILINE)[0], 16) & held:
        assert process.poll() is None
    process.send_signal(signal.SIGHUP)


async def test_what_it_is_told_while_it_starts_is_done_when_it_serves(
    upstream: RawUpstream, tmp_path: Path, workers: int
) -> None:
    arguments = ("--workers", str(workers))
    with gateway_process(
        upstream.base_url, tmp_path, rest=REST, arguments=arguments, begun=told_early
    ) as gateway:
        await until(lambda: bool(gateway.logged("imagegate.reload")), every_s=0.05)
        async with raw_client(gateway.port) as client:
            assert (await models(client, upstream, KEY)).startswith(b"HTTP/1.1 200 ")
