import pytest

from gateway.core.limits import Unit
from gateway.core.quota import Amounts, Tally
from gateway.core.units import NanoUSD
from gateway.core.verify import (
    FOLDED,
    Books,
    Broken,
    Counter,
    Hold,
    Inside,
    Row,
    Seat,
    What,
    broken,
    charges_by_scope,
)

DAY = 1_799_971_200_000_000
"""2027-01-15."""
TOMORROW = DAY + 86_400_000_000
ORG: Row = ("org", "day", DAY)
SOME = Amounts(images=1, image_tokens=272, tokens=283, cost_nusd=NanoUSD(8_160_000))


def hold(**changes: object) -> Hold:
    about: dict[str, object] = {
        "id": "igr_1",
        "rows": (ORG,),
        "amounts": SOME,
        "lost": False,
        "has_owner": True,
    }
    return Hold(**(about | changes))  # type: ignore[arg-type]


def whats(books: Books) -> list[What]:
    return [one.what for one in broken(books)]


def test_nothing_adds_up_to_nothing() -> None:
    assert broken(Books(tallies={}, charges={})) == ()


def test_records_are_charged_to_the_organisation_their_team_and_their_key() -> None:
    charges = charges_by_scope([(DAY, "a", "k1", SOME), (DAY, "a", "k2", SOME), (DAY, None, None, SOME)])
    assert charges == {
        ORG: SOME + SOME + SOME,
        ("team:a", "day", DAY): SOME + SOME,
        ("key:k1", "day", DAY): SOME,
        ("key:k2", "day", DAY): SOME,
    }


def test_what_is_used_is_what_the_records_come_to() -> None:
    assert broken(Books(tallies={ORG: Tally(SOME)}, charges={ORG: SOME})) == ()
    (found,) = broken(
        Books(
            tallies={ORG: Tally(SOME)},
            charges={
                ORG: Amounts(images=1, image_tokens=272, tokens=283, cost_nusd=NanoUSD(8_000_000)),
            },
        )
    )
    assert found == Broken(What.USED, Counter(*ORG, Unit.USD), 8_160_000, 8_000_000)
    assert str(found) == (
        "org, the day from 2027-01-15T00:00:00Z: $0.00816 used, but its records come to $0.008."
    )


def test_records_without_their_counter_are_found() -> None:
    assert whats(Books(tallies={}, charges={ORG: SOME})) == [What.USED] * 4


def test_a_counter_of_requests_alone_needs_no_record() -> None:
    assert broken(Books(tallies={ORG: Tally(Amounts(requests=9))}, charges={})) == ()


@pytest.mark.parametrize("marks", [{"pruned_us": DAY}, {"folded_us": TOMORROW}])
def test_days_whose_records_may_be_gone_are_not_judged(marks: dict[str, int]) -> None:
    later: Row = ("org", "day", TOMORROW)
    books = Books(tallies={ORG: Tally(SOME), later: Tally(SOME)}, charges={}, **marks)  # type: ignore[arg-type]
    assert {one.where.start_us for one in broken(books) if isinstance(one.where, Counter)} == {TOMORROW}


@pytest.mark.parametrize("grain", ["second", "minute", "hour"])
def test_what_rolling_windows_say_was_used_is_not_judged(grain: str) -> None:
    assert broken(Books(tallies={("org", grain, DAY): Tally(SOME)}, charges={})) == ()


def test_what_is_held_is_what_open_calls_hold() -> None:
    minute: Row = ("org", "minute", DAY)
    one, two = hold(rows=(ORG, minute)), hold(id="igr_2")
    tallies = {ORG: Tally(held=SOME + SOME), minute: Tally(held=SOME)}
    assert broken(Books(tallies=tallies, charges={}, holds=[one, two])) == ()
    found = broken(Books(tallies=tallies, charges={}, holds=[one]))
    assert [(one.what, one.found, one.expected) for one in found] == [
        (What.HELD, 2, 1),
        (What.HELD, 544, 272),
        (What.HELD, 566, 283),
        (What.HELD, 16_320_000, 8_160_000),
    ]
    assert str(found[0]) == (
        "org, the day from 2027-01-15T00:00:00Z: 2 images held, but its open calls hold 1 image."
    )


def test_a_hold_whose_counter_has_rolled_out_is_well() -> None:
    assert broken(Books(tallies={}, charges={}, holds=[hold(rows=(("org", "second", DAY),))])) == ()


def test_a_hold_of_a_day_that_was_made_one_with_others_is_looked_for_there() -> None:
    folded: Row = ("org", "day", FOLDED)
    tallies = {folded: Tally(SOME, SOME)}
    assert broken(Books(tallies=tallies, charges={}, holds=[hold()], folded_us=TOMORROW)) == ()
    found = broken(Books(tallies=tallies, charges={}, folded_us=TOMORROW))
    assert str(found[0]) == "org, the old days together: 1 image held, but its open calls hold 0 images."


def test_what_was_lost_is_used_and_held_no_more() -> None:
    books = Books(tallies={ORG: Tally(SOME)}, charges={ORG: SOME}, holds=[hold(lost=True)])
    assert broken(books) == ()


def test_nothing_is_below_zero() -> None:
    less = Amounts(requests=-1, images=-2, cost_nusd=NanoUSD(-5_000_000))
    found = broken(Books(tallies={("org", "hour", DAY): Tally(less)}, charges={}))
    assert [str(one) for one in found] == [
        "org, hour grain from 2027-01-15T00:00:00Z: -1 requests used, which is less than nothing.",
        "org, hour grain from 2027-01-15T00:00:00Z: -2 images used, which is less than nothing.",
        "org, hour grain from 2027-01-15T00:00:00Z: -$0.005 used, which is less than nothing.",
    ]
    assert whats(Books(tallies={ORG: Tally(less)}, charges={})) == [What.USED, What.USED, What.NEGATIVE]


def test_a_hold_has_its_open_call_and_a_loss_its_record() -> None:
    ownerless = hold(has_owner=False)
    found = broken(Books(tallies={ORG: Tally(held=SOME)}, charges={}, holds=[ownerless]))
    assert str(found[0]) == "call igr_1: it holds something, but it is not open."
    assert {one.what for one in found} == {What.HOLD_WITHOUT_CALL, What.HELD}
    lost = hold(has_owner=False, lost=True)
    (one,) = broken(Books(tallies={}, charges={}, holds=[lost]))
    assert str(one) == "call igr_1: it was charged for the time being, but has no record that says so."
    assert broken(Books(tallies={}, charges={}, holds=[lost], pruned_us=DAY)) == ()


INSIDE = Inside("igr_1", frozenset({"org", "key:k"}), has_worker=True, has_record=False)
SEATS = [Seat("key:k", "igr_1"), Seat("org", "igr_1")]


@pytest.mark.parametrize(
    ("inside", "places", "sentences"),
    [
        ([INSIDE], SEATS, []),
        ([INSIDE], SEATS[:1], ["org, call igr_1: it is inside, but has no place there."]),
        ([], SEATS[1:], ["org, call igr_1: it has a place, but is not inside."]),
        (
            [Inside("igr_1", frozenset({"org"}), has_worker=False, has_record=False)],
            SEATS[1:],
            ["call igr_1: it is inside, in the care of a worker that nobody knows."],
        ),
        (
            [Inside("igr_1", frozenset({"org"}), has_worker=True, has_record=True)],
            SEATS[1:],
            ["call igr_1: it is inside, but has its record."],
        ),
    ],
)
def test_whoever_is_inside_has_places_a_worker_and_no_record(
    inside: list[Inside], places: list[Seat], sentences: list[str]
) -> None:
    found = broken(Books(tallies={}, charges={}, inside=inside, places=places))
    assert [str(one) for one in found] == sentences


def test_a_request_has_one_record_and_a_response_is_paid_once() -> None:
    found = broken(
        Books(tallies={}, charges={}, recorded_twice={"igr_1": 2}, paid_twice={"resp_1": 3}),
    )
    assert [str(one) for one in found] == [
        "request igr_1: it has 2 records, not one.",
        "response resp_1: 3 records pay for it, not one.",
    ]
