"""
Identical requests in the air: who leads, who follows, and what becomes of the followers however the leader ends.

The first caller of a key and a form leads: its call goes up. Those who come while it is under way follow: they are
given what it was given, from the first byte. One call, one charge.

Rules of this file:
- A follower is never given the beginning of one answer and the end of another.
- A follower goes up itself only if nothing was sent to it, and only where that may be the first generation: an error
  that the leader was told is told to its followers, not tried again by all of them.
- Whatever a flight's state, there is one thing that a follower has to do: `duty` is total.

Instants are epoch seconds and come in as arguments.

Not here: waiting, leases, what carries the bytes (the flights of a store); whether the answer is kept (freshness.py).
"""

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import TypeAlias, assert_never

from gateway.core.artefact import Form
from gateway.core.cachekey import CacheKey
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.freshness import Life, Reason
from gateway.core.observation import Ending, Observation


def name_of(key: CacheKey, form: Form) -> str:
    """The name of a flight: callers of one form are given the same bytes, so they fly together."""
    return f"{key}.{form.name}"


@dataclass(frozen=True, slots=True)
class Aloft:
    """The leader is at work."""

    lease_until: float
    """Epoch seconds. The leader renews it; once it is over, the leader's process counts as dead."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer is complete, and kept."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """The answer is complete, and not kept."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Erred:
    """The upstream answered an error, all of it."""

    status: int


@dataclass(frozen=True, slots=True)
class Failed:
    """There was no answer, as `errors.UpstreamFailed` says."""

    failure: Failure
    phase: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer broke off, as `errors.UpstreamFailed` says."""

    failure: Failure
    phase: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The leader is gone and nobody reads on: its process died, or it was given up when nobody was aboard."""


Landing: TypeAlias = Stored | Withheld | Erred | Failed | Cut | Lost
"""How a flight can end."""


@dataclass(frozen=True, slots=True)
class Landed:
    """A flight that has ended."""

    landing: Landing
    at: float
    """Epoch seconds."""


Flight: TypeAlias = Aloft | Landed


def landing_of(seen: Observation, kept: Life | Reason, failed: UpstreamFailed | None) -> Landing:
    """
    How a leader ends.

    Args:
        seen: of its answer.
        kept: the life of the entry that was committed, or why there is none.
        failed: what the upstream call raised, if it did.
    """
    match seen.ending:
        case Ending.LEFT:
            return Lost()
        case Ending.BROKEN | Ending.UNSENT:
            failed = failed or UpstreamFailed(
                Failure.BROKEN_OFF, phase="read", sent=seen.ending is Ending.BROKEN
            )
            if seen.status is None:
                return Failed(failed.failure, failed.phase, failed.sent)
            return Cut(failed.failure, failed.phase)
        case Ending.CLEAN:
            if seen.status is not None and seen.status >= HTTPStatus.BAD_REQUEST:
                return Erred(seen.status)
            return Withheld(kept) if isinstance(kept, Reason) else Stored()
        case _:
            assert_never(seen.ending)


class Entrance(Enum):
    """How a request that found no answer in the cache comes in."""

    LEAD = "lead"
    FOLLOW = "follow"
    LOOK_AGAIN = "look again"
    """The answer was kept after this request had looked."""
    ALONE = "alone"
    """The last answer was not kept: queueing for the next one would only serve one request after another."""


def enter(found: Flight | None, *, now: float, looked_at: float, hit_for_miss_s: float) -> Entrance:
    """
    How a request comes in.

    Args:
        found: the flight of its key and form, if there is one or was one lately.
        now: epoch seconds.
        looked_at: when it looked for an entry, epoch seconds.
        hit_for_miss_s: seconds after an answer that was not kept in which nobody queues.
    """
    match found:
        case None:
            return Entrance.LEAD
        case Aloft(lease_until):
            return Entrance.FOLLOW if now < lease_until else Entrance.LEAD
        case Landed(landing, at):
            return _enter_after(landing, at, now=now, looked_at=looked_at, hit_for_miss_s=hit_for_miss_s)
        case _:
            assert_never(found)


def _enter_after(
    landing: Landing, at: float, *, now: float, looked_at: float, hit_for_miss_s: float
) -> Entrance:
    match landing:
        case Stored():
            # An entry that is not there although it was looked for since has been evicted.
            return Entrance.LOOK_AGAIN if looked_at <= at else Entrance.LEAD
        case Withheld():
            return Entrance.ALONE if now < at + hit_for_miss_s else Entrance.LEAD
        case Erred() | Failed() | Cut() | Lost():
            return Entrance.LEAD
        case _:
            assert_never(landing)


def marker_s(landing: Landing, hit_for_miss_s: float) -> float:
    """Seconds for which a store remembers an ended flight for those who come later; 0: not at all."""
    match landing:
        case Withheld():
            return hit_for_miss_s
        case Stored() | Erred() | Failed() | Cut() | Lost():
            return 0.0
        case _:
            assert_never(landing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """One follower, as far as its duty depends on it."""

    sent: bool
    """Whether anything of an answer was sent to it, be it the head."""
    since: float
    """When it began to follow, epoch seconds."""


class Duty(Enum):
    """What a follower has to do next."""

    GO_ON = "go on"
    """Give what has come, and wait for more."""
    FINISH = "finish"
    """Give all of it, status and error body included, and end cleanly."""
    FAIL = "fail"
    """Tell the same failure in an error of ours."""
    CUT = "cut"
    """Break the connection."""
    ELECT = "elect"
    """Try to lead; who comes second follows the one who leads now."""
    ALONE = "alone"
    """Go up without keeping anybody informed."""


def duty(flight: Flight, follower: Follower, *, now: float, max_wait_s: float) -> Duty:
    """
    What a follower has to do.

    Args:
        flight: that it follows.
        follower: itself.
        now: epoch seconds.
        max_wait_s: seconds it waits for the first byte.
    """
    match flight:
        case Aloft(lease_until) if now < lease_until:
            waits_too_long = not follower.sent and now >= follower.since + max_wait_s
            return Duty.ALONE if waits_too_long else Duty.GO_ON
        case Aloft():
            return _duty_after(Lost(), sent=follower.sent)
        case Landed(landing):
            return _duty_after(landing, sent=follower.sent)
        case _:
            assert_never(flight)


def _duty_after(landing: Landing, *, sent: bool) -> Duty:
    match landing:
        case Stored() | Withheld() | Erred():
            return Duty.FINISH
        case Failed() | Cut():
            # As it is for the leader's own client: an error page as long as nothing is out, and none after.
            return Duty.CUT if sent else Duty.FAIL
        case Lost():
            return Duty.CUT if sent else Duty.ELECT
        case _:
            assert_never(landing)


def failure_of(landing: Failed | Cut) -> UpstreamFailed:
    """The failure that followers are told. Nothing of their own went up, but a generation may have been paid for."""
    match landing:
        case Failed(failure, phase, sent):
            return UpstreamFailed(failure, phase=phase, sent=sent)
        case Cut(failure, phase):
            return UpstreamFailed(failure, phase=phase, sent=True)
        case _:
            assert_never(landing)
