"""What a claim says to a script, and what its answer is made into."""

import orjson

from gateway.adapters.redis import claims
from gateway.core.limits import parse_limit
from gateway.core.quota import FIRST_DOOR, Claimant, Exceeded, Standing
from gateway.core.windows import SECOND_US
from tests.support.ledger import NOON
from tests.support.redis_ledger import ONE, UTC, claim

AT = round(NOON * 1_000_000)
RATE = "2 requests per minute"


def answer(verdict: bytes, *, inside: int = 0, held: int = 0, stops: object = ()) -> Standing | Exceeded:
    asked = claim("igr_1", [RATE, "1 concurrent"], clock=lambda: NOON)
    told = [b"2", b"0", b"0", b"0"]
    return claims.answer_of([verdict, str(AT).encode(), inside, held, [b"", b"", b""], told, stops], asked)


def test_windows_are_told_with_the_first_day_that_counts() -> None:
    said = orjson.loads(claims.to_claim([Claimant("org")], UTC.frames(NOON), ONE))
    assert said["a"] == [1, 1, 272, 341, 20_000_000, 1]
    begins, ends, counts = said["d"][1]
    assert (begins, ends) == (AT - 12 * 3600 * SECOND_US, AT + 12 * 3600 * SECOND_US)
    assert begins - counts == 23 * 3600 * SECOND_US - 1


def test_limits_come_back_and_those_set_while_running_go_first() -> None:
    limits = tuple(map(parse_limit, (RATE, "1 concurrent", "$5 per day soft")))
    kept = orjson.dumps(claims.to_limits(limits))
    assert claims.from_limits(kept) == limits
    one, other = claims.in_force([Claimant("org"), Claimant("team:a", limits)], [kept, b"[]"])
    assert (one.limits, other.limits) == (limits, ())


def test_whoever_passes_is_told_how_limits_stand_with_it() -> None:
    found = answer(b"passed")
    assert isinstance(found, Standing)
    assert [(one.used, one.held) for one in found.readings] == [(2, 1), (0, 1)]


def test_what_was_taken_before_is_not_asked_for_again() -> None:
    found = answer(b"passed", inside=1)
    assert isinstance(found, Standing)
    assert [(one.used, one.held) for one in found.readings] == [(2, 0), (0, 0)]


def test_whoever_is_stopped_is_told_when_enough_has_rolled_out() -> None:
    first = AT - 30 * SECOND_US
    found = answer(b"stopped", stops=[[0, str(first).encode(), b"1", str(AT).encode(), b"1"]])
    assert isinstance(found, Exceeded)
    assert found.reading.limit == parse_limit(RATE)
    assert found.clears_us == first + 60 * SECOND_US + 60 * SECOND_US // 100
    assert found.asked == FIRST_DOOR.requests
