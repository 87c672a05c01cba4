"""
Money as whole numbers, and the few conversions between its sizes.

Prices are pico-dollars (10⁻¹² USD) per token or per picture: 62.5 nano-dollars a token exists. Everything that is
stored, reserved, compared or reported is nano-dollars (10⁻⁹ USD). A sum is made in pico-dollars and rounded up
once, so that no rounding is ever in the caller's favour and none is made twice.

The rule that must survive: no float. Decimals appear only while a price or a limit is read from text.

Not here: what anything costs (pricing), how limits are written (limits).
"""

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import NewType

NanoUSD = NewType("NanoUSD", int)
PicoUSD = NewType("PicoUSD", int)

_PICOS_PER_USD = 10**12
_NANOS_PER_USD = 10**9
_PICOS_PER_NANO = 1000
_TOKENS_PER_PRICE = 10**6

# No price, limit or budget is larger. The bound keeps `1e999999999` in a file from becoming a billion digits.
_LARGEST_USD = Decimal(10) ** 12
_MOST_DIGITS = 30


def pico_per_token(usd_per_million: Decimal | int | str) -> PicoUSD:
    """
    A price in USD per million tokens as pico-dollars per token.

    Raises:
        ValueError: it is not a number, negative, or not a whole number of pico-dollars per token.
    """
    return PicoUSD(_whole(usd_per_million, scale=_PICOS_PER_USD // _TOKENS_PER_PRICE, finest="0.000001"))


def pico(usd: Decimal | int | str) -> PicoUSD:
    """
    An amount in USD, such as the price of one picture, as pico-dollars.

    Raises:
        ValueError: it is not a number, negative, or not a whole number of pico-dollars.
    """
    return PicoUSD(_whole(usd, scale=_PICOS_PER_USD, finest="0.000000000001"))


def nano(usd: Decimal | int | str) -> NanoUSD:
    """
    An amount in USD, such as a budget, as nano-dollars.

    Raises:
        ValueError: it is not a number, negative, or not a whole number of nano-dollars.
    """
    return NanoUSD(_whole(usd, scale=_NANOS_PER_USD, finest="0.000000001"))


def times(price: PicoUSD, factor: Decimal | int) -> PicoUSD:
    """
    A price multiplied by a factor of the catalogue, such as a half or 2.5.

    Raises:
        ValueError: the result is negative or not a whole number of pico-dollars.
    """
    product = Fraction(factor) * price
    if product < 0 or product.denominator != 1:
        raise ValueError(f"{price} pico-dollars times {factor} is not a whole number of pico-dollars")
    return PicoUSD(product.numerator)


def rounded_up(parts: Iterable[PicoUSD]) -> NanoUSD:
    """
    The sum of exact parts in nano-dollars, rounded up once.

    Raises:
        ValueError: the sum is negative. Costs are not; what is given back is a difference of nano-dollars.
    """
    total = sum(parts)
    if total < 0:
        raise ValueError(f"a cost of {total} pico-dollars is negative")
    return NanoUSD(-(-total // _PICOS_PER_NANO))


def usd_text(amount: NanoUSD) -> str:
    """Nano-dollars as a plain decimal of USD without trailing zeros: `0.0123`, `5`, `-0.5` for a debt."""
    dollars, nanos = divmod(abs(amount), _NANOS_PER_USD)
    fraction = f".{nanos:09d}".rstrip("0").rstrip(".")
    return f"{'-' if amount < 0 else ''}{dollars}{fraction}"


def _whole(written: Decimal | int | str, *, scale: int, finest: str) -> int:
    try:
        number = Decimal(written)
    except InvalidOperation:
        raise ValueError(f"{written!r} is not a number") from None
    if not number.is_finite():
        raise ValueError(f"{written} is not a number")
    if number < 0:
        raise ValueError(f"{written} is negative")
    if number > _LARGEST_USD:
        raise ValueError(f"{written} is too large")
    if number and number.adjusted() < -_MOST_DIGITS:
        raise ValueError(f"{written} is finer than {finest}")
    # A Fraction, because arithmetic on decimals rounds silently at 28 digits.
    scaled = Fraction(number) * scale
    if scaled.denominator != 1:
        raise ValueError(f"{written} is finer than {finest}")
    return scaled.numerator
