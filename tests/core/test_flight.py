"""However a leader ends, each follower has one thing to do: the table, and each ending as a transcript."""

from itertools import product

import pytest

from gateway.core.artefact import PLAIN, Form
from gateway.core.cachekey import CacheKey
from gateway.core.errors import Code, Failure, UpstreamFailed
from gateway.core.flight import (
    Aloft,
    Cut,
    Duty,
    Entrance,
    Erred,
    Failed,
    Flight,
    Follower,
    Landed,
    Landing,
    Lost,
    Stored,
    Withheld,
    duty,
    enter,
    failure_of,
    landing_of,
    marker_s,
    name_of,
)
from gateway.core.freshness import Life, Reason
from gateway.core.observation import Ending, Observation

NOW, WAIT_S, HIT_FOR_MISS_S = 1_795_000_000.0, 660.0, 15.0
KEPT = Life(kept_at=NOW, ttl_s=60)
UNREACHABLE = Failed(Failure.UNREACHABLE, "connect", sent=False)
BROKEN = Cut(Failure.BROKEN_OFF, "read")
LANDINGS: tuple[Landing, ...] = (
    Stored(),
    Withheld(Reason.FEWER_IMAGES),
    Erred(400),
    UNREACHABLE,
    BROKEN,
    Lost(),
)


def landed(landing: Landing) -> Landed:
    return Landed(landing, NOW)


def next_of(flight: Flight, *, sent: bool = False, at: float = NOW, since: float = NOW) -> Duty:
    return duty(flight, Follower(sent=sent, since=since), now=at, max_wait_s=WAIT_S)


def entrance(found: Flight | None, *, at: float = NOW, looked_at: float = NOW - 1) -> Entrance:
    return enter(found, now=at, looked_at=looked_at, hit_for_miss_s=HIT_FOR_MISS_S)


TABLE = {
    # landing                        nothing sent     something sent   who comes next
    Stored(): (Duty.FINISH, Duty.FINISH, Entrance.LOOK_AGAIN),
    Withheld(Reason.FEWER_IMAGES): (Duty.FINISH, Duty.FINISH, Entrance.ALONE),
    Erred(400): (Duty.FINISH, Duty.FINISH, Entrance.LEAD),
    UNREACHABLE: (Duty.FAIL, Duty.CUT, Entrance.LEAD),
    BROKEN: (Duty.FAIL, Duty.CUT, Entrance.LEAD),
    Lost(): (Duty.ELECT, Duty.CUT, Entrance.LEAD),
}


@pytest.mark.parametrize("landing", LANDINGS, ids=lambda one: type(one).__name__)
def test_every_ending_is_in_the_table(landing: Landing) -> None:
    unsent, sent, entering = TABLE[landing]
    flight = landed(landing)
    assert (next_of(flight), next_of(flight, sent=True), entrance(flight)) == (unsent, sent, entering)


class TestTranscripts:
    """One leader, one follower that has been sent something, one that has not, and one who comes afterwards."""

    ALOFT = Aloft(lease_until=NOW + 5)

    def test_finished_and_kept(self) -> None:
        assert entrance(None) is Entrance.LEAD
        assert entrance(self.ALOFT) is Entrance.FOLLOW
        assert next_of(self.ALOFT, sent=True) is Duty.GO_ON
        flight = landed(landing_of(Observation(ending=Ending.CLEAN, status=200), KEPT, None))
        assert next_of(flight, sent=True) is Duty.FINISH
        assert entrance(flight) is Entrance.LOOK_AGAIN

    def test_finished_and_not_kept(self) -> None:
        seen = Observation(ending=Ending.CLEAN, status=200)
        flight = landed(landing_of(seen, Reason.TOO_LARGE, None))
        assert flight.landing == Withheld(Reason.TOO_LARGE)
        assert next_of(flight) is Duty.FINISH
        assert [entrance(flight, at=NOW + wait) for wait in (0, 14.9, 15)] == [
            Entrance.ALONE,
            Entrance.ALONE,
            Entrance.LEAD,
        ]

    def test_the_upstream_answered_an_error(self) -> None:
        seen = Observation(ending=Ending.CLEAN, status=429)
        flight = landed(landing_of(seen, Reason.ERROR, None))
        assert flight.landing == Erred(429)
        assert next_of(flight) is Duty.FINISH
        assert entrance(flight) is Entrance.LEAD

    @pytest.mark.parametrize(("sent", "ending"), [(False, Ending.UNSENT), (True, Ending.BROKEN)])
    def test_the_upstream_gave_no_answer(self, *, sent: bool, ending: Ending) -> None:
        raised = UpstreamFailed(Failure.TIMED_OUT, phase="read", sent=sent)
        landing = landing_of(Observation(ending=ending), Reason.CUT, raised)
        assert landing == Failed(Failure.TIMED_OUT, "read", sent)
        assert next_of(landed(landing)) is Duty.FAIL
        told, own = failure_of(landing).refusal(), raised.refusal()
        assert (told.code, told.should_retry, told.message) == (own.code, own.should_retry, own.message)

    def test_the_answer_broke_off(self) -> None:
        seen = Observation(ending=Ending.BROKEN, status=200)
        raised = UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
        landing = landing_of(seen, Reason.CUT, raised)
        assert isinstance(landing, Cut)
        assert next_of(landed(landing), sent=True) is Duty.CUT
        # One whose head still waits for the body is told in an error, as the leader's client is.
        assert next_of(landed(landing)) is Duty.FAIL
        told = failure_of(landing).refusal()
        assert (told.code, told.should_retry) == (Code.UPSTREAM_UNREACHABLE, False)

    def test_the_leading_process_died(self) -> None:
        later = NOW + 5
        assert next_of(self.ALOFT, at=later - 0.1) is Duty.GO_ON
        assert next_of(self.ALOFT, at=later) is Duty.ELECT
        assert next_of(self.ALOFT, sent=True, at=later) is Duty.CUT
        assert entrance(self.ALOFT, at=later) is Entrance.LEAD

    def test_the_leader_was_given_up(self) -> None:
        flight = landed(landing_of(Observation(ending=Ending.LEFT, status=200), Reason.CUT, None))
        assert next_of(flight) is Duty.ELECT

    def test_a_follower_waited_too_long(self) -> None:
        patient = Aloft(lease_until=NOW + 10_000)
        assert next_of(patient, at=NOW + WAIT_S - 1) is Duty.GO_ON
        assert next_of(patient, at=NOW + WAIT_S) is Duty.ALONE
        # An answer that has begun to come is not begun again.
        assert next_of(patient, sent=True, at=NOW + WAIT_S) is Duty.GO_ON


def test_a_failure_that_nobody_described_is_one_all_the_same() -> None:
    for ending, sent in ((Ending.BROKEN, True), (Ending.UNSENT, False)):
        landing = landing_of(Observation(ending=ending), Reason.CUT, None)
        assert landing == Failed(Failure.BROKEN_OFF, "read", sent)


def test_an_entry_that_is_gone_again_is_made_again() -> None:
    assert entrance(landed(Stored()), looked_at=NOW + 1) is Entrance.LEAD


@pytest.mark.parametrize("landing", LANDINGS, ids=lambda one: type(one).__name__)
def test_only_an_answer_that_was_not_kept_is_remembered(landing: Landing) -> None:
    assert marker_s(landing, HIT_FOR_MISS_S) == (HIT_FOR_MISS_S if isinstance(landing, Withheld) else 0)


@pytest.mark.parametrize(("sent", "waited_s"), list(product((False, True), (0.0, WAIT_S, 10 * WAIT_S))))
def test_nobody_who_was_sent_something_begins_again(*, sent: bool, waited_s: float) -> None:
    again = {Duty.ELECT, Duty.ALONE, Duty.FAIL}
    flights: list[Flight] = [*map(landed, LANDINGS), Aloft(NOW - 1), Aloft(NOW + 1)]
    duties = {next_of(flight, sent=sent, since=NOW - waited_s) for flight in flights}
    assert not (sent and duties & again)


def test_callers_of_one_form_fly_together() -> None:
    key = CacheKey("v1-ab")
    assert name_of(key, PLAIN) == "v1-ab.plain"
    assert name_of(key, Form(stream=True, partial_images=2)) == "v1-ab.stream2"
