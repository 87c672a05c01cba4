from datetime import date
from decimal import Decimal

import pytest

from gateway.catalog_file import ImagePrice, LongInput, TextPrice
from gateway.catalog_prices import epoch_s, tariffs
from gateway.core.catalog import STANDARD_TIER, Price, Tariff

DECEMBER = date(2026, 12, 1)
DECEMBER_S = 1_796_083_200  # 2026-12-01T00:00:00Z
HALF = {"batch": Decimal("0.5")}


def image(**written: object) -> ImagePrice:
    return ImagePrice.model_validate({"input_text": 1, "output_image": 2, **written})


def text(**written: object) -> TextPrice:
    return TextPrice.model_validate({"input_text": 1, "output_text": 2, **written})


def good(
    *rows: ImagePrice | TextPrice,
    factors: dict[str, Decimal] | None = None,
    long_input: LongInput | None = None,
) -> tuple[Tariff, ...]:
    found, wrong = tariffs(rows, factors or {}, long_input)
    assert wrong == []
    return found


def price(row: ImagePrice | TextPrice) -> Price:
    (only,) = good(row)
    assert (only.from_s, only.tier, only.over_tokens) == (0, STANDARD_TIER, 0)
    return only.price


def test_an_image_price_that_is_left_out_is_never_free() -> None:
    said = price(image())

    assert [getattr(said, kind) for kind in ("input_text", "cached_text", "input_image", "cached_image")] == [
        1_000_000
    ] * 4
    assert said.cache_write == 1_250_000
    assert said.output_image == said.output_text == 2_000_000


def test_cached_pictures_cost_as_pictures_of_an_image_model_and_as_cached_text_of_a_mainline_model() -> None:
    assert price(image(input_image=8, cached_text=Decimal("0.25"))).cached_image == 8_000_000
    assert price(text(input_image=8, cached_text=Decimal("0.25"))).cached_image == 250_000


def test_a_mainline_models_output_is_one_price() -> None:
    said = price(text(output_text=5))

    assert said.output_image == said.output_text == 5_000_000


def test_a_price_may_change_on_a_day() -> None:
    found = good(image(), image(**{"from": DECEMBER, "output_image": 3}))

    assert [(each.from_s, each.price.output_image) for each in found] == [
        (0, 2_000_000),
        (DECEMBER_S, 3_000_000),
    ]


def test_a_written_tier_price_holds_from_its_day_and_the_factor_until_then() -> None:
    later = image(**{"from": DECEMBER, "output_image": 3})
    exact = image(**{"from": DECEMBER, "tier": "batch", "output_image": Decimal("1.75")})

    found = good(image(), later, exact, factors=HALF)

    batch = {each.from_s: each.price.output_image for each in found if each.tier == "batch"}
    assert batch == {0: 1_000_000, DECEMBER_S: 1_750_000}


def test_a_very_long_input_multiplies_every_tier() -> None:
    long = LongInput(over=100, input=Decimal(2), output=Decimal("1.5"))

    found = good(text(), factors=HALF, long_input=long)

    told = {(each.tier, each.over_tokens): each.price for each in found}
    assert set(told) == {("standard", 0), ("batch", 0), ("standard", 100), ("batch", 100)}
    assert (told["batch", 100].input_text, told["batch", 100].output_text) == (1_000_000, 1_500_000)


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([image(tier="batch")], ["none is for the standard tier; add one without `tier`"]),
        ([image(), image()], ["two of them have the same `from` and `tier`; keep one"]),
        (
            [image(output_image=Decimal("0.000001"))],
            [
                "1 pico-dollars times 0.5 is not a whole number of pico-dollars; write the exact price of that tier"
            ],
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(rows: list[ImagePrice], wrong: list[str]) -> None:
    assert tariffs(rows, HALF, None)[1] == wrong


def test_prices_that_cannot_be_worked_out_are_none() -> None:
    assert tariffs([image(output_image=Decimal("0.000001"))], HALF, None)[0] == ()


def test_a_day_begins_at_midnight_utc() -> None:
    assert epoch_s(DECEMBER) == DECEMBER_S
