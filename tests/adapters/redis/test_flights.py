"""What only this adapter can get wrong: servers that stop or forget, leaders that die or freeze, clocks that differ."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from gateway.adapters.redis import flight_tower
from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.flight_lead import BLOCK_BYTES, RedisLead
from gateway.adapters.redis.flights import RedisFlights
from gateway.core.errors import UpstreamFailed
from gateway.core.flight import Duty, Entrance, Landing, Lost, Stored, Withheld
from gateway.core.freshness import Reason
from gateway.flow.flights import Flights, Lead, Stranded
from gateway.flow.reel import Reel
from gateway.ports import LEASE_S, Began, FollowedFlight, Follows, Leads, StoreFailed
from tests.conftest import FULL, SEED
from tests.support.cache import body_of, entry, key_of
from tests.support.clock import FakeClock
from tests.support.flights import Client, Hands, Upstream, follow, lead, take_off
from tests.support.ports import free_port
from tests.support.redis import Kind, Server, redis_server, shared_cluster, shared_server
from tests.support.redis_flight_leader import leading
from tests.support.waiting import until

MIB = 1 << 20
Make = Callable[..., RedisFlights]
T = TypeVar("T")


@pytest.fixture(params=["redis", "valkey"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def server(tmp_path: Path, kind: Kind) -> Iterator[Server]:
    with redis_server(tmp_path, kind=kind, arguments=("--appendonly", "no")) as started:
        yield started


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(server: Server, clock: FakeClock) -> AsyncIterator[Make]:
    async with AsyncExitStack() as stack:

        def made(**options: Any) -> RedisFlights:
            own: dict[str, Any] = {"clock": clock, "told_time": clock.now, "patience": 20.0} | options
            flights = RedisFlights(server.address, **own)
            stack.push_async_callback(flights.aclose)
            return flights

        yield made


@pytest.fixture
async def here(make: Make) -> RedisFlights:
    return make()


@pytest.fixture
async def there(make: Make) -> RedisFlights:
    return make()


@pytest.fixture
def raw(server: Server) -> Iterator["redis.Redis"]:
    with closing(redis.Redis(port=server.port, protocol=2)) as client:
        yield client


def streams(raw: "redis.Redis") -> list[bytes]:
    return [key for key in raw.scan_iter("imagegate:flight:*") if raw.type(key) == b"stream"]


async def board(
    flights: RedisFlights, name: str = "n", *, looked_at: float | None = None
) -> Leads | Follows | Entrance:
    at = flights._clock.now() if looked_at is None else looked_at
    return await flights.board(name, looked_at=at, hit_for_miss_s=15.0)


async def leads(flights: RedisFlights, name: str = "n") -> RedisLead:
    found = await board(flights, name)
    assert isinstance(found, Leads)
    assert isinstance(found.flight, RedisLead)
    return found.flight


async def follows(flights: RedisFlights, name: str = "n") -> FollowedFlight:
    found = await board(flights, name)
    assert isinstance(found, Follows)
    return found.flight


async def heard(flight: FollowedFlight) -> tuple[bytes, Landing]:
    body = b""
    async for one in flight.news():
        match one:
            case Began():
                pass
            case bytes():
                body += one
            case _:
                return body, one
    raise AssertionError("it did not land")


def hearing(flight: FollowedFlight) -> "asyncio.Task[tuple[bytes, Landing]]":
    return asyncio.get_running_loop().create_task(heard(flight))


def spawned(news: AsyncIterator[Began | bytes | Landing]) -> "asyncio.Task[Began | bytes | Landing]":
    """What comes next."""

    async def first() -> Began | bytes | Landing:
        return await anext(news)

    return asyncio.get_running_loop().create_task(first())


async def answered(act: Callable[[], Awaitable[T]]) -> T:
    """What it answers once connections to a server that is there again have been made anew."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await act()
            except StoreFailed:
                await asyncio.sleep(0.01)


def flying(shared: RedisFlights, clock: FakeClock) -> Flights:
    return Flights(clock, max_wait_s=60.0, hit_for_miss_s=15.0, reel=Reel(), shared=shared)


# One leader


@pytest.mark.parametrize("store", ["redis", "valkey", "cluster"])
async def test_two_never_lead_one_name_at_once(
    store: str, tmp_path: Path, clock: FakeClock, rounds: int, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    address = (
        shared_cluster().address
        if store == "cluster"
        else shared_server("redis" if store == "redis" else "valkey").address
    )
    clients = [
        RedisFlights(address, clock, told_time=clock.now, prefix=f"{tmp_path}:", patience=20.0)
        for _ in range(3)
    ]
    led: RedisLead | None = None
    for number in range(rounds):
        found = await asyncio.gather(*(board(clients[who % 3]) for who in range(50)))
        leaders = [one.flight for one in found if isinstance(one, Leads)]
        assert len(leaders) == 1
        assert sum(isinstance(one, Follows) for one in found) == 49
        assert led is None or not await led.leads(), "who led before leads no more"
        (now_led,) = leaders
        assert isinstance(now_led, RedisLead)
        led = now_led
        await asyncio.gather(*(one.flight.leave() for one in found if isinstance(one, Follows)))
        match chance.randrange(3):
            case 0:
                clock.seconds += LEASE_S
            case 1:
                await led.release()
            case _:
                assert await led.land(Lost()), number
    await asyncio.gather(*(one.aclose() for one in clients))
    figure("races of fifty for one flight in Redis", rounds)


async def test_clocks_that_are_hours_apart_change_nothing(make: Make, clock: FakeClock) -> None:
    fast, slow = FakeClock(), FakeClock()
    fast.seconds, slow.seconds = clock.seconds + 3600, clock.seconds - 3600
    here, there = make(clock=fast, told_time=None), make(clock=slow, told_time=None)
    led = await leads(here)
    hears = hearing(await follows(there))
    looked_at = slow.now()
    await led.write(b"all")
    assert await led.land(Stored())
    assert await hears == (b"all", Stored())
    slow.seconds += 0.5
    assert await board(there, looked_at=looked_at - 10) is Entrance.LOOK_AGAIN
    fast.seconds += 0.5
    assert await board(here, looked_at=fast.seconds - 10) is Entrance.LOOK_AGAIN
    assert isinstance(await board(here, looked_at=fast.seconds + 10), Leads), "it had looked after that"


async def test_when_the_leading_process_is_killed_one_who_was_sent_nothing_leads(
    server: Server, here: RedisFlights, there: RedisFlights, clock: FakeClock
) -> None:
    processes = [flying(here, clock), flying(there, clock)]
    sent, unsent = [Client(), Client()], [Client(holds=True), Client(holds=True)]
    with leading(server.port) as process:
        clients = list(zip(processes * 2, sent + unsent, strict=True))
        listening = [await follow(flights, client, looked_at=clock.now()) for flights, client in clients]
        await until(lambda: all(client.got == b"half" for client in sent + unsent), every_s=0.001)
        process.kill()
        process.wait()
        clock.seconds += LEASE_S
        await asyncio.gather(*listening)
    for client in sent:
        assert isinstance(client.error, UpstreamFailed), (
            "never the beginning of one answer and the end of another"
        )
    for client in unsent:
        assert isinstance(client.error, Stranded)
        assert client.error.duty is Duty.ELECT
    found = await asyncio.gather(
        *(one.join("n", looked_at=clock.now(), has_sent=lambda: False) for one in processes)
    )
    assert sum(isinstance(one, Lead) for one in found) == 1


async def test_a_frozen_leader_that_wakes_up_lands_nowhere_and_its_entry_is_not_committed(
    server: Server, here: RedisFlights, there: RedisFlights, clock: FakeClock, raw: "redis.Redis"
) -> None:
    cache = RedisCache(server.address, clock, max_bytes=64 * MIB, now=clock.now)
    led, draft = await leads(here), await cache.draft()
    assert draft is not None
    body = body_of("frozen", MIB)
    await draft.write(body)
    await led.began(200, ())
    hears = hearing(await follows(there))
    # Nobody says for half a minute that the lease and the draft are in use.
    clock.seconds += 30
    raw.delete(*raw.scan_iter("*:body"))
    assert await hears == (b"", Lost())
    new = await leads(there)
    await led.write(body)
    assert not await led.leads()
    assert not await draft.commit(entry(1, MIB)), "though it would not ask whether it leads"
    assert not await led.land(Stored())
    await draft.drop()
    assert await cache.find(key_of(1)) == ()
    late = hearing(await follows(here))
    await new.write(b"new")
    assert await new.land(Stored())
    assert await late == (b"new", Stored())
    await cache.aclose()


async def test_a_follower_counts_as_long_as_its_process_beats(
    here: RedisFlights, there: RedisFlights, clock: FakeClock
) -> None:
    led = await leads(here)
    await follows(there)
    clock.seconds += LEASE_S - 1
    await asyncio.gather(here.beat(), there.beat())
    clock.seconds += LEASE_S - 1
    await here.beat()
    assert await led.followed()
    clock.seconds += 2
    assert not await led.followed()
    assert await led.leads()


async def test_a_leader_that_was_silent_and_says_just_in_time_that_it_lives_leads_on(
    here: RedisFlights, there: RedisFlights, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    led = await leads(here)
    clock.seconds += LEASE_S
    take = there._tower.lead

    async def slowly(name: str, token: str, worker: str, seen: str) -> flight_tower.Row:
        if seen:
            await here.beat()
        return await take(name, token, worker, seen)

    monkeypatch.setattr(there._tower, "lead", slowly)
    await follows(there)
    assert await led.leads()


async def test_what_a_process_follows_of_its_own_does_not_count(here: RedisFlights) -> None:
    led = await leads(here)
    await follows(here)
    assert not await led.followed()


# Many followers, large bodies


@pytest.mark.parametrize("store", ["redis", "cluster"])
async def test_many_followers_on_several_clients_get_all_of_a_large_body(
    store: str, tmp_path: Path, clock: FakeClock, figure: Callable[[str, int], None]
) -> None:
    count, size = (200, 20 * MIB) if FULL else (20, 2 * MIB)
    part = size // (count // 4)
    address = shared_cluster().address if store == "cluster" else shared_server("redis").address
    clients = [
        RedisFlights(address, clock, told_time=clock.now, prefix=f"{tmp_path}:", patience=20.0)
        for _ in range(5)
    ]
    led = await leads(clients[0])
    body = body_of("large", size)
    got: list[int] = []

    async def listen(flight: FollowedFlight) -> None:
        at = 0
        async for one in flight.news():
            if isinstance(one, bytes):
                assert one == body[at : at + len(one)]
                at += len(one)
            elif not isinstance(one, Began):
                assert one == Stored()
        assert at == size
        got.append(at)
        await flight.leave()

    async with asyncio.TaskGroup() as group:
        await led.began(200, ())
        for number in range(count):
            if number % 4 == 0:  # Some come late.
                at = number // 4 * part
                await led.write(body[at : at + part])
            group.create_task(listen(await follows(clients[1 + number % 4])))
        await led.write(body[count // 4 * part :])
        assert await led.land(Stored())
    assert len(got) == count
    await asyncio.gather(*(one.aclose() for one in clients))
    figure("followers of one body through Redis", count)


async def test_more_followers_than_may_wait_in_the_server_hear_all_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight_tower, "TAILS", 1)
    here, there = make(), make()
    led = await leads(here)
    hears = [hearing(await follows(there)) for _ in range(5)]
    await led.began(200, ())
    await led.write(b"all")
    assert await led.land(Stored())
    assert await asyncio.gather(*hears) == [(b"all", Stored())] * 5


async def test_a_body_that_is_too_large_to_be_told_to_newcomers_is_told_to_who_keeps_pace(
    make: Make, raw: "redis.Redis"
) -> None:
    here, there = make(most_bytes=4 * BLOCK_BYTES), make()
    led = await leads(here)
    keeps_pace, lags = await follows(there), await follows(there)
    news = keeps_pace.news()
    body = body_of("large", 60 * BLOCK_BYTES)
    got = b""
    for at in range(0, len(body), BLOCK_BYTES):
        await led.write(body[at : at + BLOCK_BYTES])
        while len(got) < at + BLOCK_BYTES:
            piece = await anext(news)
            assert isinstance(piece, bytes)
            got += piece
    assert got == body
    (stream,) = streams(raw)
    assert raw.xlen(stream) == flight_tower.LEFT
    assert await board(there) is Entrance.ALONE
    assert await led.land(Stored())
    assert await anext(news) == Stored()
    assert await heard(lags) == (b"", Lost()), "never a body with a hole"


async def test_a_large_piece_is_told_in_entries_of_bounded_size(
    here: RedisFlights, raw: "redis.Redis"
) -> None:
    led = await leads(here)
    await led.write(bytes(MIB))
    (stream,) = streams(raw)
    assert raw.xlen(stream) == -(-MIB // BLOCK_BYTES)


# What the server keeps


async def test_everything_ends_by_itself(here: RedisFlights, there: RedisFlights, raw: "redis.Redis") -> None:
    for name, landing in (("a", Stored()), ("b", Withheld(Reason.LINK)), ("c", None), ("d", Lost())):
        led = await leads(here, name)
        await follows(there, name)
        await led.began(200, ())
        if landing is not None:
            await led.land(landing)
    await (await leads(here, "e")).release()
    await asyncio.gather(here.beat(), there.beat())
    left = [raw.pttl(key) for key in raw.scan_iter("*")]
    assert len(left) >= 4 * 3
    assert all(0 < ms <= 60_000 for ms in left)


async def test_what_a_follower_has_not_read_yet_is_kept_as_long_as_its_process_beats(
    here: RedisFlights, there: RedisFlights, raw: "redis.Redis"
) -> None:
    led, following = await leads(here), await follows(there)
    await led.write(b"all")
    await led.land(Stored())
    (stream,) = streams(raw)
    raw.pexpire(stream, 5000)
    await there.beat()
    assert raw.pttl(stream) > 5000
    assert await heard(following) == (b"all", Stored())
    await following.leave()
    raw.pexpire(stream, 5000)
    await there.beat()
    assert raw.pttl(stream) <= 5000


# Servers that forget


async def test_when_the_server_has_lost_a_stream_nobody_is_told_half_of_it(
    here: RedisFlights, there: RedisFlights, raw: "redis.Redis"
) -> None:
    led = await leads(here)
    await led.began(200, ())
    news = (await follows(there)).news()
    assert await anext(news) == Began(200, ())
    raw.delete(*streams(raw))
    with pytest.raises(StoreFailed, match="lost"):
        await led.write(b"more")
    assert await board(there) is Entrance.ALONE
    await led.release()
    assert await anext(news) == Lost()


@pytest.mark.parametrize("has_all", [True, False])
async def test_a_landing_without_a_stream_is_believed_by_those_who_have_it_all(
    here: RedisFlights, there: RedisFlights, raw: "redis.Redis", has_all: bool
) -> None:
    led, following = await leads(here), await follows(there)
    news = following.news()
    await led.write(b"all")
    if has_all:
        assert await anext(news) == b"all"
    raw.delete(*streams(raw))
    assert await led.land(Stored())
    assert await anext(news) == (Stored() if has_all else Lost())


async def test_when_the_server_has_forgotten_a_flight_its_leader_lands_nowhere(
    here: RedisFlights, there: RedisFlights, raw: "redis.Redis"
) -> None:
    led = await leads(here)
    hears = hearing(await follows(there))
    raw.flushall()
    await led.write(b"all")
    assert not await led.leads()
    assert not await led.land(Stored())
    assert await hears == (b"", Lost())
    await leads(there)


async def test_scripts_that_the_server_has_forgotten_are_told_again(
    here: RedisFlights, there: RedisFlights, raw: "redis.Redis"
) -> None:
    led = await leads(here)
    raw.script_flush()
    hears = hearing(await follows(there))
    raw.script_flush()
    await led.write(b"all")
    raw.script_flush()
    assert await led.land(Stored())
    assert await hears == (b"all", Stored())


@pytest.mark.parametrize("said", ["[200]", "nonsense"])
async def test_a_head_that_is_not_understood_is_lost(
    here: RedisFlights, there: RedisFlights, raw: "redis.Redis", said: str
) -> None:
    led, following = await leads(here), await follows(there)
    await led._tell("head", said.encode())
    assert await heard(following) == (b"", Lost())


# Servers that stop


@pytest.mark.parametrize(
    "stop", [Server.pause, Server.kill, Server.restart], ids=["paused", "killed", "emptied"]
)
async def test_a_server_that_stops_hangs_nobody(
    server: Server, make: Make, stop: Callable[[Server], None]
) -> None:
    here, there = make(patience=1.0), make(patience=1.0)
    led = await leads(here)
    await led.began(200, ())
    following = await follows(there)
    news = following.news()
    assert await anext(news) == Began(200, ())
    waits = spawned(news)
    await asyncio.sleep(0)
    stop(server)
    if stop is Server.restart:
        assert not await answered(led.leads)
        assert isinstance(await answered(lambda: board(there, "other")), Leads)
    else:
        for act in (lambda: board(there), lambda: led.write(b"x"), led.leads, led.followed):
            with pytest.raises(StoreFailed):
                await act()
        with pytest.raises(StoreFailed):
            await led.land(Stored())
    await led.release()
    await here.beat()
    async with asyncio.timeout(30):
        assert await waits == Lost()
        await following.leave()


async def test_what_was_in_doubt_while_the_server_stood_still_is_cleared_up(
    server: Server, make: Make, raw: "redis.Redis"
) -> None:
    here, there = make(patience=1.0), make(patience=1.0)
    led = await leads(here, "one")
    server.pause()
    with pytest.raises(StoreFailed):
        await board(here, "two")
    await led.release()
    server.resume()
    raw.ping()
    await here.beat()
    assert isinstance(await board(there, "one"), Leads)
    assert isinstance(await board(there, "two"), Leads)


async def test_a_connection_that_is_cut_is_made_again(make: Make, raw: "redis.Redis") -> None:
    here, there = make(patience=1.0), make(patience=1.0)
    led = await leads(here)
    news = (await follows(there)).news()
    await led.began(200, ())
    assert await anext(news) == Began(200, ())
    waits = spawned(news)
    await until(lambda: int(raw.info("clients")["blocked_clients"]) == 1, every_s=0.01)
    raw.client_kill_filter(_type="normal", skipme=True)
    await until(lambda: int(raw.info("clients")["blocked_clients"]) == 0, every_s=0.01)
    await answered(lambda: led.write(b"all"))
    assert await waits == b"all"
    assert await led.land(Stored())
    assert await anext(news) == Stored()


async def test_who_leaves_or_is_cancelled_waits_in_the_server_no_more(
    here: RedisFlights, there: RedisFlights, raw: "redis.Redis"
) -> None:
    def blocked() -> int:
        return int(raw.info("clients")["blocked_clients"])

    await leads(here)
    first, second = await follows(there), await follows(there)
    hears, cancelled = hearing(first), hearing(second)
    await until(lambda: blocked() == 2, every_s=0.01)
    await first.leave()
    assert await hears == (b"", Lost())
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await until(lambda: blocked() == 0, every_s=0.01)


async def test_within_the_process_calls_are_shared_though_the_server_is_gone(
    server: Server, make: Make, clock: FakeClock
) -> None:
    here = make(patience=1.0)
    flights, upstream, own, other = flying(here, clock), Upstream(), Client(), Client()
    led = await lead(flights, looked_at=clock.now())
    passage = take_off(led, upstream, Hands())
    listening = [asyncio.get_running_loop().create_task(own.listen(passage)), await follow(flights, other)]
    upstream.answers()
    upstream.says(b"one")
    await until(lambda: other.got == b"one", every_s=0.001)
    server.kill()
    upstream.says(b"two")
    upstream.ends()
    await asyncio.gather(*listening)
    assert own.got == other.got == b"onetwo"
    assert await led.over() == Stored()


async def test_a_server_that_is_not_there_is_a_store_that_fails(clock: FakeClock) -> None:
    flights = RedisFlights(RedisAddress("server", (("127.0.0.1", free_port()),)), clock)
    with pytest.raises(StoreFailed):
        await board(flights)
    await flights.beat()
    await flights.aclose()
