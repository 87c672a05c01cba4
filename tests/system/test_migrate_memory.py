"""A ledger of any size is moved in the same memory, and comes back as it was."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.adapters.sqlite.ledger import SqliteReader
from gateway.adapters.sqlite.moving import SqliteTarget
from gateway.core.ledger import LedgerFilter
from gateway.core.moving import AT_ONCE, Settled
from tests.conftest import FULL
from tests.support.ledger import record
from tests.support.redis import redis_server

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("migrate-memory"), pytest.mark.timeout(3600)]

FEW = 1000
MANY = 1_000_000 if FULL else 30_000
"""All of them at once would take 3 KB each at the least."""
MORE_MB = 30
_MEASURED = """\
import resource, sys
from gateway.cli.main import main
main(sys.argv[1:], standalone_mode=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


async def fill(folder: Path, records: int) -> None:
    target = SqliteTarget.open(folder)
    await target.begin([], anew=False)
    for first in range(0, records, AT_ONCE):
        some = range(first, min(first + AT_ONCE, records))
        await target.take([Settled(record(number), None, 0) for number in some])
    await target.finish()
    await target.aclose()


def moved(here: str, there: str, folder: Path) -> int:
    """The most memory that it took, in megabytes."""
    command = [sys.executable, "-c", _MEASURED, "migrate", "--from", here, "--to", there]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1]) // 1024


async def test_a_million_records_are_moved_in_the_memory_of_a_thousand(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    most: dict[tuple[str, int], int] = {}
    with redis_server(tmp_path) as server:
        for number in (FEW, MANY):
            server.said("FLUSHALL")
            here, there = tmp_path / f"here-{number}", tmp_path / f"there-{number}"
            await fill(here, number)
            most["there", number] = await asyncio.to_thread(moved, f"sqlite:///{here}", server.url, tmp_path)
            assert server.said("HLEN", "{imagegate:default}:ledger:record") == number
            most["back", number] = await asyncio.to_thread(moved, server.url, f"sqlite:///{there}", tmp_path)
            one, other = SqliteReader.open(here), SqliteReader.open(there)
            pages = [await ledger.page(LedgerFilter(), limit=500) for ledger in (one, other)]
            assert pages[0] == pages[1]
            totals = [
                [row async for row in ledger.usage(("team", "key", "model"))] for ledger in (one, other)
            ]
            assert totals[0] == totals[1]
            await one.aclose()
            await other.aclose()
    for way in ("there", "back"):
        assert most[way, MANY] < most[way, FEW] + MORE_MB, most
    figure("records of a ledger that was moved there and back in bounded memory", MANY)
