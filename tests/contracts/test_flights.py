"""What the `Flights` port promises, whatever lies between the processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.flights import RedisFlights
from gateway.adapters.sqlite.flights import SqliteFlights
from gateway.core.errors import Failure
from gateway.core.flight import Cut, Entrance, Erred, Failed, Landing, Lost, Stored, Withheld
from gateway.core.freshness import Reason
from gateway.core.headers import Header
from gateway.ports import (
    BEAT_S,
    LEASE_S,
    Began,
    Flights,
    FollowedFlight,
    Follows,
    LeadingFlight,
    Leads,
)
from tests.support.clock import FakeClock
from tests.support.redis import shared_cluster, shared_server


def sqlite(folder: Path, clock: FakeClock) -> Flights:
    return SqliteFlights(folder, clock.now)


def on(address: Callable[[], RedisAddress]) -> Callable[[Path, FakeClock], Flights]:
    return lambda folder, clock: RedisFlights(
        address(), clock, told_time=clock.now, prefix=f"{folder}:", patience=PATIENCE
    )


MAKERS: dict[str, Callable[[Path, FakeClock], Flights]] = {
    "sqlite": sqlite,
    "redis": on(lambda: shared_server("redis").address),
    "valkey": on(lambda: shared_server("valkey").address),
    "cluster": on(lambda: shared_cluster().address),
}
"""Each gives one more process, which shares its flights with the others that the folder names."""

PATIENCE = 20.0
"""What is promised is no matter of time."""
HIT_FOR_MISS_S = 15.0
HEADERS: tuple[Header, ...] = ((b"content-type", b"text/event-stream"), (b"x-odd", b"\xff\x80"))
LANDINGS: tuple[Landing, ...] = (
    Stored(),
    *(Withheld(reason) for reason in Reason),
    Erred(429),
    *(Failed(failure, "connect", sent=False) for failure in Failure),
    *(Cut(failure, "read") for failure in Failure),
    Lost(),
)


class World:
    """What lies between the processes, and the processes."""

    def __init__(
        self, make: Callable[[Path, FakeClock], Flights], folder: Path, stack: AsyncExitStack
    ) -> None:
        self.clock = FakeClock()
        self._make = make
        self._folder = folder
        self._stack = stack

    def process(self) -> Flights:
        made = self._make(self._folder, self.clock)
        self._stack.push_async_callback(made.aclose)
        return made

    async def board(
        self, process: Flights, name: str = "n", *, looked_at: float | None = None
    ) -> Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        at = self.clock.now() if looked_at is None else looked_at
        return await process.board(name, looked_at=at, hit_for_miss_s=HIT_FOR_MISS_S)

    async def lead(self, process: Flights, name: str = "n") -> LeadingFlight:
        found = await self.board(process, name)
        assert isinstance(found, Leads)
        return found.flight

    async def follow(self, process: Flights, name: str = "n") -> FollowedFlight:
        found = await self.board(process, name)
        assert isinstance(found, Follows)
        return found.flight


@asynccontextmanager
async def world_in(make: Callable[[Path, FakeClock], Flights], folder: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(make, folder, stack)


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world_in(request.param, tmp_path) as made:
        yield made


async def heard(flight: FollowedFlight) -> tuple[Began | None, bytes, Landing]:
    """All that comes."""
    began: Began | None = None
    body = b""
    async for one in flight.news():
        match one:
            case Began():
                assert began is None
                assert body == b""
                began = one
            case bytes():
                body += one
            case _:
                await flight.leave()
                return began, body, one
    raise AssertionError("it did not land")


async def test_of_those_who_come_at_once_one_leads(world: World) -> None:
    processes = [world.process() for _ in range(4)]
    found = await asyncio.gather(*(world.board(one) for one in processes * 3))
    assert sum(isinstance(one, Leads) for one in found) == 1
    assert sum(isinstance(one, Follows) for one in found) == 11


async def test_every_name_is_a_flight_of_its_own(world: World) -> None:
    here, there = world.process(), world.process()
    await world.lead(here, "one")
    await world.lead(there, "two")
    await world.follow(there, "one")


async def test_followers_get_all_of_it_whenever_they_came(world: World) -> None:
    here, there, elsewhere = (world.process() for _ in range(3))
    leading = await world.lead(here)
    early = asyncio.get_running_loop().create_task(heard(await world.follow(there)))
    await leading.began(200, HEADERS)
    await leading.write(b"one")
    middle = await world.follow(elsewhere)
    await leading.write(b"two" * 500_000)
    late = await world.follow(there)
    assert await leading.land(Stored())
    whole = (Began(200, HEADERS), b"one" + b"two" * 500_000, Stored())
    assert await early == await heard(middle) == await heard(late) == whole


async def test_what_has_come_is_told_while_more_is_awaited(world: World) -> None:
    leading = await world.lead(world.process())
    news = aiter((await world.follow(world.process())).news())
    await leading.began(200, HEADERS)
    assert await anext(news) == Began(200, HEADERS)
    await leading.write(b"one")
    assert await anext(news) == b"one"
    await leading.land(Cut(Failure.BROKEN_OFF, "read"))
    assert await anext(news) == Cut(Failure.BROKEN_OFF, "read")
    with pytest.raises(StopAsyncIteration):
        await anext(news)


@pytest.mark.parametrize("landing", LANDINGS, ids=str)
async def test_followers_are_told_how_it_landed(world: World, landing: Landing) -> None:
    leading, following = await world.lead(world.process()), await world.follow(world.process())
    assert await leading.land(landing)
    assert await heard(following) == (None, b"", landing)


async def test_after_an_answer_that_was_kept_who_had_looked_before_looks_again(world: World) -> None:
    here, there = world.process(), world.process()
    before = world.clock.now()
    leading = await world.lead(here)
    world.clock.seconds += 3
    await leading.land(Stored())
    assert await world.board(there, looked_at=before) is Entrance.LOOK_AGAIN
    world.clock.seconds += 1
    assert isinstance(await world.board(there), Leads)


async def test_after_an_answer_that_was_not_kept_nobody_queues_for_a_while(world: World) -> None:
    here, there = world.process(), world.process()
    await (await world.lead(here)).land(Withheld(Reason.LINK))
    world.clock.seconds += HIT_FOR_MISS_S - 1
    await here.beat()
    assert await world.board(there) is Entrance.ALONE
    world.clock.seconds += 1
    assert isinstance(await world.board(there), Leads)


@pytest.mark.parametrize("landing", [Erred(500), Cut(Failure.TIMED_OUT, "read"), Lost()], ids=str)
async def test_after_any_other_end_the_next_one_leads(world: World, landing: Landing) -> None:
    await (await world.lead(world.process())).land(landing)
    await world.lead(world.process())


async def test_a_leader_that_gives_up_is_lost_and_one_of_its_followers_leads(world: World) -> None:
    processes = [world.process() for _ in range(4)]
    leading = await world.lead(processes[0])
    followers = [await world.follow(one) for one in processes[1:]]
    await leading.began(200, HEADERS)
    await leading.release()
    await leading.release()
    for _, body, landing in await asyncio.gather(*map(heard, followers)):
        assert (body, landing) == (b"", Lost())
    found = await asyncio.gather(*(world.board(one) for one in processes[1:]))
    assert sorted(type(one).__name__ for one in found) == ["Follows", "Follows", "Leads"]


async def test_a_leader_that_beats_is_not_taken_for_dead(world: World) -> None:
    here, there = world.process(), world.process()
    leading = await world.lead(here)
    following = asyncio.get_running_loop().create_task(heard(await world.follow(there)))
    for _ in range(10):
        world.clock.seconds += BEAT_S
        await here.beat()
    assert await leading.leads()
    await world.follow(there)
    await leading.land(Stored())
    assert (await following)[2] == Stored()


async def test_a_leader_that_was_taken_for_dead_lands_nowhere(world: World) -> None:
    here, there = world.process(), world.process()
    leading = await world.lead(here)
    following = await world.follow(there)
    await leading.began(200, HEADERS)
    world.clock.seconds += LEASE_S
    assert (await heard(following))[2] == Lost()
    new = await world.lead(there)
    assert not await leading.leads()
    assert not await leading.land(Stored())
    assert await new.leads()
    third = await world.follow(world.process())
    await new.began(200, ())
    await new.write(b"another")
    assert await new.land(Withheld(Reason.LINK))
    assert await heard(third) == (Began(200, ()), b"another", Withheld(Reason.LINK))


async def test_a_leader_knows_whether_another_process_follows(world: World) -> None:
    here, there = world.process(), world.process()
    leading = await world.lead(here)
    assert not await leading.followed()
    first, second = await world.follow(there), await world.follow(there)
    await first.leave()
    await first.leave()
    assert await leading.followed()
    await second.leave()
    assert not await leading.followed()


async def test_who_leaves_hears_no_more(world: World) -> None:
    await world.lead(world.process())
    following = await world.follow(world.process())
    hearing = asyncio.get_running_loop().create_task(heard(following))
    await following.leave()
    assert (await hearing)[2] == Lost()


async def test_a_landing_is_said_once(world: World) -> None:
    leading = await world.lead(world.process())
    following = await world.follow(world.process())
    await leading.land(Stored())
    await leading.write(b"too late")
    await leading.release()
    assert not await leading.land(Lost())
    assert await heard(following) == (None, b"", Stored())


async def test_who_is_cancelled_while_it_comes_in_leads_nothing(world: World) -> None:
    here, there = world.process(), world.process()
    coming = asyncio.get_running_loop().create_task(world.board(here))
    await asyncio.sleep(0)
    coming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await coming
    async with asyncio.timeout(10):
        while not isinstance(found := await world.board(there), Leads):
            if isinstance(found, Follows):
                assert (await heard(found.flight))[2] == Lost()
    await here.beat()
    assert await found.flight.leads()


async def test_a_process_that_stops_releases_what_it_leads(world: World) -> None:
    here, there = world.process(), world.process()
    await world.lead(here)
    following = await world.follow(there)
    await here.aclose()
    assert (await heard(following))[2] == Lost()
    await here.aclose()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(pieces=st.lists(st.binary(max_size=2000), max_size=20), late=st.integers(0, 20))
async def test_any_pieces_come_in_order(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], late: int
) -> None:
    for make in MAKERS.values():
        async with world_in(make, tmp_path_factory.mktemp("flights")) as world:
            leading, there = await world.lead(world.process()), world.process()
            hearing = [asyncio.get_running_loop().create_task(heard(await world.follow(there)))]
            await leading.began(201, HEADERS)
            for number, piece in enumerate(pieces):
                if number == late:
                    hearing.append(asyncio.get_running_loop().create_task(heard(await world.follow(there))))
                await leading.write(piece)
            await leading.land(Stored())
            for one in hearing:
                assert await one == (Began(201, HEADERS), b"".join(pieces), Stored())


async def test_what_can_be_asked_answers(world: World) -> None:
    await world.process().ping()
