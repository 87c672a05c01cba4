import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gateway.adapters.connection import Connection
from gateway.adapters.pool import Pool, Watch
from gateway.core.errors import Failure, UpstreamFailed
from gateway.ports import Timeouts
from tests.conftest import SEED
from tests.support.raw import PATIENCE_S


class Line(Connection):
    """A connection to nowhere, as good as the test wants it."""

    def __init__(self, died: Watch, lost: Watch) -> None:
        super().__init__(
            memoryview(bytearray(1)), Timeouts(connect_s=PATIENCE_S, read_s=PATIENCE_S), died=died, lost=lost
        )
        self.closed = asyncio.Event()
        self.reusable = True
        self.stirring = False

    def finish(self) -> bool:
        return self.reusable and not self.dead

    def stirs(self) -> bool:
        return self.stirring

    def abort(self) -> None:
        if not self.gone:
            self.connection_lost(None)
            self.closed.set()


@dataclass
class Origin:
    """Opens lines, or fails to."""

    lines: list[Line] = field(default_factory=list)
    failing: bool = False
    turns: Callable[[], int] = lambda: 0
    """Of the event loop that opening takes."""

    async def connect(self, died: Watch, lost: Watch) -> Connection:
        for _ in range(self.turns()):
            await asyncio.sleep(0)
        if self.failing:
            raise UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=False)
        self.lines.append(Line(died, lost))
        return self.lines[-1]

    @property
    def open(self) -> int:
        return sum(not line.gone for line in self.lines)


def pool_of(size: int, origin: Origin, *, patience_s: float = PATIENCE_S, idle_s: float = PATIENCE_S) -> Pool:
    return Pool(origin.connect, size=size, patience_s=patience_s, idle_s=idle_s)


def begin(pool: Pool) -> asyncio.Task[Connection]:
    return asyncio.get_running_loop().create_task(pool.take())


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_newest_idle_connection_goes_first() -> None:
    pool = pool_of(3, Origin())
    first, second = await pool.take(), await pool.take()
    pool.give(first)
    pool.give(second)
    assert await pool.take() is second
    assert await pool.take() is first
    await pool.aclose()


async def test_calls_are_served_in_the_order_they_came() -> None:
    pool = pool_of(1, Origin())
    held = await pool.take()
    waiting = [begin(pool) for _ in range(3)]
    await settle()
    for call in waiting:
        pool.give(held)
        late = begin(pool)
        assert await call is held
        await settle()
        assert not late.done()
        late.cancel()
    await pool.aclose()


async def test_a_slot_goes_on_whether_its_connection_is_fit_or_not() -> None:
    origin = Origin()
    pool = pool_of(1, origin)
    line = await pool.take()
    assert isinstance(line, Line)
    line.reusable = False
    waiting = begin(pool)
    await settle()
    pool.give(line)
    other = await waiting
    assert other is not line
    assert (line.gone, origin.open) == (True, 1)
    await pool.aclose()


async def test_waiting_has_an_end() -> None:
    pool = pool_of(1, Origin(), patience_s=0.01)
    held = await pool.take()
    with pytest.raises(UpstreamFailed) as caught:
        await pool.take()
    assert (caught.value.failure, caught.value.phase, caught.value.sent) == (Failure.SATURATED, "pool", False)
    pool.give(held)
    assert await pool.take() is held
    await pool.aclose()


async def test_a_connection_that_dies_while_idle_frees_its_slot_at_once() -> None:
    origin = Origin()
    pool = pool_of(1, origin)
    line = await pool.take()
    pool.give(line)
    line.abort()
    assert await pool.take() is origin.lines[1]
    await pool.aclose()


async def test_a_connection_that_stirs_is_left_for_another() -> None:
    origin = Origin()
    pool = pool_of(2, origin)
    first, second = await pool.take(), await pool.take()
    pool.give(first)
    pool.give(second)
    origin.lines[1].stirring = True
    assert await pool.take() is first
    assert second.gone
    assert await pool.take() is origin.lines[2]
    await pool.aclose()


async def test_a_connection_that_dies_between_two_hands_is_replaced() -> None:
    origin = Origin()
    pool = pool_of(1, origin)
    line = await pool.take()
    waiting = begin(pool)
    await settle()
    pool.give(line)
    line.abort()
    assert await waiting is origin.lines[1]
    await pool.aclose()


async def test_idle_connections_are_closed_in_time() -> None:
    origin = Origin()
    pool = pool_of(3, origin, idle_s=0.01)
    for line in [await pool.take() for _ in range(3)]:
        pool.give(line)
    for made in origin.lines:
        await asyncio.wait_for(made.closed.wait(), PATIENCE_S)
    assert await pool.take() is origin.lines[3]
    await pool.aclose()


async def test_an_origin_that_fails_costs_no_slot() -> None:
    origin = Origin(failing=True)
    pool = pool_of(2, origin)
    for _ in range(5):
        with pytest.raises(UpstreamFailed):
            await pool.take()
    origin.failing = False
    assert await pool.take() is not await pool.take()
    await pool.aclose()


async def test_closing_closes_what_is_idle_and_in_use_and_turns_away_who_waits() -> None:
    origin = Origin()
    pool = pool_of(2, origin)
    pool.give(await pool.take())
    held = [await pool.take(), await pool.take()]
    waiting = begin(pool)
    await settle()
    await pool.aclose()
    await pool.aclose()
    assert origin.open == 0
    for attempt in (waiting, begin(pool)):
        with pytest.raises(UpstreamFailed) as caught:
            await attempt
        assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, False)
    for line in held:
        pool.give(line)


async def test_a_connection_that_was_being_opened_while_the_pool_closed_is_closed_too() -> None:
    origin = Origin(turns=lambda: 5)
    pool = pool_of(1, origin)
    opening = begin(pool)
    await asyncio.sleep(0)
    await pool.aclose()
    with pytest.raises(UpstreamFailed):
        await opening
    assert (len(origin.lines), origin.open) == (1, 0)


async def test_no_slot_is_ever_lost(rounds: int, figure: Callable[[str, int], None]) -> None:
    """Calls on a contended pool, cancelled at any moment: queueing, just served, opening, holding."""
    chance = random.Random(SEED)
    origin = Origin(turns=lambda: chance.randrange(4))
    size = 3
    pool = pool_of(size, origin)
    cancelled = 0

    async def call() -> None:
        line = await pool.take()
        try:
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            assert isinstance(line, Line)
            line.reusable = chance.random() < 0.5
        finally:
            pool.give(line)

    for _ in range(rounds):
        origin.failing = False
        calls = [asyncio.get_running_loop().create_task(call()) for _ in range(20)]
        while not all(one.done() for one in calls):
            origin.failing = chance.random() < 0.2
            if chance.random() < 0.7:
                cancelled += chance.choice(calls).cancel()
            if chance.random() < 0.2 and origin.lines:
                chance.choice(origin.lines).abort()
            await asyncio.sleep(0)
            assert origin.open <= size
        await asyncio.gather(*calls, return_exceptions=True)
    figure("calls cancelled on a contended pool of connections", cancelled)
    assert cancelled > rounds * 5
    origin.failing = False
    held = [await asyncio.wait_for(pool.take(), PATIENCE_S) for _ in range(size)]
    assert len(set(held)) == size
    saturated = begin(pool)
    await settle()
    assert not saturated.done(), "nor is a slot ever made"
    saturated.cancel()
    await pool.aclose()
