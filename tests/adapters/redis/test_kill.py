"""`kill -9` of the server under load: with an append-only file that is synced always, nothing acknowledged is lost."""

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.ledger import LedgerFilter
from gateway.core.limits import Unit
from tests.conftest import FULL, SEED
from tests.support.redis import Kind, redis_server
from tests.support.redis_ledger import ledger_at, used

ROUNDS = 50 if FULL else 5
CALLS = 4000
"""Of each round: more than there is time for."""
MOST_S = 0.6
"""After the writers have begun, the server is dead by then."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_what_was_acknowledged_outlives_kill_9_of_the_server(
    tmp_path: Path, kind: Kind, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    begun: set[str] = set()
    settled: set[str] = set()
    rounds = -(-ROUNDS // 2)
    with redis_server(tmp_path, kind=kind, arguments=("--appendfsync", "always")) as server:
        for number in range(rounds):
            writer = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.support.redis_ledger_writer"),
                *(str(server.port), f"r{number}", str(CALLS)),
                stdout=subprocess.PIPE,
            )
            assert writer.stdout is not None
            said = [await writer.stdout.readline()]
            await asyncio.sleep(chance.uniform(0.02, MOST_S))  # the moment of the kill is chance
            server.kill()
            rest, _ = await writer.communicate()
            assert writer.returncode == 0
            for line in (*said, *rest.splitlines()):
                what, id_ = line.decode().split()
                (begun if what == "b" else settled).add(id_)
            server.restart()
            async with ledger_at(server.address, attempt_s=5, patience_s=10) as ledger:
                kept = {one.id async for one in ledger.export(LedgerFilter())}
                open_ = {call.record.id for call in await ledger.open_calls()}
                assert settled <= kept, f"seed {SEED}"
                assert begun <= kept | open_, f"seed {SEED}"
                assert not kept & open_, f"seed {SEED}"
                assert await ledger.verify() == (), f"seed {SEED}"
                assert (await used(ledger))[Unit.IMAGES] == (len(kept), len(open_)), f"seed {SEED}"
    assert settled
    figure("`kill -9` of a Redis or Valkey under writes to the ledger", rounds)
    figure("settlements acknowledged in it, each with its record", len(settled))
