"""What the `IdempotencyKeys` port promises, whatever it lies in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.idempotency import RedisIdempotencyKeys
from gateway.adapters.redis.ledger import RedisLedger
from gateway.adapters.sqlite.idempotency import SqliteIdempotencyKeys
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.idempotency import LIFE_S, Known, Once, State, name_of
from gateway.core.ledger import OpenCall
from gateway.core.record import Outcome
from gateway.ports import DEAD_AFTER_S, IdempotencyKeys, Ledger
from tests.support.clock import FakeClock
from tests.support.ledger import noted, record
from tests.support.redis import shared_cluster, shared_server

Worker = tuple[Ledger, IdempotencyKeys]


def sqlite(folder: Path, clock: FakeClock) -> Worker:
    ledger = SqliteLedger.open(folder, clock.now)
    return ledger, SqliteIdempotencyKeys(ledger)


def on(address: Callable[[], RedisAddress]) -> Callable[[Path, FakeClock], Worker]:
    def make(folder: Path, clock: FakeClock) -> Worker:
        ledger = RedisLedger.open(
            address(), clock.now, tag=str(folder), attempt_s=PATIENCE_S, patience_s=PATIENCE_S
        )
        return ledger, RedisIdempotencyKeys(ledger)

    return make


PATIENCE_S = 20.0
MAKERS: dict[str, Callable[[Path, FakeClock], Worker]] = {
    "sqlite": sqlite,
    "redis": on(lambda: shared_server("redis").address),
    "valkey": on(lambda: shared_server("valkey").address),
    "cluster": on(lambda: shared_cluster().address),
}
"""Each gives one more worker on the store that is named by the folder."""

ONCE = Once(name_of(("default", "team"), "POST", "images.edits", b"key"), "fox")
OTHER = Once(ONCE.name, "dog")


class World:
    """A store, and workers on it."""

    def __init__(
        self, make: Callable[[Path, FakeClock], Worker], folder: Path, stack: AsyncExitStack
    ) -> None:
        self.clock = FakeClock()
        self._make = make
        self._folder = folder
        self._stack = stack

    def worker(self) -> Worker:
        ledger, keys = self._make(self._folder, self.clock)
        self._stack.push_async_callback(ledger.aclose)
        return ledger, keys


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(request.param, tmp_path, stack)


@pytest.fixture
def keys(world: World) -> IdempotencyKeys:
    return world.worker()[1]


async def test_a_key_is_taken_by_one_call(keys: IdempotencyKeys, world: World) -> None:
    _, others = world.worker()
    assert await keys.begin(ONCE, "a") is None
    for one in (keys, others):
        assert await one.begin(ONCE, "b") == Known("fox", "a", State.OPEN)
        assert await one.begin(OTHER, "b") == Known("fox", "a", State.OPEN)


async def test_of_those_that_come_at_once_one_gets_it(world: World) -> None:
    workers = [world.worker()[1] for _ in range(3)]
    found = await asyncio.gather(*(workers[n % 3].begin(ONCE, f"call-{n}") for n in range(60)))
    assert found.count(None) == 1
    winner = f"call-{found.index(None)}"
    assert {one for one in found if one is not None} == {Known("fox", winner, State.OPEN)}


async def test_to_take_it_again_is_harmless(keys: IdempotencyKeys) -> None:
    assert await keys.begin(ONCE, "a") is None
    assert await keys.begin(ONCE, "a") is None


async def test_other_keys_are_other_keys(keys: IdempotencyKeys) -> None:
    assert await keys.begin(ONCE, "a") is None
    again = Once(name_of(("default", "team"), "POST", "images.edits", b"key2"), "fox")
    assert await keys.begin(again, "b") is None


@pytest.mark.parametrize("state", [State.KEPT, State.CUT])
async def test_it_stands_for_what_became_of_its_call(
    keys: IdempotencyKeys, world: World, state: State
) -> None:
    _, others = world.worker()
    await keys.begin(ONCE, "a")
    for _ in range(2):
        await keys.conclude(ONCE, "a", state)
        assert await others.begin(ONCE, "b") == Known("fox", "a", state)
        assert await others.begin(OTHER, "b") == Known("fox", "a", state)


async def test_a_failure_frees_it_for_any_request(keys: IdempotencyKeys) -> None:
    await keys.begin(ONCE, "a")
    await keys.conclude(ONCE, "a", None)
    await keys.conclude(ONCE, "a", None)
    assert await keys.begin(OTHER, "b") is None


async def test_a_key_that_was_noted_is_free_for_the_same_request_only(keys: IdempotencyKeys) -> None:
    await keys.begin(ONCE, "a")
    await keys.conclude(ONCE, "a", State.NOTED)
    assert await keys.begin(OTHER, "b") == Known("fox", "a", State.NOTED)
    assert await keys.begin(ONCE, "c") is None
    assert await keys.begin(ONCE, "d") == Known("fox", "c", State.OPEN)


@pytest.mark.parametrize("state", [None, *State])
async def test_another_call_cannot_conclude_it(keys: IdempotencyKeys, state: State | None) -> None:
    await keys.begin(ONCE, "a")
    await keys.conclude(ONCE, "b", state)
    assert await keys.begin(ONCE, "c") == Known("fox", "a", State.OPEN)


async def test_it_is_remembered_for_a_day(keys: IdempotencyKeys, world: World) -> None:
    await keys.begin(ONCE, "a")
    await keys.conclude(ONCE, "a", State.KEPT)
    world.clock.seconds += LIFE_S - 1
    assert await keys.begin(ONCE, "b") == Known("fox", "a", State.KEPT)
    world.clock.seconds += 1
    assert await keys.begin(OTHER, "b") is None


async def test_what_is_over_is_forgotten(world: World) -> None:
    ledger, keys = world.worker()
    await keys.begin(ONCE, "a")
    world.clock.seconds += LIFE_S
    await ledger.prune(0)
    # Whoever had it has it no more.
    await keys.conclude(ONCE, "a", State.KEPT)
    assert await keys.begin(OTHER, "b") is None


async def test_the_key_of_a_dead_worker_whose_call_had_not_begun_is_free(world: World) -> None:
    _, dead = world.worker()
    _, keys = world.worker()
    await dead.begin(ONCE, record(1).id)
    world.clock.seconds += DEAD_AFTER_S + 1
    assert await keys.begin(OTHER, "b") is None


async def test_the_key_of_a_dead_worker_whose_call_was_refused_is_free(world: World) -> None:
    ledger, dead = world.worker()
    _, keys = world.worker()
    await dead.begin(ONCE, record(1).id)
    await ledger.settle(record(1, outcome=Outcome.REFUSED, images=0, cost_nusd=0, lines=()))
    world.clock.seconds += DEAD_AFTER_S + 1
    assert await keys.begin(ONCE, "b") is None


@pytest.mark.parametrize("is_reaped", [False, True])
async def test_of_a_dead_workers_call_that_had_begun_nobody_knows(world: World, *, is_reaped: bool) -> None:
    ledger, dead = world.worker()
    other, keys = world.worker()
    await dead.begin(ONCE, noted(1).id)
    await ledger.reserve(OpenCall(record=noted(1), dispatched=True))
    world.clock.seconds += DEAD_AFTER_S + 1
    if is_reaped:
        assert len(await other.reap()) == 1
    for _ in range(2):
        assert await keys.begin(ONCE, "b") == Known("fox", noted(1).id, State.CUT)
    # It was only frozen, and what it brings is the truth.
    await dead.conclude(ONCE, noted(1).id, State.KEPT)
    assert await keys.begin(ONCE, "b") == Known("fox", noted(1).id, State.KEPT)


async def test_a_worker_that_lives_keeps_its_key(world: World) -> None:
    ledger, living = world.worker()
    _, keys = world.worker()
    await living.begin(ONCE, "a")
    for _ in range(5):
        world.clock.seconds += DEAD_AFTER_S / 2
        await ledger.beat()
    assert await keys.begin(ONCE, "b") == Known("fox", "a", State.OPEN)


async def test_it_goes_on_when_its_caller_is_cancelled(keys: IdempotencyKeys) -> None:
    await keys.begin(ONCE, "a")
    concluding = asyncio.get_running_loop().create_task(keys.conclude(ONCE, "a", State.KEPT))
    await asyncio.sleep(0)
    concluding.cancel()
    await asyncio.wait([concluding])
    known = Known("fox", "a", State.OPEN)
    async with asyncio.timeout(PATIENCE_S):
        while known == Known("fox", "a", State.OPEN):  # It may be asked on another connection, and before.
            found = await keys.begin(ONCE, "b")
            assert found is not None
            known = found
    assert known == Known("fox", "a", State.KEPT)
