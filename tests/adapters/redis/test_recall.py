"""
A server that does not know any more what was done last: a replica that was behind, or an older file.

Whatever was done since is done there again before anything else is, and nothing is let in before that.
"""

import asyncio
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.adapters.redis.acts import TAG, key
from gateway.adapters.redis.idempotency import RedisIdempotencyKeys
from gateway.adapters.redis.ledger import RedisLedger
from gateway.adapters.workers import this_worker
from gateway.core.idempotency import Known, Once, State, name_of
from gateway.core.ledger import Verdict
from gateway.core.limits import Unit, parse_limit
from gateway.core.quota import FIRST_DOOR, Exceeded, Standing
from gateway.core.record import TokensFrom
from gateway.ports import StoreFailed
from tests.conftest import FULL, SEED
from tests.support.ledger import record
from tests.support.redis import Kind, Server, Watched, redis_sentinel, redis_server, until_followed
from tests.support.redis_ledger import claim, ledger_at, now, opened, used
from tests.support.waiting import until

ROUNDS = 30 if FULL else 3
ACTS = 120
FITS = 3
PATIENCE_S = 60.0
LIMITS = (f"{FITS} images total",)
COMPARED = (
    "tally",
    "hold",
    "guess",
    "inside",
    "place",
    "open",
    "noted",
    "called",
    "later",
    "paying",
    "once",
    "limits",
)
"""What has to be there again as it was."""


class Older:
    """A server that can be set back to what it had at a moment."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._files = server.folder / "appendonlydir"
        self._kept = server.folder / "kept"

    def keep(self) -> None:
        shutil.copytree(self._files, self._kept)

    def set_back(self) -> None:
        self.server.kill()
        shutil.rmtree(self._files)
        self._kept.rename(self._files)
        self.server.start()

    def state(self) -> dict[str, Any]:
        return state_of(self.server)


def state_of(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in COMPARED:
        kind = server.said("TYPE", key(TAG, name))
        if kind == "hash":
            found[name] = dict(_pairs(server.said("HGETALL", key(TAG, name))))
        elif kind == "zset":
            found[name] = sorted(server.said("ZRANGE", key(TAG, name), 0, -1))
    records = dict(_pairs(server.said("HGETALL", key(TAG, "record"))))
    # The order in which they were written is another one, and so is when a key was taken.
    found["record"] = {id_: kept.partition("\n")[2] for id_, kept in records.items()}
    found["once"] = {name: orjson.loads(kept)[1:] for name, kept in found.get("once", {}).items()}
    return found


def _pairs(kept: Any) -> Iterator[tuple[str, str]]:
    return iter(kept.items()) if isinstance(kept, dict) else zip(*[iter(kept)] * 2, strict=True)


@contextmanager
def older(folder: Path, kind: Kind = "redis") -> Iterator[Older]:
    with redis_server(folder, kind=kind, arguments=("--appendfsync", "always")) as server:
        yield Older(server)


def once(number: int) -> Once:
    return Once(name_of(("default", "team"), "POST", "images.edits", str(number).encode()), "fox")


class Worker:
    """Does at random what a worker does, each call by itself."""

    def __init__(self, ledger: RedisLedger, number: int, chance: random.Random) -> None:
        self.ledger = ledger
        self.keys = RedisIdempotencyKeys(ledger)
        self.number = number
        self.chance = chance
        self.next = 0
        self.inside: list[int] = []
        self.held: list[int] = []
        self.taken: list[int] = []

    def name(self, call: int) -> str:
        return f"igr_{self.number}_{call}"

    async def act(self) -> None:
        chance, ledger = self.chance, self.ledger
        what = chance.choice(
            [
                "admit",
                "admit",
                "reserve",
                "leave",
                "settle",
                "settle",
                "entrust",
                "begin",
                "conclude",
                "limits",
            ]
        )
        match what:
            case "admit":
                self.next += 1
                await ledger.admit(claim(self.name(self.next), ["1000 requests per minute"], FIRST_DOOR))
                self.inside.append(self.next)
            case "reserve" if self.inside:
                call = self.inside.pop(chance.randrange(len(self.inside)))
                await ledger.reserve(
                    opened(self.name(call)), claim(self.name(call), ["1000 images per hour"])
                )
                self.held.append(call)
            case "leave" if self.held:
                await ledger.leave(self.name(chance.choice(self.held)))
            case "settle" if self.held:
                call = self.held.pop(chance.randrange(len(self.held)))
                found = chance.choice([TokensFrom.REPORTED, TokensFrom.ESTIMATED])
                over = replace(record(call, id=self.name(call), at=now()), tokens_from=found)
                await ledger.settle(over, images=1)
            case "entrust" if self.held:
                call = chance.choice(self.held)
                await ledger.entrust(self.name(call), f"resp_{self.name(call)}", now() + 60, None)
            case "begin":
                self.next += 1
                if await self.keys.begin(once(self.next), self.name(self.next)) is None:
                    self.taken.append(self.next)
            case "conclude" if self.taken:
                call = self.taken.pop()
                await self.keys.conclude(once(call), self.name(call), chance.choice([None, State.KEPT]))
            case "limits":
                await ledger.set_limits(
                    f"team:{chance.randint(1, 3)}", [parse_limit(f"{self.next + 5} images per day")]
                )
            case _:
                pass


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_what_a_server_has_forgotten_is_there_again_to_the_last_number(
    tmp_path: Path, kind: Kind, figure: Any
) -> None:
    chance = random.Random(f"{SEED}{kind}")
    lacked = 0
    for number in range(ROUNDS):
        with older(tmp_path / str(number), kind) as server:
            async with ledger_at(server.server.address, attempt_s=5, patience_s=30) as ledger:
                await ledger.beat()
                worker = Worker(ledger, number, chance)
                for _ in range(chance.randint(1, ACTS)):
                    await worker.act()
                server.keep()
                for _ in range(chance.randint(1, ACTS)):
                    await worker.act()
                before = server.state()
                server.set_back()
                lacked += before != server.state()
                await ledger.beat()
                assert server.state() == before
                assert await ledger.verify() == ()
                await ledger.beat()
                for _ in range(10):
                    await worker.act()
                assert await ledger.verify() == ()
    assert lacked > ROUNDS // 2
    figure(f"servers set back to an older file ({kind}), and told again what they lacked", ROUNDS)


async def test_nothing_is_let_in_before_all_have_said_what_they_hold(tmp_path: Path) -> None:
    with older(tmp_path) as server:
        async with AsyncExitStack() as stack:
            one, other = [await stack.enter_async_context(ledger_at(server.server.address)) for _ in range(2)]
            await one.beat()
            await other.beat()
            server.keep()
            for number in range(FITS):
                assert isinstance(
                    await one.reserve(opened(f"igr_{number}"), claim(f"igr_{number}", LIMITS)), Standing
                )
            taken = RedisIdempotencyKeys(one)
            assert await taken.begin(once(1), "igr_0") is None
            server.set_back()
            for _ in range(3):
                with pytest.raises(StoreFailed, match="have not said yet what they hold"):
                    await other.reserve(opened("igr_other"), claim("igr_other", LIMITS))
                with pytest.raises(StoreFailed, match="have not said yet"):
                    await RedisIdempotencyKeys(other).begin(once(1), "igr_other")
                with pytest.raises(StoreFailed, match="have not said yet"):
                    await other.beat()
            with pytest.raises(StoreFailed) as failed:
                await other.reserve(opened("igr_other"), claim("igr_other", LIMITS))
            assert not failed.value.unknown
            await one.beat()
            assert isinstance(await other.reserve(opened("igr_other"), claim("igr_other", LIMITS)), Exceeded)
            found = await RedisIdempotencyKeys(other).begin(once(1), "igr_other")
            assert found == Known("fox", "igr_0", State.OPEN)
            for number in range(FITS):
                over = record(number, id=f"igr_{number}", at=now())
                assert (await one.settle(over, images=1)).verdict is Verdict.WRITTEN
            assert (await used(other))[Unit.IMAGES] == (FITS, 0)
            assert await other.verify() == ()


async def test_who_is_dead_has_nothing_to_say(tmp_path: Path) -> None:
    """One of this machine; one of another machine is waited for, ten seconds long."""
    with older(tmp_path) as server:
        async with ledger_at(server.server.address) as ledger:
            await ledger.beat()
            gone = json.dumps(["elsewhere", 2**22 + 1, "long ago"])
            server.server.said("HSET", key(TAG, "worker"), "dead", gone)
            server.keep()
            server.set_back()
            with pytest.raises(StoreFailed):
                await ledger.beat()
            here = json.dumps([this_worker().host, 2**22 + 1, "long ago"])
            server.server.said("HSET", key(TAG, "worker"), "dead", here)
            await ledger.beat()
            assert isinstance(await ledger.reserve(opened("igr_1"), claim("igr_1", LIMITS)), Standing)


@pytest.mark.timeout(180)
async def test_whoever_says_nothing_is_waited_for_ten_seconds_long(tmp_path: Path) -> None:
    with older(tmp_path) as server:
        async with ledger_at(server.server.address) as ledger:
            await ledger.beat()
            server.server.said("HSET", key(TAG, "worker"), "dead", json.dumps(["elsewhere", 1, "long ago"]))
            server.server.restart()
            with pytest.raises(StoreFailed):
                await ledger.beat()
            begun = int(server.server.said("HGET", key(TAG, "mark"), "since"))
            server.server.said("HSET", key(TAG, "mark"), "since", begun - 9_000_000)
            with pytest.raises(StoreFailed):
                await ledger.beat()
            server.server.said("HSET", key(TAG, "mark"), "since", begun - 10_000_000)
            await ledger.beat()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("strict", [False, True], ids=["normal", "strict"])
async def test_a_replica_that_was_behind_takes_over_and_nothing_is_overspent(
    tmp_path: Path, *, strict: bool
) -> None:
    """Strict, nothing is let in that the replica does not have, and no settlement is taken for one that lasts."""
    with redis_sentinel(tmp_path) as watched:
        until_followed(watched.master, watched.replica)
        async with AsyncExitStack() as stack:
            one, other = [
                await stack.enter_async_context(ledger_at(watched.address, strict=strict)) for _ in range(2)
            ]
            await one.beat()
            await other.beat()
            for number in range(FITS):
                if number == 1 and not strict:
                    until_followed(watched.master, watched.replica)
                    leave_behind(watched)
                passed = await one.reserve(opened(f"igr_{number}"), claim(f"igr_{number}", LIMITS))
                assert isinstance(passed, Standing)
            over = [record(number, id=f"igr_{number}", at=now()) for number in range(FITS)]
            if strict:
                leave_behind(watched)
                with pytest.raises(StoreFailed):
                    await one.settle(over[0], images=1)
                with pytest.raises(StoreFailed):
                    await one.reserve(opened("igr_late"), claim("igr_late"))
            else:
                assert (await one.settle(over[0], images=1)).verdict is Verdict.WRITTEN
            watched.master.kill()
            watched.replica.resume()
            await until_master(watched.replica)
            watched.master.start()
            assert isinstance(await reserved(other, one), Exceeded)
            settled = 0 if strict else 1
            assert (await used(other))[Unit.IMAGES] == (settled, FITS - settled)
            for one_over in over[settled:]:
                assert (await one.settle(one_over, images=1)).verdict is Verdict.WRITTEN
            assert (await used(other))[Unit.IMAGES] == (FITS, 0)
            assert await other.verify() == ()


def leave_behind(watched: Watched) -> None:
    """What the master is told from now on its replica never hears of."""
    watched.replica.pause()
    watched.master.said("CLIENT", "KILL", "TYPE", "replica")


async def until_master(server: Server) -> None:
    await until(lambda: server.said("ROLE")[0] == "master", every_s=0.1)


async def reserved(ledger: RedisLedger, other: RedisLedger) -> Standing | Exceeded:
    """As soon as the store is there again; both beat meanwhile."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await ledger.reserve(opened("igr_more"), claim("igr_more", LIMITS))
            except StoreFailed:
                for one in (ledger, other):
                    with suppress(StoreFailed):
                        await one.beat()
                await asyncio.sleep(0.1)


async def test_a_server_that_may_throw_the_ledger_away_does_not_take_another_ones_place(
    tmp_path: Path,
) -> None:
    with older(tmp_path) as server:
        async with ledger_at(server.server.address, attempt_s=5, patience_s=10) as ledger:
            await ledger.beat()
            assert isinstance(await ledger.reserve(opened("igr_1"), claim("igr_1", LIMITS)), Standing)
            server.server.command = (*server.server.command, "--maxmemory-policy", "allkeys-lru")
            server.server.restart()
            for act in (ledger.beat(), ledger.settle(record(1, id="igr_1", at=now()), 1)):
                with pytest.raises(StoreFailed, match="maxmemory-policy allkeys-lru") as failed:
                    await act
                assert not failed.value.unknown
            server.server.said("CONFIG", "SET", "maxmemory-policy", "noeviction")
            assert (await ledger.settle(record(1, id="igr_1", at=now()), 1)).verdict is Verdict.WRITTEN


async def test_what_was_set_last_stands_whoever_tells_it_again(tmp_path: Path) -> None:
    """Each gateway knows what it has set itself, and not what another one has set since."""
    with older(tmp_path) as server:
        async with AsyncExitStack() as stack:
            one, other = [
                await stack.enter_async_context(ledger_at(server.server.address, attempt_s=5, patience_s=10))
                for _ in range(2)
            ]
            await one.beat()
            await other.beat()
            await one.set_limits("org", [parse_limit("100 images total")])
            await other.set_limits("org", [parse_limit("1 images total")])
            await one.set_limits("team:design", [parse_limit("7 images total")])
            await other.set_limits("team:design", None)
            server.keep()
            await other.set_limits("key:a", [parse_limit("9 images total")])
            before = server.state()["limits"]
            assert sorted(before) == ["key:a", "org"]
            server.set_back()
            for ledger in (other, one, other):
                with suppress(StoreFailed):
                    await ledger.beat()
            assert server.state()["limits"] == before


async def test_a_place_that_was_given_back_is_not_taken_by_an_older_file(tmp_path: Path) -> None:
    with older(tmp_path) as server:
        async with ledger_at(server.server.address, attempt_s=5, patience_s=10) as ledger:
            await ledger.beat()
            await ledger.admit(claim("igr_1", ["1 concurrent"], FIRST_DOOR))
            server.keep()
            await ledger.leave("igr_1")
            server.set_back()
            await ledger.beat()
            assert isinstance(await ledger.admit(claim("igr_2", ["1 concurrent"], FIRST_DOOR)), Standing)


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_record_that_cannot_be_read_stops_nobody_after_a_restart(tmp_path: Path, kind: Kind) -> None:
    with older(tmp_path, kind) as server:
        async with ledger_at(server.server.address, attempt_s=5, patience_s=10) as ledger:
            await ledger.beat()
            for number in range(3):
                await ledger.reserve(opened(f"igr_{number}"), claim(f"igr_{number}"))
            await ledger.settle(record(0, id="igr_0", at=now()), 1)
            server.server.said("HSET", key(TAG, "record"), "igr_0", "no record at all")
            server.keep()
            server.server.said("HSET", key(TAG, "hold"), "igr_1", "no hold at all")
            await ledger.settle(record(2, id="igr_2", at=now()), 1)
            server.set_back()
            await ledger.beat()
            assert isinstance(await ledger.reserve(opened("igr_3"), claim("igr_3")), Standing)
            assert await ledger.record("igr_2") is not None


async def test_a_master_that_was_another_ones_replica_meanwhile_is_another_server(tmp_path: Path) -> None:
    """It was never restarted; but what it has was copied from a server that lacked something."""
    with redis_server(tmp_path) as master, redis_server(tmp_path) as replica:
        async with AsyncExitStack() as stack:
            one, other = [
                await stack.enter_async_context(ledger_at(master.address, attempt_s=5, patience_s=10))
                for _ in range(2)
            ]
            await one.beat()
            await other.beat()
            replica.said("REPLICAOF", "127.0.0.1", master.port)
            until_followed(master, replica)
            await beat(one, other)
            until_followed(master, replica)
            replica.said("REPLICAOF", "NO", "ONE")
            for number in range(FITS):
                passed = await one.reserve(opened(f"igr_{number}"), claim(f"igr_{number}", LIMITS))
                assert isinstance(passed, Standing)
            master.said("REPLICAOF", "127.0.0.1", replica.port)
            until_followed(replica, master)
            master.said("REPLICAOF", "NO", "ONE")
            with pytest.raises(StoreFailed, match="have not said yet"):
                await other.reserve(opened("igr_more"), claim("igr_more", LIMITS))
            await beat(one, other)
            assert isinstance(await other.reserve(opened("igr_more"), claim("igr_more", LIMITS)), Exceeded)
            assert (await used(other))[Unit.IMAGES] == (0, FITS)


async def beat(*ledgers: RedisLedger) -> None:
    """Until all of them have told what they hold."""
    for ledger in (*ledgers, *ledgers):
        with suppress(StoreFailed):
            await ledger.beat()
    for ledger in ledgers:
        await ledger.beat()


async def test_nobody_waits_for_a_worker_that_took_its_leave(tmp_path: Path) -> None:
    """One that left a call behind is found dead, and is waited for until then."""
    with older(tmp_path) as server:
        async with ledger_at(server.server.address) as gone, ledger_at(server.server.address) as left:
            await gone.beat()
            await left.beat()
            await left.reserve(opened("igr_1"), claim("igr_1", LIMITS))
        assert set(server.server.said("HKEYS", key(TAG, "worker"))) == {left.worker}
        async with ledger_at(server.server.address, attempt_s=5, patience_s=10) as last:
            await last.settle(record(1, id="igr_1", at=now()), 1)
            await last.beat()
            server.server.said("HDEL", key(TAG, "worker"), left.worker)
        assert server.server.said("HLEN", key(TAG, "worker")) == 0
        server.server.restart()
        async with ledger_at(server.server.address, attempt_s=5, patience_s=10) as new:
            assert isinstance(await new.reserve(opened("igr_2"), claim("igr_2", LIMITS)), Standing)
