"""What a follower is given, step by step, in every state of its flight."""

import asyncio

import pytest

from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.flight import Cut, Duty, Erred, Failed, Landed, Landing, Lost, Stored, Withheld
from gateway.core.freshness import Reason
from gateway.flow.passage import Cabin, Follow, Passage, Stranded
from gateway.flow.reel import Reel
from gateway.flow.tape import Head, Tape
from tests.support.clock import FakeClock

HEAD = Head(200, (), 0.5)
BROKEN = Cut(Failure.BROKEN_OFF, "read")
ALL: tuple[Landing, ...] = (
    Stored(),
    Withheld(Reason.LINK),
    Erred(400),
    Failed(Failure.TIMED_OUT, "read", sent=True),
    BROKEN,
    Lost(),
)


class Ship:
    """A flight, and who came and went."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.notes: list[str] = []
        self.sent = False
        self.cabin = Cabin(
            Tape(keep=True, reel=Reel()),
            filled=lambda: self.notes.append("filled"),
            emptied=lambda: self.notes.append("emptied"),
        )

    def follow(self, max_wait_s: float = 60.0) -> Follow:
        return Follow(self.cabin, self.clock, has_sent=lambda: self.sent, max_wait_s=max_wait_s)

    def lands(self, landing: Landing) -> None:
        self.cabin.tape.end()
        self.cabin.state = Landed(landing, self.clock.now())
        self.cabin.tape.nudge()


async def outcome(follow: Follow, *, of_head: bool) -> str:
    try:
        if of_head:
            await follow.head()
            return "head"
        return b"".join([chunk async for chunk in follow.chunks()]).decode()
    except Stranded as stranded:
        return str(stranded.duty.value)
    except UpstreamFailed as failed:
        return str(failed.failure.value)


@pytest.mark.parametrize("landing", ALL, ids=lambda landing: type(landing).__name__)
@pytest.mark.parametrize("sent", [True, False])
async def test_at_the_end_of_the_body_it_does_its_duty(landing: Landing, *, sent: bool) -> None:
    ship = Ship()
    follow = ship.follow()
    ship.cabin.tape.begin(HEAD)
    ship.cabin.tape.append(b"all")
    ship.sent = sent
    waiting = asyncio.get_running_loop().create_task(outcome(follow, of_head=False))
    await asyncio.sleep(0)
    ship.lands(landing)
    match landing:
        case Stored() | Withheld() | Erred():
            assert await waiting == "all"
        case Failed() | Cut():
            assert await waiting == landing.failure.value
        case Lost():
            assert await waiting == ("broken off" if sent else "elect")


@pytest.mark.parametrize("landing", ALL, ids=lambda landing: type(landing).__name__)
async def test_a_flight_that_has_ended_badly_gives_no_head(landing: Landing) -> None:
    ship = Ship()
    follow = ship.follow()
    ship.cabin.tape.begin(HEAD)
    ship.lands(landing)
    found = await outcome(follow, of_head=True)
    match landing:
        case Stored() | Withheld() | Erred():
            assert found == "head"
        case Failed() | Cut():
            assert found == landing.failure.value
        case Lost():
            assert found == "elect"


async def test_the_end_of_the_body_is_not_the_end_until_it_has_landed() -> None:
    ship = Ship()
    follow = ship.follow()
    ship.cabin.tape.end()
    waiting = asyncio.get_running_loop().create_task(outcome(follow, of_head=False))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()
    ship.lands(Stored())
    assert await waiting == ""


async def test_once_something_was_sent_it_waits_for_as_long_as_it_takes() -> None:
    ship = Ship()
    follow = ship.follow(max_wait_s=0.0)
    ship.sent = True
    waiting = asyncio.get_running_loop().create_task(outcome(follow, of_head=False))
    await asyncio.sleep(0)
    ship.clock.seconds += 1000
    ship.cabin.tape.append(b"all")
    ship.lands(Stored())
    assert await waiting == "all"


async def test_before_that_it_waits_only_so_long() -> None:
    with pytest.raises(Stranded) as caught:
        await Ship().follow(max_wait_s=0.0).head()
    assert caught.value.duty is Duty.ALONE


async def test_comings_and_goings_are_told_once() -> None:
    ship = Ship()
    first, second = Passage(ship.cabin), ship.follow()
    for passage in (first, first, second, second):
        passage.leave()
    assert ship.notes == ["filled", "filled", "emptied"]
