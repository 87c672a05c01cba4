"""
How many output image tokens a picture has, by the rule of its model.

Integers only. Which model follows which rule, and with which numbers, is the catalogue's business; what OpenAI
reports is the truth and goes before any rule. The rules serve to reserve before a call, to check a report, and to
fill in for one that is missing.

Sources: the table is printed in OpenAI's image generation guide; the formula is that of the calculator in the same
guide; 100 tokens for a partial image is the guide's sentence on streaming.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from re import compile as pattern
from typing import TypeAlias, assert_never

PARTIAL_IMAGE_TOKENS = 100

Size: TypeAlias = tuple[int, int]  # width and height in pixels

# Five digits hold every size there is; more would only make our own sums large.
_SIZE = pattern(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")

# The area enters as (2 000 000 + w · h) / 4 000 000.
_AREA_OFFSET = 2_000_000
_AREA_DIVISOR = 4_000_000


@dataclass(frozen=True, slots=True)
class TableRule:
    """Tokens by quality and size; nothing is known about other sizes."""

    tokens: Mapping[str, Mapping[Size, int]]


@dataclass(frozen=True, slots=True)
class FormulaRule:
    """Tokens for any size, from one base number for each quality."""

    base: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FactorRule:
    """Another rule's tokens, a whole number of times, by quality."""

    of: "TokenRule"
    factor: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LargestRule:
    """The largest of what several rules say: for models of which only the family is known."""

    of: "tuple[TokenRule, ...]"


TokenRule: TypeAlias = TableRule | FormulaRule | FactorRule | LargestRule


def parse_size(written: str) -> Size | None:
    """Width and height of `1024x1536`; None for anything else, `auto` included."""
    found = _SIZE.fullmatch(written)
    return (int(found[1]), int(found[2])) if found else None


def image_tokens(rule: TokenRule, quality: str, width: int, height: int) -> int | None:
    """
    Output tokens of one picture, without partial images.

    Args:
        rule: the model's.
        quality: a resolved one, such as `high`; not `auto`.
        width: in pixels. Any positive number: `auto` resolves to sizes that could not be asked for.
        height: likewise.

    Returns:
        None where the rule says nothing: a quality it does not have, a size outside its table.
    """
    match rule:
        case TableRule(tokens):
            return tokens.get(quality, {}).get((width, height))
        case FormulaRule(base):
            return _formula(base[quality], width, height) if quality in base else None
        case FactorRule(of, factor):
            tokens_of = image_tokens(of, quality, width, height)
            return None if tokens_of is None or quality not in factor else tokens_of * factor[quality]
        case LargestRule(of):
            return _largest(image_tokens(each, quality, width, height) for each in of)
        case _:
            assert_never(rule)


def most_image_tokens(rule: TokenRule, quality: str, edge: int) -> int | None:
    """
    The most that one picture of a quality can have, whatever its size.

    Args:
        rule: the model's.
        quality: a resolved one.
        edge: in pixels; no allowed size is larger in area than this square.

    Returns:
        An upper bound: the largest entry of a table, a formula's value for the square. None for a quality that
        the rule does not have.
    """
    match rule:
        case TableRule(tokens):
            return max(tokens.get(quality, {}).values(), default=None)
        case FormulaRule():
            # At a given area the square has the most, and more area never has less.
            return image_tokens(rule, quality, edge, edge)
        case FactorRule(of, factor):
            most_of = most_image_tokens(of, quality, edge)
            return None if most_of is None or quality not in factor else most_of * factor[quality]
        case LargestRule(of):
            return _largest(most_image_tokens(each, quality, edge) for each in of)
        case _:
            assert_never(rule)


def round_half_even(numerator: int, denominator: int) -> int:
    """A quotient of positive integers, rounded to the nearest integer, a half to the even one."""
    quotient, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1):
        return quotient + 1
    return quotient


def _formula(base: int, width: int, height: int) -> int:
    short, long = sorted((width, height))
    rows = round_half_even(base * short, long)
    return -(-base * rows * (_AREA_OFFSET + width * height) // _AREA_DIVISOR)


def _largest(said: Iterator[int | None]) -> int | None:
    return max((tokens for tokens in said if tokens is not None), default=None)
