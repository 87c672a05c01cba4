"""Worker processes are looked after. How they are replaced: tests/system/test_rolling_restart.py."""

import signal
from pathlib import Path

import httpx2
import pytest

from tests.support.many import on
from tests.support.process import Running, gateway_process
from tests.support.redis import redis_server
from tests.support.waiting import until
from tests.support.workers import tell, workers_of

pytestmark = pytest.mark.system
NOBODY = "http://127.0.0.1:9/v1"


def answers(gateway: Running) -> bool:
    try:
        return httpx2.get(f"{gateway.url}/livez", trust_env=False, timeout=1).status_code == 200
    except httpx2.HTTPError:
        return False


def is_ready(gateway: Running) -> bool:
    try:
        return httpx2.get(f"{gateway.url}/readyz", trust_env=False, timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


async def test_a_worker_that_hangs_is_killed_and_another_one_started(tmp_path: Path) -> None:
    with gateway_process(NOBODY, tmp_path, arguments=("--workers", "2")) as gateway:
        await until(lambda: answers(gateway), every_s=0.05)
        await until(lambda: len(workers_of(gateway)) == 2, every_s=0.05)
        hanging, _ = workers_of(gateway)
        # One that has not told yet that it serves is given the time that a start may take.
        await until(lambda: f"worker {hanging} serves" in gateway.log.read_text(), every_s=0.1)
        tell([hanging], signal.SIGSTOP)
        await until(lambda: hanging not in workers_of(gateway), every_s=0.1)
        await until(lambda: len(workers_of(gateway)) == 2, every_s=0.05)
        assert f"worker {hanging} does not answer, and is killed" in gateway.log.read_text()


async def test_where_no_worker_can_start_the_gateway_ends_and_says_so(tmp_path: Path) -> None:
    with gateway_process(NOBODY, tmp_path, arguments=("--workers", "2")) as gateway:
        await until(lambda: answers(gateway), every_s=0.05)
        await until(lambda: len(workers_of(gateway)) == 2, every_s=0.05)
        (tmp_path / "data" / "ledger.db").rename(tmp_path / "away.db")
        tell(workers_of(gateway), signal.SIGKILL)
        assert gateway.process.wait(60) == 3
        assert "a worker failed to start, and none serves: the gateway ends" in gateway.log.read_text()


async def test_a_worker_that_is_started_later_takes_no_other_ledger_for_its_gateways(tmp_path: Path) -> None:
    """The old one has gone, and somebody else has begun a new one: there every budget would begin anew."""
    other = tmp_path / "other"
    other.mkdir()
    with redis_server(tmp_path) as server:
        store = on(server.url)
        with gateway_process(NOBODY, tmp_path, rest=store, arguments=("--workers", "2")) as gateway:
            await until(lambda: is_ready(gateway), every_s=0.05)
            server.said("FLUSHALL")
            with gateway_process(NOBODY, other, rest=store) as begun:
                await until(lambda: is_ready(begun), every_s=0.05)
                first = workers_of(gateway)
                tell(first, signal.SIGKILL)
                await until(lambda: len(set(workers_of(gateway)) - set(first)) == 2, every_s=0.05)
                await until(lambda: answers(gateway), every_s=0.05)
                await until(lambda: "GONE the ledger" in gateway.log.read_text(), every_s=0.1)
                assert not is_ready(gateway)
                assert is_ready(begun)


async def test_a_worker_that_is_started_while_the_ledger_is_away_waits_for_it(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as server,
        gateway_process(NOBODY, tmp_path, rest=on(server.url), arguments=("--workers", "2")) as gateway,
    ):
        await until(lambda: is_ready(gateway), every_s=0.05)
        first = workers_of(gateway)
        server.kill()
        tell(first, signal.SIGKILL)
        await until(lambda: len(set(workers_of(gateway)) - set(first)) == 2, every_s=0.05)
        await until(lambda: answers(gateway), every_s=0.05)
        assert not is_ready(gateway)
        server.start()
        await until(lambda: is_ready(gateway), every_s=0.1)
