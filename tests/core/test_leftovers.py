"""What dead workers leave."""

import pytest

from gateway.core.ledger import OpenCall
from gateway.core.leftovers import care_of
from tests.support.ledger import NOON, record


def call(response: str | None, deadline: float | None) -> OpenCall:
    return OpenCall(record=record(1, response_id=response), deadline=deadline, worker="w")


@pytest.mark.parametrize(
    ("response", "deadline", "alive", "lost", "watched"),
    [
        (None, None, True, False, False),
        (None, None, False, True, False),
        (None, NOON + 1, True, False, False),
        (None, NOON, True, True, False),
        ("resp_1", None, False, False, True),
        ("resp_1", NOON + 1, False, False, True),
        ("resp_1", NOON, True, True, False),
    ],
)
def test_a_call_ends_with_its_worker_unless_it_runs_in_the_background_until_its_deadline(
    response: str | None, deadline: float | None, *, alive: bool, lost: bool, watched: bool
) -> None:
    known = care_of(call(response, deadline))
    assert known.is_lost({"w"} if alive else set(), NOON) is lost
    assert known.is_watched(NOON) is watched
