"""Other processes that cannot be told, or do not answer: nobody here notices."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from gateway.core.breaker import FAILURES, PAUSE_S
from gateway.core.flight import Landing, Lost, Stored
from gateway.core.headers import Header
from gateway.flow import neighbours as module
from gateway.flow.flights import Flights
from gateway.flow.neighbours import Boarded, Neighbours, announce, is_followed, publish, still_leads, tail
from gateway.flow.reel import Reel
from gateway.flow.tape import Head, Tape
from gateway.ports import Began, Leads, StoreFailed
from tests.support.clock import FakeClock
from tests.support.flights import Client, Hands, Upstream, follow, lead, take_off
from tests.support.waiting import until

DOWN = StoreFailed("disk full", unknown=False)


@dataclass
class Told:
    """The `LeadingFlight` port, which fails from a number of calls on."""

    good_for: int = 1000
    notes: list[object] = field(default_factory=list)
    stalls: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.stalls.set()

    async def _note(self, what: object) -> None:
        await self.stalls.wait()
        if self.good_for == 0:
            raise DOWN
        self.good_for -= 1
        self.notes.append(what)

    async def began(self, status: int, headers: Sequence[Header]) -> None:
        await self._note((status, tuple(headers)))

    async def write(self, piece: bytes) -> None:
        await self._note(piece)

    async def leads(self) -> bool:
        await self._note("leads?")
        return False

    async def followed(self) -> bool:
        await self._note("followed?")
        return True

    async def land(self, landing: Landing) -> bool:
        await self._note(landing)
        return True

    async def release(self) -> None:
        self.notes.append("released")


@dataclass
class Shared:
    """The `Flights` port, as well as it works today."""

    error: StoreFailed | None = None
    hangs: bool = False
    asked: int = 0
    told: Told = field(default_factory=Told)

    async def board(self, name: str, *, looked_at: float, hit_for_miss_s: float) -> Boarded:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return Leads(self.told)

    async def beat(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def taped(*chunks: bytes) -> Tape:
    tape = Tape(keep=True, reel=Reel())
    tape.begin(Head(200, (), 0.0))
    for chunk in chunks:
        tape.append(chunk)
    return tape


@pytest.mark.parametrize("hangs", [True, False])
async def test_without_the_store_calls_are_shared_within_the_process(
    monkeypatch: pytest.MonkeyPatch, *, hangs: bool
) -> None:
    monkeypatch.setattr(module, "BOARD_S", 0.01)
    shared = Shared(DOWN, hangs=hangs)
    flights = Flights(FakeClock(), max_wait_s=60.0, hit_for_miss_s=15.0, reel=Reel(), shared=shared)
    upstream, client = Upstream(), Client()
    led = await lead(flights)
    take_off(led, upstream, Hands())
    listening = await follow(flights, client)
    upstream.answers()
    upstream.says(b"all of it")
    upstream.ends()
    await listening
    assert client.got == b"all of it"
    assert await led.leads()
    await flights.beat()
    await flights.aclose()


async def test_who_does_not_answer_is_not_asked_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    clock, shared = FakeClock(), Shared(DOWN)
    neighbours = Neighbours(shared, clock, 15.0)
    for _ in range(FAILURES + 3):
        assert await neighbours.board("n", 0.0) is None
    assert shared.asked == FAILURES
    assert caplog.text.count("not shared") == 1
    shared.error = None
    clock.seconds += PAUSE_S
    for _ in range(3):
        assert await neighbours.board("n", 0.0) == Leads(shared.told)


async def test_what_came_together_is_told_together_and_all_of_it() -> None:
    tape, told = taped(b"one", b"two"), Told()
    telling = asyncio.get_running_loop().create_task(publish(tape, told))
    await until(lambda: b"onetwo" in told.notes)
    tape.append(b"three")
    tape.end()
    assert await telling
    assert told.notes == [(200, ()), b"onetwo", b"three"]
    await announce(told, Stored())
    assert told.notes[-1] == Stored()


async def test_an_answer_that_never_began_has_nothing_to_tell() -> None:
    tape, told = Tape(keep=True, reel=Reel()), Told()
    telling = asyncio.get_running_loop().create_task(publish(tape, told))
    await asyncio.sleep(0)
    tape.fail(asyncio.CancelledError())
    assert await telling
    assert told.notes == []


@pytest.mark.parametrize("good_for", [0, 1, 2])
async def test_whatever_cannot_be_told_the_flight_is_released(good_for: int) -> None:
    tape, told = taped(b"one"), Told(good_for)
    tape.end()
    if await publish(tape, told):
        await announce(told, Stored())
        assert told.notes[-1] == "released"
    else:
        assert "released" not in told.notes, "whether it still leads is asked before"
    assert not await is_followed(told)
    assert await still_leads(told)


async def test_a_store_that_stalls_holds_up_neither_the_writer_nor_the_passengers() -> None:
    tape, told = taped(), Told()
    told.stalls.clear()
    passenger = tape.cursor()
    telling = asyncio.get_running_loop().create_task(publish(tape, told))
    for _ in range(100):
        tape.append(b"x" * 10_000)
        await tape.room()
        assert await passenger.take() == b"x" * 10_000
        await asyncio.sleep(0)
    tape.end()
    told.stalls.set()
    assert await telling
    assert b"".join(one for one in told.notes if isinstance(one, bytes)) == b"x" * 1_000_000


async def test_what_is_told_that_does_not_land_is_lost() -> None:
    class Silent:
        async def news(self) -> AsyncIterator[Began | bytes | Landing]:
            yield Began(200, ())
            yield b"half"

        async def leave(self) -> None:
            pass

    tape = Tape(keep=True, reel=Reel())
    assert await tail(tape, Silent(), FakeClock()) == Lost()
    assert tape.size == 4


async def test_without_neighbours_nobody_is_asked() -> None:
    alone = Neighbours(None, FakeClock(), 15.0)
    assert await alone.board("n", 0.0) is None
    assert not await is_followed(None)
    assert await still_leads(None)
    await alone.beat()
    await alone.aclose()
