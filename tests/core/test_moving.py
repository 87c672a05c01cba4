import pytest

from gateway.core.moving import Counted, Limited, Moved, Settled, Whole, hindrance
from gateway.core.quota import Tally
from gateway.core.verify import Broken, What
from tests.support.ledger import record

BROKEN = Broken(What.PAID_TWICE, "resp_1", 2, 1)


@pytest.mark.parametrize(
    ("living", "waiting", "broken", "force", "said"),
    [
        (0, 0, [], False, None),
        (1, 0, [], False, "1 worker is alive"),
        (2, 0, [BROKEN], False, "2 workers are alive"),
        (0, 1, [], False, "1 entry waits in the outbox"),
        (2, 3, [], True, None),
        (2, 3, [BROKEN], True, "does not add up"),
        (0, 0, [BROKEN], False, "response resp_1: 2 records pay for it, not one."),
    ],
)
def test_what_stands_in_the_way(
    living: int, waiting: int, broken: list[Broken], *, force: bool, said: str | None
) -> None:
    found = hindrance(living, waiting, broken, force=force)
    assert found is None if said is None else said in str(found)


def test_what_was_moved_is_counted_and_told() -> None:
    moved = Moved(answers_left=3)
    moved.count([Settled(record(1), None, 0), Settled(record(2), None, 0), Limited("org", ()), Whole(0, 0)])
    moved.count([Counted(("org", "day", 0), Tally())])
    assert str(moved) == "2 records, 0 open calls, 1 counter, 1 limit, 0 keys, 0 answers"
