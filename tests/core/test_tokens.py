from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.tokens import (
    PARTIAL_IMAGE_TOKENS,
    FactorRule,
    FormulaRule,
    LargestRule,
    TableRule,
    image_tokens,
    most_image_tokens,
    parse_size,
    round_half_even,
)

TABLE = TableRule(
    {
        "low": {(1024, 1024): 272, (1024, 1536): 408, (1536, 1024): 400},
        "high": {(1024, 1024): 4160, (1024, 1536): 6240, (1536, 1024): 6208},
    }
)
TWO = FormulaRule({"low": 16, "medium": 48, "high": 96})
TWO_FIVE = FormulaRule({"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96})
TWO_SIX = FactorRule(TWO_FIVE, {"low": 4, "medium": 4, "high": 1, "xhigh": 1, "max": 1})

edges = st.integers(min_value=1, max_value=5000)


def test_a_partial_image_has_a_hundred_tokens() -> None:
    assert PARTIAL_IMAGE_TOKENS == 100


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("1024x1536", (1024, 1536)),
        ("1x99999", (1, 99999)),
        ("auto", None),
        ("", None),
        ("1024X1536", None),
        ("1024x1536 ", None),
        ("01024x1024", None),
        ("0x1024", None),
        ("-1x1", None),
        ("100000x1", None),
        ("١٠٢٤x١٠٢٤", None),
    ],
)
def test_a_size_is_two_plain_numbers_and_nothing_else(written: str, size: tuple[int, int] | None) -> None:
    assert parse_size(written) == size


def test_a_table_knows_its_cells_and_nothing_beside_them() -> None:
    assert image_tokens(TABLE, "high", 1024, 1536) == 6240
    assert image_tokens(TABLE, "high", 1254, 1254) is None
    assert image_tokens(TABLE, "max", 1024, 1024) is None


def test_a_formula_knows_every_size_but_only_its_qualities() -> None:
    assert image_tokens(TWO, "high", 1254, 1254) == 8232
    assert image_tokens(TWO, "medium", 1254, 1254) == 2058
    assert image_tokens(TWO, "max", 1254, 1254) is None


def test_a_factor_multiplies_after_the_rule_has_rounded() -> None:
    assert image_tokens(TWO_SIX, "low", 1024, 1024) == 4 * 196
    assert image_tokens(TWO_SIX, "max", 1024, 1024) == 7024
    assert image_tokens(TWO_SIX, "hd", 1024, 1024) is None
    assert image_tokens(FactorRule(TABLE, {"low": 2}), "low", 1, 1) is None


def test_the_largest_of_several_rules_leaves_out_those_that_say_nothing() -> None:
    largest = LargestRule((TABLE, TWO, TWO_SIX))

    assert image_tokens(largest, "low", 1024, 1024) == 784
    assert image_tokens(largest, "high", 1536, 1024) == 6208
    assert image_tokens(largest, "high", 1254, 1254) == 8232
    assert image_tokens(largest, "xhigh", 1024, 1024) == 3122
    assert image_tokens(largest, "hd", 1024, 1024) is None


def test_the_most_of_a_quality_is_the_largest_cell_or_the_whole_square() -> None:
    assert most_image_tokens(TABLE, "high", 2880) == 6240
    assert most_image_tokens(TWO, "high", 2880) == 23_719
    assert most_image_tokens(TWO_SIX, "medium", 2880) == 4 * 1483
    assert most_image_tokens(LargestRule((TABLE, TWO)), "low", 1024) == 408
    assert most_image_tokens(TABLE, "max", 2880) is None
    assert most_image_tokens(TWO_SIX, "hd", 2880) is None


@given(edges, edges, st.sampled_from(["low", "medium", "high", "xhigh", "max"]))
def test_a_formula_does_not_mind_which_way_the_picture_lies(width: int, height: int, quality: str) -> None:
    assert image_tokens(TWO_FIVE, quality, width, height) == image_tokens(TWO_FIVE, quality, height, width)


@given(edges, edges)
def test_a_better_quality_never_has_fewer_tokens(width: int, height: int) -> None:
    tokens = [image_tokens(TWO_FIVE, quality, width, height) or 0 for quality in TWO_FIVE.base]

    assert tokens == sorted(tokens)


@given(edges, edges, st.sampled_from([16, 24, 48, 64, 96]))
def test_the_formula_is_the_guides_in_exact_fractions(width: int, height: int, base: int) -> None:
    """Python rounds a Fraction half to even, as the calculator does."""
    short, long = min(width, height), max(width, height)
    rows = round(Fraction(base * short, long))
    expected = ceil(Fraction(base * rows * (2_000_000 + width * height), 4_000_000))

    assert image_tokens(FormulaRule({"q": base}), "q", width, height) == expected


@given(st.integers(min_value=0, max_value=10**9), st.integers(min_value=1, max_value=10**6))
def test_rounding_agrees_with_fractions(numerator: int, denominator: int) -> None:
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@given(st.integers(min_value=0, max_value=10**6))
def test_a_half_goes_to_the_even_neighbour(whole: int) -> None:
    assert round_half_even(2 * whole + 1, 2) == whole + whole % 2


@given(edges, edges, st.sampled_from(["low", "medium", "high"]))
def test_no_picture_within_a_square_has_more_than_the_square(width: int, height: int, quality: str) -> None:
    """Also the long ones, as long as they have no more pixels."""
    edge = next(edge for edge in range(1, 5001) if edge * edge >= width * height)

    assert (image_tokens(TWO, quality, width, height) or 0) <= (most_image_tokens(TWO, quality, edge) or 0)
