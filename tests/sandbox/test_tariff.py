"""The sandbox's own arithmetic, against figures that OpenAI printed."""

from fractions import Fraction

import pytest

from gateway.sandbox import tariff
from gateway.sandbox.tariff import Model

NOW = 1_795_000_000.0


def model(name: str) -> Model:
    found = tariff.find(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "quality", "size", "tokens"),
    [
        ("gpt-image-1", "low", (1024, 1024), 272),
        ("gpt-image-1-mini", "medium", (1024, 1536), 1584),
        ("gpt-image-1.5", "high", (1536, 1024), 6208),
        ("gpt-image-2", "low", (1024, 1024), 196),
        ("gpt-image-2", "medium", (1024, 1536), 1372),
        ("gpt-image-2", "high", (3840, 2160), 13342),
        ("gpt-image-2", "high", (1254, 1254), 8232),
        ("gpt-image-2.5-flare", "medium", (2048, 1152), 367),
        ("gpt-image-2.5-sunburst", "xhigh", (2560, 1440), 3276),
        ("gpt-image-2.5-sunburst", "max", (1024, 1024), 7024),
        ("gpt-image-2.6-sunburst", "low", (1024, 1024), 4 * 196),
        ("gpt-image-2.6-sunburst", "max", (2048, 2048), 14272),
        ("gpt-image-9", "low", (1024, 1024), 784),
        ("gpt-image-9", "high", (1024, 1536), 6240),
    ],
)
def test_a_picture_has_the_published_tokens(
    name: str, quality: str, size: tuple[int, int], tokens: int
) -> None:
    assert tariff.image_tokens(model(name), quality, size) == tokens


def test_a_size_outside_the_table_counts_as_the_largest_picture() -> None:
    assert tariff.image_tokens(model("gpt-image-1"), "high", (1254, 1254)) == 6240


@pytest.mark.parametrize(
    ("name", "tokens", "tier", "nano"),
    [
        ("gpt-image-1", {"input_text": 14, "output_image": 472}, "default", 14 * 5_000 + 472 * 40_000),
        ("gpt-image-1-mini", {"cached_image": 1000, "input_image": 8}, "default", 250_000 + 8 * 2_500),
        ("gpt-image-2", {"output_image": 196}, "flex", 196 * 30_000),
        (
            "gpt-5",
            {"input_text": 100, "cached_text": 128, "output_text": 10},
            "default",
            125_000 + 16_000 + 100_000,
        ),
        ("gpt-5", {"input_text": 100, "output_text": 10}, "flex", 62_500 + 50_000),
        ("gpt-4.1", {"input_text": 100}, "priority", 350_000),
        ("gpt-4o-mini", {"input_text": 100}, "priority", 25_000),
        ("gpt-5.4", {"input_text": 272_001, "output_text": 2}, "default", 272_001 * 5_000 + 2 * 22_500),
    ],
)
def test_tokens_cost_what_the_price_list_says(
    name: str, tokens: dict[str, int], tier: str, nano: int
) -> None:
    assert tariff.cost_pico(model(name), tokens, tier, NOW) == Fraction(nano * 1000)


def test_a_picture_of_dall_e_has_a_fixed_price() -> None:
    assert tariff.picture_pico(model("dall-e-3"), "hd", (1792, 1024)) == 120_000_000_000
    assert tariff.picture_pico(model("dall-e-2"), "standard", (512, 512)) == 18_000_000_000


def test_a_name_of_a_known_family_is_priced_as_its_stand_in_and_another_is_unknown() -> None:
    found = model("gpt-image-9")

    assert (found.known, found.kind) == (False, "image")
    assert tariff.cost_pico(found, {"output_image": 1}, "default", NOW) == 40_000 * 1000
    assert tariff.find("no-such-model") is None
