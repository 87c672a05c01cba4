"""
SIGUSR1: every worker is replaced, one after another, while clients go on.

Nobody is refused, no stream is cut and no connection is reset; in the end both sets of books agree.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.conftest import FULL
from tests.support.books import Books, eventually, invoice_sums, ledger_sums
from tests.support.process import KEY, Running, gateway_process, sandbox_process
from tests.support.raw import RawUpstream, raw_client, raw_upstream, request_bytes
from tests.support.waiting import until
from tests.support.workers import workers_of

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("rolling-restart")]
RESTARTS = 20 if FULL else 3
WORKERS = 2
PATIENCE_S = 90.0
STEERING = {"x-sandbox": "delay_ms=400"}
PICTURE = {"model": "gpt-image-1", "prompt": "a fox", "size": "1024x1024", "quality": "low"}
STREAM = {**PICTURE, "stream": True, "partial_images": 2}


@dataclass
class Crowd:
    """Clients that go on until they are told to stop."""

    gateway: Running
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    answers: int = 0
    streams: int = 0
    faults: list[str] = field(default_factory=list)

    def client(self, *, keeps: bool) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=f"{self.gateway.url}/v1",
            headers={"authorization": f"Bearer {KEY}", **({} if keeps else {"connection": "close"})},
            trust_env=False,
            timeout=PATIENCE_S,
        )

    async def draw(self, *, keeps: bool) -> None:
        """One picture after another."""
        async with self.client(keeps=keeps) as http:
            while not self.stop.is_set():
                await self._one(http)

    async def _one(self, http: httpx2.AsyncClient) -> None:
        try:
            answer = await http.post("images/generations", json=PICTURE, headers=STEERING)
        except httpx2.HTTPError as error:
            self.faults.append(f"no answer: {error!r}")
            return
        if answer.status_code != 200:
            self.faults.append(f"{answer.status_code}: {answer.text}")
        self.answers += 1

    async def watch(self) -> None:
        """One stream after another, on a connection that is kept."""
        async with self.client(keeps=True) as http:
            while not self.stop.is_set():
                try:
                    async with http.stream(
                        "POST", "images/generations", json=STREAM, headers=STEERING
                    ) as answer:
                        body = (await answer.aread()).decode()
                except httpx2.HTTPError as error:
                    self.faults.append(f"a stream was cut: {error!r}")
                    continue
                if answer.status_code != 200 or "event: image_generation.completed" not in body:
                    self.faults.append(f"a stream ended early: {answer.status_code} {body[-200:]}")
                self.streams += 1

    async def look(self) -> None:
        """Short requests, each on a connection of its own, as fast as they are answered."""
        while not self.stop.is_set():
            async with self.client(keeps=False) as http:
                try:
                    answer = await http.get("models")
                except httpx2.HTTPError as error:
                    self.faults.append(f"a connection was refused: {error!r}")
                    continue
                if answer.status_code != 200:
                    self.faults.append(f"{answer.status_code}: {answer.text}")
                self.answers += 1


async def replaced(gateway: Running, old: set[int]) -> set[int]:
    """The workers, once none of these is left and as many as there should be are there."""
    await until_for(lambda: len(workers_of(gateway)) == WORKERS and not old & set(workers_of(gateway)))
    return set(workers_of(gateway))


async def until_for(condition: Callable[[], bool]) -> None:
    """As `until`, with more patience: processes start."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the system's table of processes tells nobody
            await asyncio.sleep(0.05)


@pytest.mark.timeout(1200 if FULL else 240)
async def test_nobody_notices_that_the_workers_are_replaced(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    with sandbox_process(tmp_path) as sandbox:
        arguments = ("--workers", str(WORKERS))
        with gateway_process(f"{sandbox.url}/v1", tmp_path, arguments=arguments) as gateway:
            await until(lambda: len(workers_of(gateway)) == WORKERS, every_s=0.05)
            crowd = Crowd(gateway)
            workers = set(workers_of(gateway))
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(crowd.draw(keeps=True))
                    group.create_task(crowd.watch())
                group.create_task(crowd.draw(keeps=False))
                group.create_task(crowd.look())
                for _ in range(RESTARTS):
                    gateway.process.send_signal(signal.SIGUSR1)
                    workers = await replaced(gateway, workers)
                crowd.stop.set()
            assert crowd.faults == []
            assert crowd.answers > RESTARTS
            assert crowd.streams > RESTARTS
            books = Books(tmp_path, sandbox.url)
            await eventually(books.is_quiet, PATIENCE_S)
            assert await books.ledger.verify() == ()
            bill = await books.invoice()
            assert ledger_sums(await books.records()) == invoice_sums(bill["lines"])
            assert "Traceback" not in gateway.log.read_text()
            figure("rolling restarts of a gateway under load", RESTARTS)
            figure("requests answered during rolling restarts", crowd.answers + crowd.streams)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"event: image_generation.completed\ndata: {}\n\n"
FRAME = f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n"
LAST = FRAME + b"0\r\n\r\n"
REQUEST = request_bytes("POST", "/v1/images/generations", b'{"prompt":"x","stream":true}', key=KEY)


async def test_an_old_worker_ends_what_it_has_while_new_ones_serve(
    tmp_path: Path,
) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path, arguments=("--workers", "2")) as gateway:
            await until(lambda: len(workers_of(gateway)) == WORKERS, every_s=0.05)
            old = set(workers_of(gateway))
            async with raw_client(gateway.port) as client:
                await client.write(REQUEST)
                wire, _ = await upstream.request()
                await wire.write(HEAD)
                await client.read_until(b"\r\n\r\n")
                gateway.process.send_signal(signal.SIGUSR1)
                # One of the old ones is busy and stays: never more than one process too many.
                most = 0

                def are_new() -> bool:
                    nonlocal most
                    now = set(workers_of(gateway))
                    most = max(most, len(now))
                    return len(now - old) >= 1 and len(now & old) >= 1

                await until_for(are_new)
                await serves(gateway, upstream)
                await wire.write(LAST)
                assert await client.read_all() == LAST, "whole, and then closed"
                await replaced(gateway, old)
                assert most <= WORKERS + 1


async def serves(gateway: Running, upstream: RawUpstream) -> None:
    async with raw_client(gateway.port) as other:
        await other.write(request_bytes("GET", "/livez"))
        assert (await other.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_stop_in_the_middle_of_a_replacement_is_obeyed_at_once(tmp_path: Path) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(
            upstream.base_url,
            tmp_path,
            rest="[server]\ndrain_timeout_s = 1\n",
            arguments=("--workers", "2"),
        ) as gateway:
            await until(lambda: len(workers_of(gateway)) == WORKERS, every_s=0.05)
            async with raw_client(gateway.port) as client:
                await client.write(REQUEST)
                await upstream.request()
                gateway.process.send_signal(signal.SIGUSR1)
                await until_for(lambda: len(workers_of(gateway)) > WORKERS)
                gateway.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(gateway.process.wait, 30) == 0


async def test_a_faulty_configuration_replaces_nobody(tmp_path: Path) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path, arguments=("--workers", "2")) as gateway:
            await until(lambda: len(workers_of(gateway)) == WORKERS, every_s=0.05)
            old = set(workers_of(gateway))
            file = tmp_path / "gateway.toml"
            file.write_text(file.read_text() + "\n[nonsense]\n")
            gateway.process.send_signal(signal.SIGUSR1)
            await until(lambda: "is refused" in gateway.log.read_text(), every_s=0.05)
            assert set(workers_of(gateway)) == old


async def test_new_workers_take_what_a_reload_alone_does_not(tmp_path: Path) -> None:
    """The time that a head may take belongs to a worker from its start on."""
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path, arguments=("--workers", "2")) as gateway:
            await until(lambda: len(workers_of(gateway)) == WORKERS, every_s=0.05)
            old = set(workers_of(gateway))
            file = tmp_path / "gateway.toml"
            file.write_text(file.read_text() + "\n[server]\nheader_timeout_s = 0.2\n")
            gateway.process.send_signal(signal.SIGUSR1)
            await replaced(gateway, old)
            async with raw_client(gateway.port) as silent:
                await silent.wait_closed_by_peer()


async def test_a_worker_that_dies_is_replaced_by_one_with_the_newest_configuration(tmp_path: Path) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path, arguments=("--workers", "2")) as gateway:
            await until(lambda: len(workers_of(gateway)) == WORKERS, every_s=0.05)
            file = tmp_path / "gateway.toml"
            good = file.read_text().replace(f'secret = "{KEY}"', 'secret = "sk-other"')
            file.write_text(good)
            gateway.process.send_signal(signal.SIGHUP)
            await until(lambda: "changed: key" in gateway.log.read_text(), every_s=0.05)
            file.write_text(good + "\n[nonsense]\n")  # Of no interest to whoever starts later.
            old = set(workers_of(gateway))
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            await replaced(gateway, old)
            async with raw_client(gateway.port) as client:
                await client.write(request_bytes("GET", "/v1/models", key="sk-other"))
                await upstream.request()
            assert gateway.log.read_text().count("ended by itself (-9)") == WORKERS
