"""
Identical calls in the air, as transcripts: every way in which a leader can end, seen by those who follow.

Each is told of one process and of two that share a store: who leads is `here`, who follows is `there`.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.adapters.sqlite.flight_lead import SqliteLead
from gateway.adapters.sqlite.flights import SqliteFlights
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.flight import Cut, Duty, Entrance, Erred, Failed, Landing, Lost, Stored, Withheld
from gateway.core.freshness import Reason
from gateway.flow.flights import Flights, Follow, Joined, Lead, Stranded
from gateway.flow.reel import Reel
from gateway.ports import LEASE_S, StoreFailed
from gateway.ports import Flights as SharedFlights
from tests.support.clock import FakeClock
from tests.support.flights import Client, Hands, Upstream, entrance, follow, lead, listen, take_off
from tests.support.waiting import until

UNREACHABLE = UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=False)
BROKEN = UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
WITHHELD = Withheld(Reason.FEWER_IMAGES)


@dataclass
class World:
    """Two processes, or one that plays both."""

    here: Flights
    there: Flights
    clock: FakeClock
    upstream: Upstream = field(default_factory=Upstream)
    crew: Hands = field(default_factory=Hands)
    own: Client = field(default_factory=Client)
    """The leader's."""

    async def begins(self) -> Lead:
        """The first caller leads, and its call goes up."""
        led = await lead(self.here, looked_at=self.clock.now())
        listen(self.own, take_off(led, self.upstream, self.crew))
        return led

    async def follows(self, client: Client) -> asyncio.Task[None]:
        return await follow(self.there, client, looked_at=self.clock.now())


@pytest.fixture(params=["one process", "two processes"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    clock = FakeClock()

    def process(shared: SharedFlights | None) -> Flights:
        return Flights(clock, max_wait_s=60.0, hit_for_miss_s=15.0, reel=Reel(), shared=shared)

    if request.param == "one process":
        only = process(None)
        yield World(only, only, clock)
        return
    here, there = (process(SqliteFlights(tmp_path, clock.now)) for _ in range(2))
    yield World(here, there, clock)
    await there.aclose()
    await here.aclose()


def alone(clock: FakeClock | None = None, shared: SharedFlights | None = None) -> Flights:
    """One process."""
    return Flights(clock or FakeClock(), max_wait_s=60.0, hit_for_miss_s=15.0, reel=Reel(), shared=shared)


# How a leader ends


async def test_finished_and_stored_everybody_gets_all_of_it_whenever_they_came(world: World) -> None:
    led = await world.begins()
    early, late = Client(), Client()
    listening = [await world.follows(early)]
    world.upstream.answers()
    world.upstream.says(b"one")
    await until(lambda: early.got == b"one", every_s=0.001)
    world.upstream.says(b"two")
    listening.append(await world.follows(late))
    assert world.there.followers == 2
    world.upstream.says(b"three")
    world.upstream.ends()
    await asyncio.gather(*listening)
    assert world.there.followers == 0
    assert early.got == late.got == world.crew.seen == b"onetwothree"
    assert early.ended
    assert late.ended
    assert early.head is not None
    assert (early.head.status, tuple(early.head.headers)) == (200, tuple(world.upstream.headers))
    assert await led.over() == Stored()
    assert (world.own.got, world.own.ended) == (b"onetwothree", True)
    assert (world.upstream.opened, world.upstream.closed) == (1, 1)


async def test_who_had_looked_before_an_answer_was_stored_looks_again_who_looks_later_leads(
    world: World,
) -> None:
    before = world.clock.now()
    led = await world.begins()
    world.clock.seconds += 5
    world.upstream.answers()
    world.upstream.ends()
    await led.over()
    for process in (world.here, world.there):
        assert await entrance(process, looked_at=before) is Entrance.LOOK_AGAIN
    assert await entrance(world.there, looked_at=world.clock.now() + 1) is Lead


async def test_a_landing_is_told_after_the_entry_was_kept_and_followers_end_then(world: World) -> None:
    world.crew.may_land.clear()
    led = await world.begins()
    client = Client()
    listening = await world.follows(client)
    world.upstream.answers()
    world.upstream.says(b"all of it")
    world.upstream.ends()
    await until(lambda: client.got == b"all of it", every_s=0.001)
    await until(lambda: world.own.ended)
    assert not listening.done()
    world.crew.may_land.set()
    await listening
    assert client.ended
    assert await led.over() == Stored()


async def test_finished_and_not_kept_followers_get_it_and_the_next_do_not_queue(world: World) -> None:
    world.crew.kept = WITHHELD
    led = await world.begins()
    client = Client()
    listening = await world.follows(client)
    world.upstream.answers()
    world.upstream.says(b"one picture of two")
    world.upstream.ends()
    await listening
    assert (client.got, client.ended) == (b"one picture of two", True)
    assert await led.over() == WITHHELD
    for process in (world.here, world.there):
        assert await entrance(process, looked_at=world.clock.now()) is Entrance.ALONE
    world.clock.seconds += 15
    assert await entrance(world.there, looked_at=world.clock.now()) is Lead


async def test_an_error_of_the_upstream_is_told_to_all_and_remembered_by_nobody(world: World) -> None:
    world.upstream.status = 429
    led = await world.begins()
    client = Client()
    listening = await world.follows(client)
    world.upstream.answers()
    world.upstream.says(b"slow down")
    world.upstream.ends()
    await listening
    assert client.head is not None
    assert (client.head.status, client.got, client.ended) == (429, b"slow down", True)
    assert await led.over() == Erred(429)
    assert await entrance(world.there, looked_at=world.clock.now()) is Lead


async def test_without_an_answer_followers_are_told_the_same_failure(world: World) -> None:
    led = await world.begins()
    client = Client()
    listening = await world.follows(client)
    world.upstream.fails(UNREACHABLE)
    await listening
    assert isinstance(client.error, UpstreamFailed)
    assert (client.error.failure, client.error.phase, client.error.sent) == (
        Failure.UNREACHABLE,
        "connect",
        False,
    )
    assert world.own.error is UNREACHABLE
    assert await led.over() == Failed(Failure.UNREACHABLE, "connect", sent=False)
    assert await entrance(world.there, looked_at=world.clock.now()) is Lead


@pytest.mark.parametrize("holds", [True, False])
async def test_cut_in_the_middle_followers_fail_with_what_came_before(world: World, *, holds: bool) -> None:
    led = await world.begins()
    client = Client(holds=holds)
    listening = await world.follows(client)
    world.upstream.answers()
    world.upstream.says(b"half")
    await until(lambda: client.got == b"half", every_s=0.001)
    world.upstream.fails(BROKEN)
    await listening
    assert isinstance(client.error, UpstreamFailed)
    assert (client.got, client.ended, client.error.sent) == (b"half", False, True)
    assert world.own.error is BROKEN
    assert await led.over() == Cut(Failure.BROKEN_OFF, "read")


async def test_of_those_whose_leader_never_took_off_one_leads_and_the_others_follow(world: World) -> None:
    led = await lead(world.here)
    clients = [Client() for _ in range(5)]
    waiting = [await world.follows(client) for client in clients]
    led.abandon()
    led.abandon()
    await asyncio.gather(*waiting)
    for client in clients:
        assert isinstance(client.error, Stranded)
        assert client.error.duty is Duty.ELECT

    async def join() -> Joined:
        return await world.there.join("n", looked_at=world.clock.now(), has_sent=lambda: False)

    # Followers hear of it at once, the store a moment later; who comes in between goes alone.
    first = await join()
    while first is Entrance.ALONE:
        await asyncio.sleep(0.01)
        first = await join()
    joined = [first, *[await join() for _ in clients[1:]]]
    assert [type(one) for one in joined] == [Lead, Follow, Follow, Follow, Follow]


@pytest.mark.parametrize("holds", [True, False])
async def test_a_leader_that_is_cut_loses_who_was_sent_something_and_strands_the_others(
    world: World, *, holds: bool
) -> None:
    led = await world.begins()
    client = Client(holds=holds)
    listening = await world.follows(client)
    world.upstream.answers()
    world.upstream.says(b"half")
    await until(lambda: client.got == b"half", every_s=0.001)
    assert led._flight.reading is not None
    led._flight.reading.cancel()
    await listening
    assert isinstance(client.error, Stranded if holds else UpstreamFailed)
    assert await led.over() == Lost()
    assert world.upstream.closed == 1


async def test_a_crew_that_cannot_land_cuts_nobody_off(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.crew.kept = KeyError("a bug")
    led = await world.begins()
    client = Client()
    listening = await world.follows(client)
    world.upstream.answers()
    world.upstream.says(b"all of it")
    world.upstream.ends()
    await listening
    assert (client.got, client.ended) == (b"all of it", True)
    assert await led.over() == Withheld(Reason.UNREADABLE)
    assert "could not be landed" in caplog.text


# Waiting, stalling, leaving


async def test_who_has_waited_too_long_for_its_first_byte_goes_alone(world: World) -> None:
    await world.begins()
    client = Client()
    listening = await world.follows(client)
    world.clock.seconds += 61
    world.upstream.answers()
    await listening
    assert isinstance(client.error, Stranded)
    assert client.error.duty is Duty.ALONE
    assert not world.own.ended, "nobody else is held up by that"


async def test_the_wait_ends_though_nothing_comes() -> None:
    flights = Flights(FakeClock(), max_wait_s=0.0, hit_for_miss_s=15.0, reel=Reel())
    take_off(await lead(flights), Upstream(), Hands())
    client = Client()
    await (await follow(flights, client))
    assert isinstance(client.error, Stranded)


async def test_who_stalls_and_who_leaves_hold_up_nobody(world: World) -> None:
    led = await world.begins()
    quick, stalled, leaving = Client(), Client(), Client()
    stalled.stalls.clear()
    listening = [await world.follows(client) for client in (quick, stalled, leaving)]
    world.upstream.answers()
    chunks = [bytes([number]) * 50_000 for number in range(40)]
    world.upstream.says(*chunks[:20])
    await until(lambda: leaving.got != b"" and stalled.got != b"", every_s=0.001)
    listening[2].cancel()
    world.upstream.says(*chunks[20:])
    world.upstream.ends()
    await listening[0]
    assert quick.got == b"".join(chunks)
    assert await led.over() == Stored()
    assert len(stalled.got) < len(quick.got)
    stalled.stalls.set()
    await listening[1]
    assert stalled.got == quick.got


async def test_the_leaders_client_leaves_and_its_followers_get_it_all(world: World) -> None:
    led = await lead(world.here)
    passage = take_off(led, world.upstream, world.crew)
    client = Client()
    listening = await world.follows(client)
    passage.leave()
    passage.leave()
    world.upstream.answers()
    world.upstream.says(b"all of it")
    world.upstream.ends()
    await listening
    assert (client.got, client.ended) == (b"all of it", True)
    assert await led.over() == Stored()


async def test_when_the_last_one_leaves_the_call_is_cut_if_the_crew_says_so(world: World) -> None:
    led = await lead(world.here)
    passage = take_off(led, world.upstream, world.crew)
    client = Client()
    listening = await world.follows(client)
    world.upstream.answers()
    await until(lambda: client.head is not None, every_s=0.001)
    passage.leave()
    await asyncio.sleep(0)
    assert world.crew.asked == 0, "somebody is aboard"
    listening.cancel()
    async with asyncio.timeout(10):
        while not led._flight.over.is_set():
            await world.here.beat()
            await asyncio.sleep(0)
    assert (world.crew.asked, world.upstream.closed) == (1, 1)
    assert await led.over() == Lost()
    assert await entrance(world.there, looked_at=world.clock.now()) is Lead


async def test_or_it_goes_on_and_who_comes_back_gets_it_from_the_first_byte(world: World) -> None:
    world.crew.stay = 3600.0
    led = await lead(world.here)
    passage = take_off(led, world.upstream, world.crew)
    world.upstream.answers()
    world.upstream.says(b"one")
    passage.leave()
    await until(lambda: world.here.unattended == 1, every_s=0.001)
    client = Client()
    listening = await world.follows(client)
    world.upstream.says(b"two")
    world.upstream.ends()
    await listening
    assert client.got == b"onetwo"
    assert await led.over() == Stored()
    assert world.here.unattended == 0


async def test_with_nobody_aboard_it_is_cut_when_its_time_is_over() -> None:
    flights, upstream = alone(), Upstream()
    led = await lead(flights)
    take_off(led, upstream, Hands(stay=0.0)).leave()
    assert await led.over() == Lost()
    await led.closed()
    assert flights.unattended == 0


async def test_a_call_that_was_cut_before_it_began_has_an_end_too() -> None:
    flights, upstream = alone(), Upstream()
    led = await lead(flights)
    take_off(led, upstream, Hands()).leave()
    assert await led.over() == Lost()
    assert upstream.opened == 0


async def test_its_file_is_free_when_it_is_over_and_the_last_one_has_left() -> None:
    flights, upstream = alone(), Upstream()
    led = await lead(flights)
    passage = take_off(led, upstream, Hands())
    upstream.answers()
    upstream.ends()
    closed = asyncio.get_running_loop().create_task(led.closed())
    await led.over()
    await asyncio.sleep(0)
    assert not closed.done()
    passage.leave()
    await closed


# Alone


async def test_a_call_alone_is_kept_like_any_other_and_followed_by_nobody() -> None:
    flights, upstream, crew, client = alone(), Upstream(), Hands(), Client()
    led = flights.alone()
    listening = listen(client, take_off(led, upstream, crew))
    upstream.answers()
    upstream.says(b"all of it")
    upstream.ends()
    await listening
    assert (client.got, crew.seen) == (b"all of it", b"all of it")
    assert await led.over() == Stored()
    assert await entrance(flights, "", looked_at=0.0) is Lead


async def test_who_would_have_to_begin_in_the_middle_goes_alone() -> None:
    flights, upstream = alone(), Upstream()
    led = await lead(flights)
    take_off(led, upstream, Hands())
    led._flight.cabin.tape.close_door()
    assert await entrance(flights, looked_at=0.0) is Entrance.ALONE


# Between processes


async def test_those_who_come_while_it_is_found_out_who_leads_come_after_the_first(tmp_path: Path) -> None:
    clock = FakeClock()
    flights = alone(clock, SqliteFlights(tmp_path, clock.now))
    joined = await asyncio.gather(
        *(flights.join("n", looked_at=0.0, has_sent=lambda: False) for _ in range(5))
    )
    assert [type(one) for one in joined] == [Lead, Follow, Follow, Follow, Follow]
    await flights.aclose()


async def test_who_is_cancelled_while_it_is_found_out_leaves_its_place_to_the_next(tmp_path: Path) -> None:
    clock = FakeClock()
    flights = alone(clock, SqliteFlights(tmp_path, clock.now))
    first = asyncio.get_running_loop().create_task(lead(flights))
    await asyncio.sleep(0)
    first.cancel()
    landing: Landing | None = None
    async with asyncio.timeout(10):
        while landing is None:
            joined = await flights.join("n", looked_at=0.0, has_sent=lambda: False)
            if isinstance(joined, Lead):
                upstream = Upstream()
                take_off(joined, upstream, Hands())
                upstream.answers()
                upstream.ends()
                landing = await joined.over()
            elif isinstance(joined, Follow):
                client = Client()
                await listen(client, joined)
    assert landing == Stored()
    await flights.aclose()


@pytest.mark.parametrize("is_lost", [False, True], ids=["still leads", "was taken for dead"])
async def test_a_leader_that_cannot_tell_any_more_keeps_its_answer_only_if_it_still_led(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_lost: bool
) -> None:
    clock = FakeClock()
    here, there = SqliteFlights(tmp_path, clock.now), SqliteFlights(tmp_path, clock.now)
    flights, others = alone(clock, here), alone(clock, there)
    led = await lead(flights, looked_at=clock.now())
    if is_lost:
        clock.seconds += LEASE_S + 1
        assert isinstance(await lead(others, looked_at=clock.now()), Lead)
    upstream, own = Upstream(), Client()

    async def fails(_self: object, _piece: bytes) -> None:
        raise StoreFailed("disk full", unknown=False)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteLead, "write", fails)
        listen(own, take_off(led, upstream, Hands()))
        upstream.answers()
        upstream.says(b"one")
        await until(lambda: led._flight.leading is None, every_s=0.001)
    assert await led.leads() is not is_lost
    upstream.ends()
    await led.over()
    await flights.aclose()
    await others.aclose()
