from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.units import NanoUSD, PicoUSD, nano, pico, pico_per_token, rounded_up, times, usd_text


@pytest.mark.parametrize(
    ("usd_per_million", "picos"),
    [
        (Decimal("30.00"), 30_000_000),
        (Decimal("0.0625"), 62_500),  # 62.5 nano-dollars: why prices are not kept in nano-dollars
        ("1.5625", 1_562_500),
        (5, 5_000_000),
        ("0.000001", 1),
        (0, 0),
    ],
)
def test_a_price_per_million_tokens_is_a_whole_number_of_picos(
    usd_per_million: Decimal | int | str, picos: int
) -> None:
    assert pico_per_token(usd_per_million) == picos


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ("0.0000001", "finer than 0.000001"),
        ("1e-999999999", "finer than"),
        ("-1", "negative"),
        ("1e999999999", "too large"),
        ("five", "'five' is not a number"),
        ("NaN", "not a number"),
        ("Infinity", "not a number"),
    ],
)
def test_a_price_that_is_none_is_refused_with_the_reason(written: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        pico_per_token(written)


def test_a_fraction_with_more_digits_than_decimal_arithmetic_keeps_is_not_rounded_away() -> None:
    with pytest.raises(ValueError, match="finer than"):
        pico("1.0000000000000000000000000000001")


def test_amounts_in_dollars_are_read_exactly() -> None:
    assert pico("0.016") == 16_000_000_000
    assert nano(Decimal(500)) == 500_000_000_000
    assert nano("0.000000001") == 1
    with pytest.raises(ValueError, match="finer than"):
        nano("0.0000000001")


def test_a_factor_that_leaves_a_part_of_a_pico_is_refused() -> None:
    assert times(PicoUSD(5_000), Decimal("0.5")) == 2_500
    assert times(PicoUSD(4), 2) == 8
    with pytest.raises(ValueError, match="not a whole number"):
        times(PicoUSD(1), Decimal("0.5"))


def test_a_sum_is_rounded_up_once_and_not_each_part() -> None:
    assert rounded_up([PicoUSD(400), PicoUSD(400)]) == 1
    assert rounded_up([PicoUSD(500), PicoUSD(500), PicoUSD(1)]) == 2
    assert rounded_up([]) == 0


def test_a_negative_cost_is_a_bug_and_loud() -> None:
    with pytest.raises(ValueError, match="negative"):
        rounded_up([PicoUSD(-1)])


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (12_300_000, "0.0123"),
        (5_000_000_000, "5"),
        (10_500_000_000, "10.5"),
        (-500_000_000, "-0.5"),
        (9_000_000 * 10**9 + 1, "9000000.000000001"),
    ],
)
def test_an_amount_is_written_as_a_plain_decimal(amount: int, text: str) -> None:
    assert usd_text(NanoUSD(amount)) == text


@given(st.integers(min_value=0, max_value=10**20))
def test_what_is_written_reads_back_as_the_same_amount(amount: int) -> None:
    assert nano(usd_text(NanoUSD(amount))) == amount


@given(st.lists(st.integers(min_value=0, max_value=10**15)))
def test_the_rounding_is_up_and_by_less_than_one_nano(parts: list[int]) -> None:
    excess = rounded_up([PicoUSD(part) for part in parts]) - Fraction(sum(parts), 1000)

    assert 0 <= excess < 1
