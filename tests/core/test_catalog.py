from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.catalog import (
    Catalog,
    Family,
    ImageModel,
    PerImageModel,
    Price,
    SizeLimits,
    Tariff,
    TextModel,
    input_image_max_tokens,
    is_dated,
    price_of,
)
from gateway.core.tokens import FormulaRule, TableRule
from gateway.core.units import PicoUSD

DAY_S = 86_400
LIMITS = SizeLimits(multiple_of=16, max_edge=3840, max_ratio=3, min_pixels=655_360, max_pixels=8_294_400)


def flat_price(picos: int) -> Price:
    each = PicoUSD(picos)
    return Price(
        input_text=each,
        cached_text=each,
        cache_write=each,
        input_image=each,
        cached_image=each,
        output_image=each,
        output_text=each,
    )


def tariff(picos: int, *, from_s: int = 0, tier: str = "standard", over_tokens: int = 0) -> Tariff:
    return Tariff(from_s=from_s, tier=tier, over_tokens=over_tokens, price=flat_price(picos))


FREE_SIZE = ImageModel(
    names=("painter", "painter-2026-01-02"),
    moving=frozenset({"painter"}),
    shutdown_s=None,
    rule=FormulaRule({"low": 16, "medium": 48, "high": 96}),
    auto_max_tokens=23_719,
    input_image_max_tokens=1536,
    qualities=("low", "medium", "high"),
    sizes=LIMITS,
    tariffs=(tariff(30),),
)
FIXED_SIZE = replace(
    FREE_SIZE,
    names=("drawer",),
    rule=TableRule(
        {
            "low": {(1024, 1024): 272, (1024, 1536): 408},
            "high": {(1024, 1024): 4160, (1024, 1536): 6240},
        }
    ),
    auto_max_tokens=6240,
    qualities=("low", "high"),
    sizes=((1024, 1024), (1024, 1536)),
)
BY_THE_PICTURE = PerImageModel(
    names=("press",),
    moving=frozenset(),
    shutdown_s=None,
    prices={("standard", (1024, 1024)): PicoUSD(40), ("hd", (1024, 1024)): PicoUSD(80)},
    default_quality="standard",
    default_size=(1024, 1024),
)
WRITER = TextModel(
    names=("writer",),
    moving=frozenset(),
    shutdown_s=None,
    input_image_max_tokens=1445,
    tariffs=(
        tariff(10),
        tariff(20, over_tokens=272_000),
        tariff(8, from_s=100 * DAY_S),
        tariff(16, from_s=100 * DAY_S, over_tokens=272_000),
        tariff(5, tier="flex"),
    ),
)
CATALOG = Catalog(
    models={
        "painter": FREE_SIZE,
        "painter-2026-01-02": FREE_SIZE,
        "drawer": FIXED_SIZE,
        "press": BY_THE_PICTURE,
        "writer": WRITER,
    },
    families=(
        Family(match="paint*", priced_as="painter", model=FREE_SIZE),
        Family(match="*", priced_as="writer", model=WRITER),
    ),
    defaults={"images.generations": "painter"},
    default_tool_model="painter",
    tool_prices={"web_search": PicoUSD(10**10)},
)


class TestLookUps:
    def test_a_model_is_found_by_its_exact_name_only(self) -> None:
        assert CATALOG.find("painter-2026-01-02") is FREE_SIZE
        assert CATALOG.find("Painter") is None
        assert CATALOG.find("painter-2") is None

    def test_the_first_family_that_matches_counts(self) -> None:
        family = CATALOG.family_of("painter-2")
        other = CATALOG.family_of("scribe")

        assert family is not None
        assert family.priced_as == "painter"
        assert other is not None
        assert other.priced_as == "writer"

    def test_case_counts_in_a_glob_and_a_name_may_have_no_family(self) -> None:
        catalog = replace(CATALOG, families=CATALOG.families[:1])

        assert catalog.family_of("PAINT") is None

    def test_a_route_has_a_default_or_none(self) -> None:
        assert CATALOG.default_model("images.generations") == "painter"
        assert CATALOG.default_model("responses.create") is None

    @pytest.mark.parametrize(
        ("name", "may"),
        [
            ("painter", True),
            ("painter-2026-01-02", False),
            ("drawer", False),
            ("unheard-of", True),
            ("unheard-of-2027-01-02", False),
        ],
    )
    def test_what_may_move_is_what_the_catalogue_says_and_unknown_names_without_a_date(
        self, name: str, *, may: bool
    ) -> None:
        assert CATALOG.may_move(name) is may

    def test_a_dated_name_ends_in_a_day(self) -> None:
        assert is_dated("gpt-image-2-2026-04-21")
        assert not is_dated("gpt-image-2-2026-04-21-preview")
        assert not is_dated("gpt-image-2")


class TestMaxTokens:
    def test_where_both_are_named_it_is_the_exact_number(self) -> None:
        assert FREE_SIZE.max_tokens("high", "1024x1024") == 7024
        assert FREE_SIZE.tokens("high", "1024x1024") == 7024
        assert FIXED_SIZE.max_tokens("low", "1024x1536") == 408

    @pytest.mark.parametrize("quality", [None, "", "auto"])
    def test_an_open_quality_is_the_dearest_at_that_size(self, quality: str | None) -> None:
        assert FREE_SIZE.max_tokens(quality, "1024x1536") == 5488
        assert FIXED_SIZE.max_tokens(quality, "1024x1024") == 4160

    @pytest.mark.parametrize("size", [None, "", "auto", "large", "1024 x 1024"])
    def test_an_open_or_unreadable_size_is_the_dearest_of_that_quality(self, size: str | None) -> None:
        assert FREE_SIZE.max_tokens("low", size) == 659
        assert FIXED_SIZE.max_tokens("low", size) == 408

    def test_where_neither_is_named_it_is_the_catalogues_bound(self) -> None:
        assert FREE_SIZE.max_tokens(None, None) == 23_719
        assert FIXED_SIZE.max_tokens("auto", "auto") == 6240

    def test_an_operator_may_set_the_bound_lower(self) -> None:
        thrifty = replace(FREE_SIZE, auto_max_tokens=8232)

        assert thrifty.max_tokens("auto", "auto") == 8232
        assert thrifty.max_tokens("low", "auto") == 659

    def test_an_unknown_quality_or_size_outside_the_table_is_the_catalogues_bound(self) -> None:
        assert FREE_SIZE.max_tokens("ultra", "1024x1024") == 23_719
        assert FREE_SIZE.max_tokens("ultra", None) == 23_719
        assert FIXED_SIZE.max_tokens("low", "2048x2048") == 6240

    def test_an_unknown_quality_at_an_enormous_size_is_no_less_than_the_known_ones(self) -> None:
        assert FREE_SIZE.max_tokens("ultra", "8192x8192") == FREE_SIZE.max_tokens("high", "8192x8192")

    def test_an_unreadable_size_has_no_exact_number(self) -> None:
        assert FREE_SIZE.tokens("high", "auto") is None

    @given(
        width=st.integers(min_value=1, max_value=3840),
        height=st.integers(min_value=1, max_value=3840),
        quality=st.sampled_from(FREE_SIZE.qualities),
    )
    def test_what_auto_resolves_to_is_within_the_bound(self, width: int, height: int, quality: str) -> None:
        """Any picture with no more pixels than allowed, also of a size that nobody may ask for."""
        if width * height > LIMITS.max_pixels:
            return
        actual = FREE_SIZE.tokens(quality, f"{width}x{height}")

        assert actual is not None
        assert actual <= FREE_SIZE.max_tokens(quality, "auto") <= FREE_SIZE.max_tokens("auto", "auto")


class TestSizeLimits:
    @pytest.mark.parametrize(
        ("width", "height", "allowed"),
        [
            (1024, 1024, True),
            (2880, 2880, True),
            (3840, 2160, True),
            (1408, 480, True),
            (1254, 1254, False),  # not in steps of 16, though `auto` resolves to it
            (3856, 2048, False),  # the longer edge
            (2448, 800, False),  # more than three to one
            (800, 800, False),  # too few pixels
            (3840, 2176, False),  # too many
        ],
    )
    def test_a_size_is_allowed_by_edge_ratio_and_area(
        self, width: int, height: int, *, allowed: bool
    ) -> None:
        assert LIMITS.allow(width, height) is allowed
        assert LIMITS.allow(height, width) is allowed

    def test_the_square_has_room_for_all_pixels_or_the_longest_edge(self) -> None:
        assert LIMITS.square_edge == 2880
        assert replace(LIMITS, max_pixels=2880 * 2880 + 1).square_edge == 2881
        assert replace(LIMITS, max_edge=1024).square_edge == 1024


class TestPerImage:
    def test_a_picture_has_the_price_of_its_quality_and_size(self) -> None:
        assert BY_THE_PICTURE.price("hd", "1024x1024") == 80

    @pytest.mark.parametrize("silence", [None, "", "auto"])
    def test_what_is_not_said_is_the_default(self, silence: str | None) -> None:
        assert BY_THE_PICTURE.price(silence, silence) == 40

    def test_what_has_no_price_is_none_and_the_dearest_is_known(self) -> None:
        assert BY_THE_PICTURE.price("hd", "512x512") is None
        assert BY_THE_PICTURE.price("hd", "large") is None
        assert BY_THE_PICTURE.price("low", None) is None
        assert BY_THE_PICTURE.max_price == 80


class TestPriceOf:
    @pytest.mark.parametrize(
        ("at_day", "picos"), [(0, 10), (99.9, 10), (100, 8), (5000, 8)], ids=["first", "eve", "day", "later"]
    )
    def test_a_price_holds_from_its_day_on(self, at_day: float, picos: int) -> None:
        price = price_of(WRITER, at_s=at_day * DAY_S, tier=None, input_tokens=1)

        assert price == flat_price(picos)

    def test_before_the_first_day_the_first_price_holds(self) -> None:
        late = replace(WRITER, tariffs=(tariff(7, from_s=50 * DAY_S), tariff(6, from_s=60 * DAY_S)))

        assert price_of(late, at_s=0, tier=None, input_tokens=1) == flat_price(7)

    @pytest.mark.parametrize("tier", [None, "default", "auto", "scale", "unheard-of"])
    def test_a_tier_without_a_price_of_its_own_costs_the_standard_price(self, tier: str | None) -> None:
        assert price_of(WRITER, at_s=0, tier=tier, input_tokens=1) == flat_price(10)

    def test_a_tier_with_a_price_costs_that(self) -> None:
        assert price_of(WRITER, at_s=0, tier="flex", input_tokens=1) == flat_price(5)

    def test_long_input_begins_above_the_threshold(self) -> None:
        assert price_of(WRITER, at_s=0, tier=None, input_tokens=272_000) == flat_price(10)
        assert price_of(WRITER, at_s=0, tier=None, input_tokens=272_001) == flat_price(20)
        assert price_of(WRITER, at_s=100 * DAY_S, tier=None, input_tokens=272_001) == flat_price(16)

    def test_no_input_at_all_still_has_a_price(self) -> None:
        assert price_of(WRITER, at_s=0, tier=None, input_tokens=0) == flat_price(10)


def test_an_input_image_costs_nothing_where_pictures_have_a_fixed_price() -> None:
    assert input_image_max_tokens(FREE_SIZE) == 1536
    assert input_image_max_tokens(WRITER) == 1445
    assert input_image_max_tokens(BY_THE_PICTURE) == 0
