"""
From the prices that a catalogue file writes to every price that can hold.

Decided here: what a left-out price means, what a service tier and a very long input make of the standard price, and
from which day on a written price goes before a factor.

Not here: the keys of the file (catalog_file.py), which price holds for a call (core/catalog.py).
"""

from calendar import timegm
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Final, assert_never

from gateway.catalog_file import ImagePrice, LongInput, TextPrice
from gateway.core import catalog as core
from gateway.core import units
from gateway.core.units import PicoUSD

# Prices that a file leaves out; the head comment of config/models.toml says the same.
_CACHE_WRITE_FACTOR: Final = Decimal("1.25")


def tariffs(
    rows: Sequence[ImagePrice | TextPrice], factors: Mapping[str, Decimal], long_input: LongInput | None
) -> tuple[tuple[core.Tariff, ...], list[str]]:
    """
    Every price that can hold for a model, by day, tier and length of input.

    Args:
        rows: as they are written.
        factors: what each service tier makes of the standard price.
        long_input: what a very long input makes of every price; None: nothing.

    Returns:
        The prices, none if they cannot be worked out, and what is wrong with them, each with what to do.
    """
    try:
        written = [_tariff(row) for row in rows]
        standard = [row for row in written if row.tier == core.STANDARD_TIER]
        made = [*written, *_by_factor(written, standard, factors)]
        found = (*made, *_for_long_input(made, long_input))
    except ValueError as error:
        return (), [f"{error}; write the exact price of that tier"]
    wrong = []
    if len({(row.from_s, row.tier) for row in written}) < len(written):
        wrong.append("two of them have the same `from` and `tier`; keep one")
    if not standard:
        wrong.append("none is for the standard tier; add one without `tier`")
    return found, wrong


def epoch_s(day: date) -> int:
    """The first moment of a day, UTC."""
    return timegm(day.timetuple())


def _tariff(row: ImagePrice | TextPrice) -> core.Tariff:
    return core.Tariff(
        from_s=0 if row.from_ is None else epoch_s(row.from_),
        tier=row.tier or core.STANDARD_TIER,
        over_tokens=0,
        price=_price(row),
    )


def _by_factor(
    written: list[core.Tariff], standard: list[core.Tariff], factors: Mapping[str, Decimal]
) -> list[core.Tariff]:
    """The standard prices times the factor of each tier, up to the day from which that tier has a written price."""
    made: list[core.Tariff] = []
    for tier, factor in factors.items():
        days = [row.from_s for row in written if row.tier == tier]
        made += [
            replace(row, tier=tier, price=_times(row.price, factor, factor))
            for row in standard
            if not days or row.from_s < min(days)
        ]
    return made


def _for_long_input(tariffs: list[core.Tariff], long_input: LongInput | None) -> list[core.Tariff]:
    if long_input is None:
        return []
    return [
        replace(
            row,
            over_tokens=long_input.over,
            price=_times(row.price, long_input.input, long_input.output),
        )
        for row in tariffs
    ]


def _times(price: core.Price, reading: Decimal, writing: Decimal) -> core.Price:
    return core.Price(
        input_text=units.times(price.input_text, reading),
        cached_text=units.times(price.cached_text, reading),
        cache_write=units.times(price.cache_write, reading),
        input_image=units.times(price.input_image, reading),
        cached_image=units.times(price.cached_image, reading),
        output_image=units.times(price.output_image, writing),
        output_text=units.times(price.output_text, writing),
    )


def _price(row: ImagePrice | TextPrice) -> core.Price:
    """A price with everything that the file leaves out filled in; what is left out is never free."""
    input_image = _first(row.input_image, row.input_text)
    cached_text = _first(row.cached_text, row.input_text)
    match row:
        case ImagePrice():
            cached_image = _first(row.cached_image, input_image)
            output_image, output_text = row.output_image, _first(row.output_text, row.output_image)
        case TextPrice():
            cached_image = _first(row.cached_image, cached_text)
            output_image, output_text = row.output_text, row.output_text
        case _:
            assert_never(row)
    return core.Price(
        input_text=row.input_text,
        cached_text=cached_text,
        cache_write=_first(row.cache_write, units.times(row.input_text, _CACHE_WRITE_FACTOR)),
        input_image=input_image,
        cached_image=cached_image,
        output_image=output_image,
        output_text=output_text,
    )


def _first(written: PicoUSD | None, instead: PicoUSD) -> PicoUSD:
    return instead if written is None else written
