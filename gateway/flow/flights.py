"""
Identical calls in the air: one goes up, and everybody gets what it gets.

Whoever leads has its call read in a task of its own, onto a tape (tape.py). All passengers are cursors on that tape, the
leader's own client too: each comes when it likes and leaves when it likes. With the last one gone the crew says whether
the call is finished all the same. The flight lands once, after the crew has kept what is to be kept.

Between processes it is the port that says who leads. This process follows another one's flight once, however many of
its clients want it. A port that fails is as if there were none: calls are shared less, and none fails.

Not here: when two calls are the same (core/cachekey.py), what is kept (core/freshness.py), and what it costs.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, Protocol, TypeAlias, assert_never
from weakref import WeakSet

from gateway.core.errors import UpstreamFailed
from gateway.core.flight import (
    Cut,
    Entrance,
    Erred,
    Failed,
    Landed,
    Landing,
    Lost,
    Stored,
    Withheld,
    enter,
    failure_of,
    marker_s,
)
from gateway.core.freshness import Reason
from gateway.flow.fetch import OpenReply, read
from gateway.flow.neighbours import Neighbours, announce, is_followed, publish, still_leads, tail
from gateway.flow.passage import Cabin, Follow, Passage, Stranded
from gateway.flow.reel import Reel
from gateway.flow.tape import Filing, Head, Tape
from gateway.flow.tasks import spawn
from gateway.ports import BEAT_S, Clock, FollowedFlight, Follows, LeadingFlight, Leads
from gateway.ports import Flights as SharedFlights

__all__ = ["Crew", "Flights", "Follow", "Joined", "Lead", "Passage", "Stranded"]

LINGER_S: Final = 30.0
"""For so long it is remembered that an answer was kept: for those who had looked just before."""

_log = logging.getLogger("imagegate.flights")


class Crew(Protocol):
    """Who looks after a flight that is led here: its story, its account and its entry."""

    def came(self, head: Head) -> None:
        """The upstream's head is there; no passenger has it yet."""
        ...

    def saw(self, chunk: bytes) -> None:
        """A chunk has come; every one, once, in order. Whoever has come to the tape's end finds all of them seen."""
        ...

    def stay_s(self) -> float | None:
        """
        Nobody is aboard any more, in any process: seconds for which the call may go on; None: it is cut.

        Asked again each time the last passenger leaves. `Flights.unattended` is how many go on so already.
        """
        ...

    async def land(self, tape: Tape) -> Landing:
        """
        The read has ended, as the tape says: keep what is to be kept (see `Tape.filed`). Followers wait for that.

        Returns:
            How it ended, by `core.flight.landing_of`; `Lost` if `tape.is_left`.
        """
        ...


@dataclass(eq=False, slots=True)
class _Airborne:
    """One flight, as this process knows it."""

    name: str
    cabin: Cabin
    boarded: asyncio.Event = field(default_factory=asyncio.Event)
    """It is known who leads."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Everybody knows how it landed."""
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    """And nobody is aboard: its tape is closed."""
    crew: Crew | None = None
    """Of one that is led here, once it has taken off."""
    reading: asyncio.Task[object] | None = None
    """Of the upstream, or of what another process receives."""
    leading: LeadingFlight | None = None
    is_ours: bool = True
    """No other process led instead when this one stopped telling others of it."""
    following: FollowedFlight | None = None
    publishing: asyncio.Task[object] | None = None
    limit: asyncio.TimerHandle | None = None
    """When it is cut, if nobody comes aboard until then."""


class Lead:
    """The right to lead a flight. It takes off, or is abandoned."""

    def __init__(self, flights: "Flights", flight: _Airborne) -> None:
        self._flights = flights
        self._flight = flight

    def take_off(self, open_reply: OpenReply, crew: Crew, file: Filing | None = None) -> Passage:
        """
        Make the call. It goes on whoever leaves, as the crew says.

        Args:
            open_reply: makes the call; runs in the flight's own task.
            crew: looks after it.
            file: takes the body, and is read until `closed` returns. None: it is not to be kept.

        Returns:
            What the leader's own client gets.
        """
        return self._flights._take_off(self._flight, open_reply, crew, file)  # noqa: SLF001 - its own half

    def abandon(self) -> None:
        """It does not go up: whoever follows elects another leader. Nothing, once it has taken off."""
        if self._flight.crew is None:
            self._flights._abandon(self._flight)  # noqa: SLF001 - likewise

    async def leads(self) -> bool:
        """Whether no other process has taken this one for dead and leads instead. To be asked before an entry is kept."""
        flight = self._flight
        return flight.is_ours if flight.leading is None else await still_leads(flight.leading)

    async def over(self) -> Landing:
        """How it landed, once everybody has been told."""
        await self._flight.over.wait()
        state = self._flight.cabin.state
        assert isinstance(state, Landed), "that is what over means"  # noqa: S101 - for the type checker
        return state.landing

    async def closed(self) -> None:
        """Returns when it is over and nobody is aboard: nobody reads its file any more."""
        await self._flight.empty.wait()


Joined: TypeAlias = Lead | Follow | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]


class Flights:
    """
    The flights of one process.

    Args:
        clock: for leases and waits.
        max_wait_s: seconds that a follower waits for its first byte.
        hit_for_miss_s: seconds after an answer that was not kept in which nobody queues.
        reel: the memory of all tapes.
        shared: those of other processes; None: there are none.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_wait_s: float,
        hit_for_miss_s: float,
        reel: Reel,
        shared: SharedFlights | None = None,
    ) -> None:
        self._clock = clock
        self._max_wait_s = max_wait_s
        self._hit_for_miss_s = hit_for_miss_s
        self._reel = reel
        self._neighbours = Neighbours(shared, clock, hit_for_miss_s)
        self._aloft: dict[str, _Airborne] = {}
        self._landed: dict[str, tuple[Landed, float]] = {}
        """And until when that is of use, epoch seconds."""
        self._unattended: set[_Airborne] = set()
        self._tended: set[asyncio.Task[object]] = set()
        self._following: WeakSet[Follow] = WeakSet()
        self._elsewhere: set[_Airborne] = set()
        """Led here, with passengers in other processes only."""

    @property
    def unattended(self) -> int:
        """How many go on though nobody is aboard."""
        return len(self._unattended)

    @property
    def tended(self) -> int:
        """How many calls that were made here are not over, or not settled."""
        return len(self._tended)

    def tend(self, care: asyncio.Task[object]) -> None:
        """A call is looked after by this task until all of it is over."""
        self._tended.add(care)
        care.add_done_callback(self._tended.discard)

    @property
    def followers(self) -> int:
        """How many of this process get what another call brings."""
        return sum(one.is_aboard for one in self._following)

    def cut(self) -> None:
        """Read on no more where nobody is aboard."""
        for flight in tuple(self._unattended):
            self._unattended.discard(flight)
            self._cut(flight)

    def heed(self, *, max_wait_s: float, hit_for_miss_s: float) -> None:
        """Other times, for those who come from now on. See the class."""
        self._max_wait_s = max_wait_s
        self._hit_for_miss_s = self._neighbours.hit_for_miss_s = hit_for_miss_s

    async def join(self, name: str, *, looked_at: float, has_sent: Callable[[], bool]) -> Joined:
        """
        How a call comes in that found no entry.

        Args:
            name: of its key and form, by `core.flight.name_of`.
            looked_at: when it looked for an entry, epoch seconds.
            has_sent: whether anything of an answer was sent to its client, be it the head. Asked while it follows.
        """
        while True:
            flight = self._aloft.get(name)
            if flight is None:
                how = self._enter(name, looked_at)
                return await self._begin(name, looked_at, has_sent) if how is None else how
            if flight.boarded.is_set():
                # Whoever would have to begin in the middle goes alone.
                return self._follow(flight, has_sent) if flight.cabin.tape.is_open else Entrance.ALONE
            await flight.boarded.wait()

    def alone(self) -> Lead:
        """A call that nobody can follow, and whose answer may be kept."""
        return Lead(self, self._new("", keep=False))

    async def run(self) -> None:
        """Beat, until cancelled."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_S)

    async def beat(self) -> None:
        """This process lives; and forget what is over."""
        now = self._clock.now()
        self._landed = {name: (one, until) for name, (one, until) in self._landed.items() if now < until}
        await self._neighbours.beat()
        for flight in tuple(self._elsewhere):
            await self._look_elsewhere(flight)

    async def aclose(self) -> None:
        """Tell other processes that nothing is led here any more."""
        await self._neighbours.aclose()

    # Coming in

    def _new(self, name: str, *, keep: bool) -> _Airborne:
        cabin = Cabin(
            Tape(keep=keep, reel=self._reel),
            filled=lambda: self._filled(flight),
            emptied=lambda: self._emptied(flight),
        )
        flight = _Airborne(name, cabin)
        return flight

    def _follow(self, flight: _Airborne, has_sent: Callable[[], bool]) -> Follow:
        follow = Follow(flight.cabin, self._clock, has_sent=has_sent, max_wait_s=self._max_wait_s)
        self._following.add(follow)
        return follow

    def _enter(self, name: str, looked_at: float) -> Literal[Entrance.LOOK_AGAIN, Entrance.ALONE] | None:
        found, _ = self._landed.get(name, (None, 0.0))
        how = enter(found, now=self._clock.now(), looked_at=looked_at, hit_for_miss_s=self._hit_for_miss_s)
        return how if how is Entrance.LOOK_AGAIN or how is Entrance.ALONE else None

    async def _begin(self, name: str, looked_at: float, has_sent: Callable[[], bool]) -> Joined:
        flight = self._aloft[name] = self._new(name, keep=True)
        try:
            found = await self._neighbours.board(name, looked_at)
        except BaseException:
            del self._aloft[name]
            raise
        finally:
            flight.boarded.set()
        match found:
            case Entrance.LOOK_AGAIN | Entrance.ALONE:
                del self._aloft[name]
                return found
            case Follows(following):
                flight.following = following
                flight.reading = spawn("follow", self._tail(flight, following))
                return self._follow(flight, has_sent)
            case Leads(leading):
                flight.leading = leading
                return Lead(self, flight)
            case None:
                return Lead(self, flight)
            case _:
                assert_never(found)

    # A flight that is led here

    def _take_off(self, flight: _Airborne, open_reply: OpenReply, crew: Crew, file: Filing | None) -> Passage:
        tape = flight.cabin.tape
        flight.crew = crew
        if file is not None:
            tape.attach(file)
        flight.reading = reading = spawn(
            "flight", read(open_reply, self._clock, tape, came=crew.came, saw=crew.saw)
        )
        if flight.leading is not None:
            flight.publishing = spawn("publish a flight", self._publish(flight, flight.leading))
        spawn("land a flight", self._land(flight, reading, crew))
        return Passage(flight.cabin)

    def _abandon(self, flight: _Airborne) -> None:
        if not flight.over.is_set():
            self._has_landed(flight, Lost())
            if flight.leading is not None:
                spawn("abandon a flight", flight.leading.release())
            self._is_over(flight)

    async def _land(self, flight: _Airborne, reading: asyncio.Task[object], crew: Crew) -> None:
        tape = flight.cabin.tape
        await asyncio.wait([reading])
        if not tape.has_ended:  # Cut before it began.
            tape.fail(asyncio.CancelledError())
        try:
            landing = await crew.land(tape)
        except Exception:  # noqa: BLE001 - followers wait: they get what came, and nobody relies on its being kept
            _log.exception("a flight could not be landed")
            landing = _as_seen(tape)
        self._has_landed(flight, landing)
        if flight.publishing is not None:
            await asyncio.wait([flight.publishing])
        if flight.leading is not None:
            await announce(flight.leading, landing)
        self._is_over(flight)

    async def _publish(self, flight: _Airborne, leading: LeadingFlight) -> None:
        if not await publish(flight.cabin.tape, leading):
            # Whoever was taken for dead meanwhile, and could not tell for that reason, must keep nothing either.
            flight.is_ours = await still_leads(leading)
            await leading.release()
            flight.leading = None

    # A flight that another process leads

    async def _tail(self, flight: _Airborne, following: FollowedFlight) -> None:
        landing: Landing = Lost()
        try:
            landing = await tail(flight.cabin.tape, following, self._clock)
        finally:
            _end(flight.cabin.tape, landing)
            self._has_landed(flight, landing)
            self._is_over(flight)
        await following.leave()

    # Who is aboard

    def _filled(self, flight: _Airborne) -> None:
        if flight.limit is not None:
            flight.limit.cancel()
            flight.limit = None
        self._unattended.discard(flight)
        self._elsewhere.discard(flight)

    def _emptied(self, flight: _Airborne) -> None:
        if flight.over.is_set():
            self._close(flight)
        elif flight.following is not None and flight.reading is not None:
            # Nobody here wants it any more: who comes later follows anew.
            self._forget(flight)
            flight.reading.cancel()
            spawn("follow no more", flight.following.leave())
        elif flight.crew is None or flight.cabin.tape.has_ended:
            return
        elif flight.leading is None:
            self._let_fly(flight, flight.crew)
        else:
            self._elsewhere.add(flight)
            spawn("who follows?", self._look_elsewhere(flight))

    async def _look_elsewhere(self, flight: _Airborne) -> None:
        followed = await is_followed(flight.leading)
        if flight in self._elsewhere and not followed and flight.crew is not None:
            self._elsewhere.discard(flight)
            self._let_fly(flight, flight.crew)

    def _let_fly(self, flight: _Airborne, crew: Crew) -> None:
        """Nobody is aboard."""
        if flight.cabin.tape.has_ended:
            return
        stay_s = crew.stay_s()
        if stay_s is None:
            self._cut(flight)
        else:
            self._unattended.add(flight)
            loop = asyncio.get_running_loop()
            flight.limit = loop.call_later(stay_s, partial(self._out_of_time, flight))

    def _out_of_time(self, flight: _Airborne) -> None:
        spawn("out of time", self._cut_unless_followed(flight))

    async def _cut_unless_followed(self, flight: _Airborne) -> None:
        followed = await is_followed(flight.leading)
        if flight in self._unattended:
            self._unattended.discard(flight)
            if followed:
                self._elsewhere.add(flight)
            else:
                self._cut(flight)

    def _cut(self, flight: _Airborne) -> None:
        # Who comes now does not board what is about to end.
        self._forget(flight)
        if flight.reading is not None:
            flight.reading.cancel()

    # How it ends

    def _has_landed(self, flight: _Airborne, landing: Landing) -> None:
        now = self._clock.now()
        flight.cabin.state = landed = Landed(landing, now)
        self._filled(flight)  # Nothing is to be cut any more.
        if self._aloft.get(flight.name) is flight:
            useful_s = LINGER_S if isinstance(landing, Stored) else marker_s(landing, self._hit_for_miss_s)
            if useful_s:
                self._landed[flight.name] = (landed, now + useful_s)
        self._forget(flight)
        flight.cabin.tape.nudge()

    def _is_over(self, flight: _Airborne) -> None:
        flight.over.set()
        if not flight.cabin.aboard:
            self._close(flight)

    def _close(self, flight: _Airborne) -> None:
        flight.cabin.tape.close()
        flight.empty.set()

    def _forget(self, flight: _Airborne) -> None:
        if self._aloft.get(flight.name) is flight:
            del self._aloft[flight.name]


def _end(tape: Tape, landing: Landing) -> None:
    match landing:
        case Stored() | Withheld() | Erred():
            tape.end()
        case Failed() | Cut():
            tape.fail(failure_of(landing))
        case Lost():
            tape.fail(asyncio.CancelledError())
        case _:
            assert_never(landing)


def _as_seen(tape: Tape) -> Landing:
    if tape.is_left:
        return Lost()
    if tape.failure is None:
        return Withheld(Reason.UNREADABLE)
    failed = tape.failure
    if not isinstance(failed, UpstreamFailed):
        return Lost()
    if tape.head is None:
        return Failed(failed.failure, failed.phase, failed.sent)
    return Cut(failed.failure, failed.phase)
