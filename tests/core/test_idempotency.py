"""`core.idempotency`: what a key of the client stands for."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.artefact import PLAIN, Form
from gateway.core.errors import Code, Refused
from gateway.core.idempotency import (
    MOST_BYTES,
    Known,
    Next,
    Once,
    State,
    fate,
    name_of,
    next_of,
    outcome_unknown,
    read,
    under_way,
)
from gateway.core.observation import End, Ending, Image, Observation, unanswered
from gateway.core.settle import UNSURE

PICTURE = (Image(finished=True),)
ONCE = Once(name_of(("org", "team"), "POST", "images.edits", b"a"), "fox")


def answered(status: int = 200, **seen: object) -> Observation:
    return Observation(ending=Ending.CLEAN, status=status, **seen)  # type: ignore[arg-type]  # a table of cases


class TestRead:
    def test_none_is_none(self) -> None:
        assert read([(b"idempotency-keys", b"a")]) is None

    @pytest.mark.parametrize("key", [b"a", b"\xff", b" " * MOST_BYTES])
    def test_it_is_taken_as_it_is(self, key: bytes) -> None:
        assert read([(b"x", b"y"), (b"idempotency-key", key)]) == key

    @pytest.mark.parametrize("keys", [[b""], [b"a" * (MOST_BYTES + 1)], [b"a", b"a"], [b"a", b"b"]])
    def test_what_cannot_be_one_is_refused(self, keys: list[bytes]) -> None:
        with pytest.raises(Refused) as refused:
            read([(b"idempotency-key", key) for key in keys])
        assert (refused.value.refusal.code, refused.value.refusal.param) == (
            Code.INVALID_HEADER,
            "Idempotency-Key",
        )


class TestNames:
    def test_a_golden_digest_guards_the_version(self) -> None:
        assert ONCE.name == "i1-6f071e2b664a7f50dd5b2fa17530fcfab300eac6fa7bac49357922bf14a970fe"

    def test_everything_counts(self) -> None:
        owners = [("o", "t"), ("o", "t2"), ("o", "t", "k"), ("ot",), ("o", "")]
        names = {
            name_of(owner, method, route, key)
            for owner, method, route, key in product(
                owners, ["POST", "PUT"], ["images.edits", "responses.create"], [b"a", b"b", b"aa"]
            )
        }
        assert len(names) == 5 * 2 * 2 * 3

    @given(parts=st.lists(st.text(max_size=5), min_size=1, max_size=4), cut=st.integers(0, 8))
    def test_no_two_lists_of_parts_are_one(self, parts: list[str], cut: int) -> None:
        joined = "".join(parts)
        other = [joined[:cut], joined[cut:]]
        same = name_of(parts, "POST", "r", b"k") == name_of(other, "POST", "r", b"k")
        assert same == (parts == other)

    def test_flights_of_other_requests_and_forms_are_others(self) -> None:
        other = Once(ONCE.name, "dog")
        assert len({one.flight(form) for one in (ONCE, other) for form in (PLAIN, Form(stream=True))}) == 4


class TestNext:
    def test_a_new_key_makes_the_call(self) -> None:
        assert next_of(None, ONCE) is Next.GO

    @pytest.mark.parametrize(
        ("state", "what"), [(State.KEPT, Next.REPLAY), (State.OPEN, Next.JOIN), (State.NOTED, Next.GO)]
    )
    def test_the_same_request_is_given_the_same_answer(self, state: State, what: Next) -> None:
        assert next_of(Known("fox", "igr_1", state), ONCE) is what

    @pytest.mark.parametrize("state", State)
    def test_another_request_is_refused_whatever_became_of_the_first(self, state: State) -> None:
        with pytest.raises(Refused) as refused:
            next_of(Known("dog", "igr_1", state), ONCE)
        assert refused.value.refusal.code is Code.IDEMPOTENCY_KEY_REUSED

    def test_of_a_call_that_was_cut_nobody_knows(self) -> None:
        with pytest.raises(Refused) as refused:
            next_of(Known("fox", "igr_1", State.CUT), ONCE)
        assert refused.value.refusal == outcome_unknown()

    def test_only_a_call_that_is_under_way_can_be_asked_for_again(self) -> None:
        for refusal, may_retry in ((outcome_unknown(), False), (under_way(), True)):
            assert (refusal.code.status, refusal.should_retry) == (409, may_retry)


class TestFate:
    def test_a_call_that_did_not_go_up_frees_its_key(self) -> None:
        assert fate(None, draws=True) is None
        assert fate(unanswered(sent=False), draws=True) is None

    @pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.LEFT])
    @pytest.mark.parametrize("status", [None, 200, 500])
    def test_a_call_that_broke_off_keeps_it(self, ending: Ending, status: int | None) -> None:
        assert fate(Observation(ending=ending, status=status), draws=True) is State.CUT

    @pytest.mark.parametrize("status", [301, 400, 404, 429, 500, 502, 503])
    def test_an_error_frees_it(self, status: int) -> None:
        assert fate(answered(status, whole=True), draws=True) is None

    def test_a_server_error_that_cannot_be_read_keeps_it(self) -> None:
        """What it cost is not known either."""
        assert fate(answered(502), draws=True) is State.CUT

    @pytest.mark.parametrize("status", sorted(UNSURE))
    def test_an_error_behind_which_work_may_go_on_keeps_it(self, status: int) -> None:
        assert fate(answered(status, whole=True), draws=True) is State.CUT

    def test_an_answer_that_says_it_failed_frees_it(self) -> None:
        assert fate(answered(response_status="failed", whole=True), draws=False) is None
        assert fate(answered(stream=True, end=End.FAILED), draws=True) is None

    def test_a_stream_without_its_end_keeps_it(self) -> None:
        assert fate(answered(stream=True), draws=True) is State.CUT

    @pytest.mark.parametrize(
        "seen",
        [
            answered(whole=True, images=PICTURE),
            answered(201, whole=True, images=PICTURE),
            answered(stream=True, end=End.COMPLETED, images=PICTURE),
        ],
    )
    def test_a_complete_answer_with_a_picture_is_given_again(self, seen: Observation) -> None:
        assert fate(seen, draws=True) is State.KEPT

    @pytest.mark.parametrize(
        "seen",
        [
            answered(whole=True, response_id="resp_1"),
            answered(whole=True, response_id="resp_1", response_status="queued"),
            answered(whole=True, response_id="resp_1", response_status="incomplete"),
            answered(stream=True, end=End.COMPLETED),
            answered(stream=True, end=End.INCOMPLETE),
        ],
    )
    def test_a_complete_response_is_given_again(self, seen: Observation) -> None:
        assert fate(seen, draws=False) is State.KEPT

    @pytest.mark.parametrize(
        ("seen", "draws"),
        [
            (answered(), True),
            (answered(images=PICTURE), True),
            (answered(whole=True), True),
            (answered(stream=True, end=End.COMPLETED), True),
            (answered(), False),
            (answered(whole=True), False),
        ],
        ids=["no JSON", "cut JSON", "no picture", "a stream without one", "no JSON", "no response"],
    )
    def test_what_may_be_anything_keeps_it(self, seen: Observation, *, draws: bool) -> None:
        assert fate(seen, draws=draws) is State.CUT
