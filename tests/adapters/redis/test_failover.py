"""A master that dies: the ledger goes on with the one that takes its place, and what is repeated is done once."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.redis.ledger import RedisLedger
from gateway.core.ledger import LedgerFilter, Verdict
from gateway.core.limits import Unit
from gateway.core.record import Record
from gateway.ports import StoreFailed
from tests.support.ledger import record
from tests.support.redis import redis_cluster, redis_sentinel, until_followed
from tests.support.redis_ledger import claim, ledger_at, now, opened, used

PATIENCE_S = 30.0
BEFORE = 20


async def until_settled(ledger: RedisLedger, number: int) -> tuple[Verdict, int]:
    """Settles as the keeper does: again and again, the same record. Returns how it ended, and how often it failed."""
    failures = 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return (await ledger.settle(call(number), images=1)).verdict, failures
            except StoreFailed:
                failures += 1
                await asyncio.sleep(0.1)  # as the breaker would wait


def call(number: int) -> Record:
    return record(number, id=f"igr_{number}", at=STARTED)


STARTED = now()


async def begun(ledger: RedisLedger) -> None:
    """Some calls are over, and one is open."""
    for number in range(BEFORE + 1):
        await ledger.reserve(opened(f"igr_{number}", at=STARTED), claim(f"igr_{number}"))
    for number in range(BEFORE):
        await ledger.settle(call(number), images=1)


async def check(ledger: RedisLedger) -> None:
    assert len([one async for one in ledger.export(LedgerFilter())]) == BEFORE + 1
    assert (await used(ledger))[Unit.IMAGES] == (BEFORE + 1, 0)
    assert await ledger.open_calls() == ()
    assert await ledger.verify() == ()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("strict", [False, True], ids=["normal", "strict"])
async def test_sentinels_name_another_master_and_the_ledger_goes_on_there(
    tmp_path: Path, *, strict: bool
) -> None:
    with redis_sentinel(tmp_path) as watched:
        until_followed(watched.master, watched.replica)
        async with ledger_at(watched.address, strict=strict) as ledger:
            await begun(ledger)
            until_followed(watched.master, watched.replica)
            watched.master.kill()
            if strict:  # nobody is left who could confirm anything
                with pytest.raises(StoreFailed):
                    async with asyncio.timeout(PATIENCE_S):
                        await ledger.settle(call(BEFORE), images=1)
                return
            verdict, failures = await until_settled(ledger, BEFORE)
            assert verdict is Verdict.WRITTEN
            assert failures > 0
            await check(ledger)


@pytest.mark.timeout(180)
async def test_a_replica_takes_over_the_slots_of_a_lost_master_of_a_cluster(tmp_path: Path) -> None:
    with redis_cluster(tmp_path, replicas=1) as cluster:
        async with ledger_at(cluster.address) as ledger, ledger_at(cluster.address, strict=True) as strict:
            await begun(strict)
            owner = cluster.owner_of(ledger._store.key("record"))
            until_followed(owner, cluster.replicas[cluster.masters.index(owner)])
            owner.kill()
            verdict, failures = await until_settled(ledger, BEFORE)
            assert verdict is Verdict.WRITTEN
            assert failures > 0
            await check(ledger)


@pytest.mark.timeout(180)
async def test_a_master_of_a_cluster_that_has_other_slots_is_not_missed(tmp_path: Path) -> None:
    """With `cluster-require-full-coverage no`, as whoever wants that sets it."""
    with redis_cluster(tmp_path) as cluster:
        async with ledger_at(cluster.address) as ledger:
            await begun(ledger)
            owner = cluster.owner_of(ledger._store.key("record"))
            for one in cluster.masters:
                one.said("CONFIG", "SET", "cluster-require-full-coverage", "no")
            next(one for one in cluster.masters if one is not owner).kill()
            verdict, _ = await until_settled(ledger, BEFORE)
            assert verdict is Verdict.WRITTEN
            await check(ledger)
            alive = tuple(("127.0.0.1", one.port) for one in cluster.masters if one.process.poll() is None)
            async with ledger_at(replace(cluster.address, hosts=alive), attempt_s=5, patience_s=10) as later:
                await later.ping()
