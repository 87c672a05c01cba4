"""What is kept comes back as it was; and Lua adds as Python does."""

from importlib.resources import files

from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from gateway.adapters.redis import rows
from gateway.core.ledger import OpenCall
from gateway.core.quota import Amounts
from gateway.core.record import CacheUse, Outcome, Record, TokensFrom
from gateway.core.units import NanoUSD
from tests.conftest import EXAMPLES
from tests.support.ledger import NOON, noted, record, records
from tests.support.redis import shared_server
from tests.support.replies import drawing

LEDGER = (files("gateway.adapters.redis") / "lua" / "ledger.lua").read_text("utf-8")
ADD = f"local key = {{}}\n{LEDGER}\nreturn {{plus(ARGV[1], ARGV[2]), plus(ARGV[1], minus(ARGV[2]))}}"
LARGE = 2**61
NUMBERS = st.integers(-LARGE, LARGE) | st.integers(-3, 3).map(lambda n: 2**53 + n) | st.integers(-10, 10)


@given(records(most=5))
def test_a_record_comes_back_as_it_was(several: list[Record]) -> None:
    for one in several:
        kept = rows.to_head(one, "token") + b"\n" + rows.to_rest(one)
        assert rows.from_record(one.id, kept) == one


def test_what_has_its_default_is_not_kept() -> None:
    bare = Record(id="a", at=NOON, method="GET", outcome=Outcome.REFUSED, duration_ms=0.0)
    assert rows.to_rest(bare) == b'{"method":"GET","outcome":"refused","duration_ms":0.0}'


def test_an_open_call_comes_back_with_what_was_asked() -> None:
    for asked in (None, drawing(2, background=True)):
        call = OpenCall(
            record=noted(1, response_id="resp_1"), dispatched=True, deadline=NOON, worker="w", call=asked
        )
        kept, about = rows.to_open(call, "w")
        assert rows.from_open(call.record.id, kept, about) == call
        care = rows.to_care(kept)
        assert (care.worker, care.is_in_the_background, care.deadline) == ("w", True, NOON)


def test_the_signs_of_a_head_are_those_that_the_scripts_look_for() -> None:
    def signs(**changes: object) -> str:
        return rows.to_head(record(1, **changes), "t").decode().split('"')[5]

    assert signs() == "R"
    assert signs(response_id="resp_1") == "RP"
    assert signs(response_id="resp_1", cache=CacheUse.HIT) == "R"
    assert signs(outcome=Outcome.LOST, tokens_from=TokensFrom.ESTIMATED) == "LE"
    assert signs(outcome=Outcome.REFUSED, tokens_from=TokensFrom.NONE) == "X"


@given(st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=2))
def test_instants_as_texts_are_ordered_as_they_are(instants: list[int]) -> None:
    one, other = instants
    assert (rows.at_text(one) < rows.at_text(other)) == (one < other)
    assert rows.at_of(rows.at_text(one)) == one


def test_a_counter_comes_back() -> None:
    used, held = rows.from_tally(b"1 2 3 4 5 6 7 8 9")
    assert used == Amounts(requests=1, images=2, image_tokens=3, tokens=4, cost_nusd=NanoUSD(5))
    assert held == Amounts(images=6, image_tokens=7, tokens=8, cost_nusd=NanoUSD(9))
    assert rows.from_row("team:a\x1fday\x1f00000000000000007") == ("team:a", "day", 7)


@settings(max_examples=EXAMPLES * 3)
@given(one=NUMBERS, other=NUMBERS)
def test_lua_adds_exactly_whatever_the_numbers(one: int, other: int) -> None:
    with Redis(port=shared_server("redis").port, decode_responses=True, protocol=2) as client:
        added, taken = client.eval(ADD, 0, str(one), str(other))
    assert (int(added), int(taken)) == (one + other, one - other)
