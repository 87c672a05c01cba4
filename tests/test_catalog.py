import tomllib
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import resources
from gateway.catalog import SHIPPED, CatalogError, build, load
from gateway.core.catalog import Catalog, ImageModel, PerImageModel, Price, SizeLimits, TextModel, price_of

NOVEMBER_2026_S = 1_795_000_000
SHIPPED_CATALOG = load()

TABLE_MODELS = ["gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "chatgpt-image-latest"]
TABLE = """
    low      272   408   400
    medium  1056  1584  1568
    high    4160  6240  6208
"""  # 1024x1024, 1024x1536, 1536x1024: the guide's table

FORMULA = """
    1024x1024  196  439  1756  3122   7024  196  1756   7024
    1024x1536  158  343  1372  2459   5488  158  1372   5488
    1536x1024  158  343  1372  2459   5488  158  1372   5488
    1536x864   120  280  1078  1917   4312  120  1078   4312
    2048x1152  157  367  1413  2511   5650  157  1413   5650
    2560x1440  205  478  1843  3276   7370  205  1843   7370
    2048x2048  397  892  3568  6343  14272  397  3568  14272
    3840x2160  371  865  3336  5930  13342  371  3336  13342
"""  # 2.5 low, medium, high, xhigh, max, then 2 low, medium, high: the guide's calculator

PRINTED_USD = """
    gpt-image-1    low  .011 .016  medium  .042 .063
    gpt-image-1.5  low  .009 .013  medium  .034 .05   high  .133 .20
    gpt-image-2    low  .006 .005  medium  .053 .041  high  .211 .165
"""  # square, then portrait. Not here: .167 for gpt-image-1 at high and mini's, which its tokens and price do not give


@pytest.fixture
def catalog() -> Catalog:
    return SHIPPED_CATALOG


def overlay(text: str) -> Catalog:
    return build({SHIPPED: resources.text(SHIPPED), "mine.toml": text})


def faults_of(text: str) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        overlay(text)
    return caught.value.faults


def image_model(catalog: Catalog, name: str) -> ImageModel:
    model = catalog.find(name)
    assert isinstance(model, ImageModel)
    return model


def text_model(catalog: Catalog, name: str) -> TextModel:
    model = catalog.find(name)
    assert isinstance(model, TextModel)
    return model


def price(
    catalog: Catalog,
    name: str,
    tier: str | None = None,
    input_tokens: int = 1,
    at_s: float = NOVEMBER_2026_S,
) -> Price:
    model = catalog.find(name)
    assert isinstance(model, ImageModel | TextModel)
    return price_of(model, at_s=at_s, tier=tier, input_tokens=input_tokens)


class TestShipped:
    @pytest.mark.parametrize("name", TABLE_MODELS)
    def test_the_models_up_to_one_and_a_half_have_the_guides_table(self, catalog: Catalog, name: str) -> None:
        model = image_model(catalog, name)
        for line in TABLE.strip().splitlines():
            quality, *cells = line.split()
            said = [model.tokens(quality, size) for size in ("1024x1024", "1024x1536", "1536x1024")]
            assert said == [int(cell) for cell in cells]

    def test_two_and_two_and_a_half_have_every_cell_of_the_calculator(self, catalog: Catalog) -> None:
        for line in FORMULA.strip().splitlines():
            size, *cells = line.split()
            columns = [
                ("gpt-image-2.5-sunburst", quality) for quality in ("low", "medium", "high", "xhigh", "max")
            ]
            columns += [("gpt-image-2", quality) for quality in ("low", "medium", "high")]
            said = [image_model(catalog, name).tokens(quality, size) for name, quality in columns]
            assert said == [int(cell) for cell in cells]

    def test_gpt_image_2_at_seven_by_four(self, catalog: Catalog) -> None:
        model = image_model(catalog, "gpt-image-2")

        assert [model.tokens(quality, "1792x1024") for quality in model.qualities] == [139, 1243, 5063]

    def test_a_size_that_only_auto_gives_has_its_tokens(self, catalog: Catalog) -> None:
        assert image_model(catalog, "gpt-image-2").tokens("high", "1254x1254") == 8232
        assert image_model(catalog, "gpt-image-2.5-flare").tokens("high", "1254x1254") == 2058

    def test_two_point_six_is_four_times_two_and_a_half_at_low_and_medium(self, catalog: Catalog) -> None:
        model = image_model(catalog, "gpt-image-2.6-sunburst")

        said = [model.tokens(quality, "1024x1024") for quality in model.qualities]
        assert said == [784, 1756, 1756, 3122, 7024]

    @pytest.mark.parametrize("line", PRINTED_USD.strip().splitlines())
    def test_a_picture_costs_what_openai_prints(self, catalog: Catalog, line: str) -> None:
        name, *rest = line.split()
        model = image_model(catalog, name)
        picos = price(catalog, name).output_image
        for quality, square, portrait in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
            for size, figure in (("1024x1024", square), ("1024x1536", portrait)):
                tokens = model.tokens(quality, size)
                assert tokens is not None
                usd = Decimal(tokens * picos) / 10**12
                assert usd.quantize(Decimal(figure)) == Decimal(figure), (quality, size)

    def test_dall_e_costs_by_the_picture(self, catalog: Catalog) -> None:
        two, three = catalog.find("dall-e-2"), catalog.find("dall-e-3")
        assert isinstance(two, PerImageModel)
        assert isinstance(three, PerImageModel)

        assert two.price(None, "512x512") == 18_000_000_000
        assert three.price("hd", "1792x1024") == 120_000_000_000
        assert three.price(None, None) == 40_000_000_000

    def test_a_route_and_the_tool_have_defaults_that_exist(self, catalog: Catalog) -> None:
        assert catalog.default_model("images.variations") == "dall-e-2"
        assert catalog.default_model("images.edits") == "gpt-image-1.5"
        for route in ("images.generations", "images.edits", "images.variations"):
            assert catalog.find(catalog.default_model(route) or "") is not None
        assert catalog.find(catalog.default_tool_model) is not None

    def test_snapshots_stand_still_and_undated_names_move(self, catalog: Catalog) -> None:
        moving = {name for name in catalog.models if catalog.may_move(name)}

        assert {"gpt-image-2", "chatgpt-image-latest", "gpt-image-2.6-flare", "gpt-5"} <= moving
        assert not moving & {"gpt-image-2-2026-04-21", "gpt-5-2025-08-07", "dall-e-2", "dall-e-3"}

    def test_what_openai_retires_says_when(self, catalog: Catalog) -> None:
        december_s = 1_796_083_200  # 2026-12-01T00:00:00Z

        assert image_model(catalog, "gpt-image-1.5").shutdown_s == december_s
        assert image_model(catalog, "gpt-image-2").shutdown_s is None

    def test_the_reservation_for_auto_covers_the_largest_picture_of_every_model(
        self, catalog: Catalog
    ) -> None:
        for model in catalog.models.values():
            if isinstance(model, ImageModel):
                largest = ["2880x2880", "3840x2160", "1024x1024", "1024x1536", "1536x1024"]
                known = [model.tokens(quality, size) for quality in model.qualities for size in largest]
                assert model.auto_max_tokens == max(tokens for tokens in known if tokens is not None)

    @given(
        width=st.integers(41, 240),
        height=st.integers(14, 240),
        quality=st.sampled_from(["low", "medium", "high"]),
    )
    def test_no_size_that_may_be_asked_for_exceeds_it(self, width: int, height: int, quality: str) -> None:
        model = image_model(SHIPPED_CATALOG, "gpt-image-2")
        assert isinstance(model.sizes, SizeLimits)
        if model.sizes.allow(16 * width, 16 * height):
            tokens = model.tokens(quality, f"{16 * width}x{16 * height}")
            assert tokens is not None
            assert tokens <= model.max_tokens(quality, "auto") <= model.auto_max_tokens

    def test_no_known_model_is_dearer_than_the_stand_in_of_its_family(self, catalog: Catalog) -> None:
        """In any kind of token, for any tier, short or long: the unknown one is never priced too low."""
        checked = set()
        for name in catalog.models:
            family = catalog.family_of(name)
            if family is None:
                continue
            checked.add(family.match)
            assert isinstance(family.model, ImageModel | TextModel)
            for tier in (None, "batch", "flex", "priority"):
                stand_in = price_of(family.model, at_s=NOVEMBER_2026_S, tier=tier, input_tokens=300_000)
                own = price(catalog, name, tier, input_tokens=300_000)
                assert all(getattr(own, kind) <= getattr(stand_in, kind) for kind in Price.__slots__), name
        assert checked == {"gpt-image-*", "chatgpt-image-*", "gpt-*-pro*", "gpt-*", "o[0-9]*"}

    def test_an_unknown_image_model_has_no_fewer_tokens_than_any_known_one(self, catalog: Catalog) -> None:
        family = catalog.family_of("gpt-image-9-comet")
        assert family is not None
        assert family.priced_as == "gpt-image-1"
        assert isinstance(family.model, ImageModel)
        for model in catalog.models.values():
            if isinstance(model, ImageModel):
                assert model.auto_max_tokens <= family.model.auto_max_tokens
                assert model.input_image_max_tokens <= family.model.input_image_max_tokens
                for quality in model.qualities:
                    for size in ("1024x1024", "1024x1536", "1536x1024", "2048x2048"):
                        stand_in = family.model.tokens(quality, size)
                        assert stand_in is not None
                        assert (model.tokens(quality, size) or 0) <= stand_in

    @pytest.mark.parametrize(
        ("name", "match"),
        [
            ("gpt-image-3", "gpt-image-*"),
            ("chatgpt-image-next", "chatgpt-image-*"),
            ("gpt-7-pro-2027-01-01", "gpt-*-pro*"),
            ("gpt-7", "gpt-*"),
            ("o5-mini", "o[0-9]*"),
            ("dall-e-4", None),
            ("omni", None),
            ("claude", None),
        ],
    )
    def test_an_unknown_name_falls_to_its_family_or_to_none(
        self, catalog: Catalog, name: str, match: str | None
    ) -> None:
        family = catalog.family_of(name)

        assert (family.match if family else None) == match


class TestPrices:
    @pytest.mark.parametrize(
        ("name", "reading", "cached", "writing"),
        [
            ("gpt-5", "1.25", "0.125", "10"),
            ("gpt-5.4", "2.5", "0.25", "15"),
            ("gpt-5.6-sol", "4", "0.4", "20"),
            ("gpt-6-luna", "0.1", "0.01", "0.5"),
            ("gpt-6-astra", "10", "1", "50"),
            ("gpt-6.1-sol", "2", "0.1", "10"),
            ("gpt-4.1", "2", "0.5", "8"),
            ("gpt-4o", "2.5", "1.25", "10"),
        ],
    )
    def test_mainline_models_cost_what_the_price_list_says(
        self, catalog: Catalog, name: str, reading: str, cached: str, writing: str
    ) -> None:
        said = price(catalog, name)

        expected = [int(Decimal(usd) * 10**6) for usd in (reading, cached, writing)]
        assert [said.input_text, said.cached_text, said.output_text] == expected

    def test_tiers_multiply_and_exact_prices_go_before_factors(self, catalog: Catalog) -> None:
        assert price(catalog, "gpt-5", "flex").output_text == 5_000_000
        assert price(catalog, "gpt-5", "batch").cached_text == 62_500
        assert price(catalog, "gpt-5", "priority").input_text == 2_500_000
        assert price(catalog, "gpt-4o", "priority").output_text == 17_000_000
        assert price(catalog, "gpt-4o-mini", "priority").input_text == 250_000

    def test_image_models_have_a_batch_price_and_no_other_tier(self, catalog: Catalog) -> None:
        standard = price(catalog, "gpt-image-2")

        assert price(catalog, "gpt-image-2", "batch").output_image == 15_000_000
        assert price(catalog, "gpt-image-2", "priority") == standard
        assert price(catalog, "gpt-image-2", "flex") == standard

    def test_very_long_input_costs_more_in_every_tier(self, catalog: Catalog) -> None:
        long = price(catalog, "gpt-6-astra", "flex", input_tokens=272_001)

        assert (long.input_text, long.cached_text, long.cache_write) == (10_000_000, 1_000_000, 12_500_000)
        assert long.output_text == 37_500_000
        assert price(catalog, "gpt-4.1", input_tokens=900_000) == price(catalog, "gpt-4.1")

    def test_hosted_tools_cost_by_the_call(self, catalog: Catalog) -> None:
        assert catalog.tool_prices["web_search"] == 10**10


PAINTER = """
[[model]]
names = ["painter"]
kind = "image"
rule = "formula-2"
auto_max_tokens = 23719
input_image_max_tokens = 1536
qualities = ["low", "high"]
sizes = ["1024x1024"]
[[model.price]]
input_text = 1
output_image = 2
"""


class TestOverlay:
    def test_a_file_of_ones_own_adds_models(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.toml"
        path.write_text(PAINTER, encoding="utf-8")

        mine = load(path)

        assert price(mine, "painter").output_image == 2_000_000
        assert mine.may_move("painter")
        assert mine.find("gpt-image-2") == SHIPPED_CATALOG.find("gpt-image-2")

    def test_a_model_takes_its_names_away_from_ours(self) -> None:
        mine = overlay(PAINTER.replace('"painter"', '"gpt-image-2"'))

        assert price(mine, "gpt-image-2").output_image == 2_000_000
        snapshot = image_model(mine, "gpt-image-2-2026-04-21")
        assert snapshot.names == ("gpt-image-2-2026-04-21",)
        assert snapshot.moving == frozenset()
        assert price(mine, "gpt-image-2-2026-04-21").output_image == 30_000_000

    def test_like_takes_over_what_is_not_said(self) -> None:
        mine = overlay(
            """
            [[model]]
            names = ["my-deployment"]
            like = "gpt-image-1.5"
            auto_max_tokens = 4160
            [[model]]
            names = ["my-other"]
            like = "my-deployment"
            """
        )
        deployment = image_model(mine, "my-deployment")

        assert deployment.auto_max_tokens == image_model(mine, "my-other").auto_max_tokens == 4160
        assert deployment.tokens("high", "1024x1024") == 4160
        assert deployment.tariffs == image_model(mine, "gpt-image-1.5").tariffs
        assert deployment.shutdown_s is None
        assert deployment.moving == {"my-deployment"}

    def test_a_rule_of_the_same_name_replaces_ours_in_our_models_too(self) -> None:
        mine = overlay(
            '[[rule]]\nname = "formula-2"\nkind = "formula"\nbase = { low = 1, medium = 2, high = 192 }'
        )

        assert image_model(mine, "gpt-image-2").tokens("high", "1024x1024") == 28_096

    def test_families_of_ones_own_are_tried_first_and_replace_ours(self) -> None:
        mine = overlay(
            """
            [[family]]
            match = "gpt-image-3*"
            priced_as = "gpt-image-2"
            [[family]]
            match = "gpt-*"
            priced_as = "gpt-5"
            """
        )
        family, mainline = mine.family_of("gpt-image-3"), mine.family_of("gpt-9")

        assert family is not None
        assert family.priced_as == "gpt-image-2"
        assert mainline is not None
        assert mainline.priced_as == "gpt-5"
        assert [each.match for each in mine.families].count("gpt-*") == 1

    def test_defaults_tiers_and_tools_are_replaced_key_by_key(self) -> None:
        mine = overlay(
            """
            [defaults]
            "images.edits" = "gpt-image-2"
            [tiers]
            text = { flex = 0.25 }
            [tools]
            web_search = 0.02
            """
        )

        assert mine.default_model("images.edits") == "gpt-image-2"
        assert mine.default_model("images.variations") == "dall-e-2"
        assert price(mine, "gpt-5", "flex").output_text == 2_500_000
        assert price(mine, "gpt-5", "batch").output_text == 5_000_000
        assert mine.tool_prices["web_search"] == 2 * 10**10
        assert "file_search" in mine.tool_prices

    def test_an_empty_file_changes_nothing(self) -> None:
        assert overlay("") == SHIPPED_CATALOG


class TestFaults:
    def test_every_fault_of_every_kind_comes_at_once(self) -> None:
        faults = faults_of(
            PAINTER.replace("auto_max", "auto_mux") + "\n[tools]\nweb_search = -1\n[colours]\n"
        )

        assert len(faults) == 4
        assert all(fault.startswith("mine.toml: ") for fault in faults)

    def test_faults_within_entries_and_between_them_come_together_and_none_twice(self) -> None:
        text = (
            PAINTER.replace("input_text = 1", "input_text = -1")
            + """
            [[rule]]
            name = "broken"
            kind = "formula"
            [[model]]
            names = ["lost"]
            like = "nothing-known"
            [[family]]
            match = "paint*"
            priced_as = "painter"
            [[family]]
            match = "draw*"
            priced_as = "gpt-image-22"
            rule = "broken"
            [defaults]
            "images.edits" = "lost"
        """
        )

        assert sorted(fault.partition(": ")[2].split(":")[0] for fault in faults_of(text)) == [
            "family 'draw*'",
            "model 'lost'",
            "model 'painter'",
            "rule 'broken'",
        ]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            (
                PAINTER.replace('"formula-2"', '"formula-3"'),
                "mine.toml: model 'painter': there is no rule 'formula-3'; did you mean 'formula-2'?",
            ),
            (
                PAINTER.replace('["low", "high"]', '["low", "ultra"]'),
                "mine.toml: model 'painter': qualities: its rule says nothing about 'ultra'; add it there",
            ),
            (
                PAINTER + PAINTER,
                "mine.toml: model 'painter' is there 2 times; keep one",
            ),
            (
                PAINTER.replace("kind =", 'moving = ["paynter"]\nkind ='),
                "mine.toml: model 'painter': moving: 'paynter' is not one of its names; did you mean 'painter'?",
            ),
            (
                PAINTER.replace("[[model.price]]", '[[model.price]]\ntier = "batch"'),
                "mine.toml: model 'painter': price: none is for the standard tier; add one without `tier`",
            ),
            (
                PAINTER + "[[model.price]]\ninput_text = 1\noutput_image = 3\n",
                "mine.toml: model 'painter': price: two of them have the same `from` and `tier`; keep one",
            ),
            (
                PAINTER.replace("output_image = 2", "output_image = 0.000001"),
                (
                    "mine.toml: model 'painter': price: 1 pico-dollars times 0.5 is not a whole number of "
                    "pico-dollars; write the exact price of that tier"
                ),
            ),
            (
                '[[model]]\nnames = ["mine"]\nlike = "gpt-image-22"',
                "mine.toml: model 'mine': like: there is no model 'gpt-image-22'; did you mean 'gpt-image-2'?",
            ),
            (
                '[[model]]\nnames = ["mine"]\nlike = "☃"',
                "mine.toml: model 'mine': like: there is no model '☃'; name a model that stands above it or ships with us",
            ),
            (
                '[[model]]\nnames = ["mine"]\nlike = "dall-e-3"\ndefault_quality = "low"',
                "mine.toml: model 'mine': default_quality and default_size have no price in per_image; add one",
            ),
            (
                '[[rule]]\nname = "r"\nkind = "factor"\nof = "formula2"\nfactor = { low = 1 }',
                "mine.toml: rule 'r': there is no rule 'formula2'; did you mean 'formula-2'?",
            ),
            (
                '[[rule]]\nname = "r"\nkind = "largest"\nof = ["☃"]',
                "mine.toml: rule 'r': there is no rule '☃'; add it above",
            ),
            (
                '[[family]]\nmatch = "a*"\npriced_as = "gpt-image-22"',
                "mine.toml: family 'a*': priced_as: there is no model 'gpt-image-22'; did you mean 'gpt-image-2'?",
            ),
            (
                '[[family]]\nmatch = "a*"\npriced_as = "gpt-5"\nrule = "formula-2"',
                "mine.toml: family 'a*': rule: is for image models only; leave it out",
            ),
            (
                '[[family]]\nmatch = "a*"\npriced_as = "gpt-image-2"\nqualities = ["max"]',
                "mine.toml: family 'a*': qualities: its rule says nothing about 'max'; add it there",
            ),
            (
                '[defaults]\n"images.edits" = "☃"',
                "mine.toml: defaults: images.edits: there is no model '☃'; name one of the catalogue",
            ),
        ],
    )
    def test_what_does_not_fit_together_is_named_with_what_to_do(self, text: str, fault: str) -> None:
        assert faults_of(text) == [fault]

    @pytest.mark.parametrize("like", ["gpt-immage-2", "☃"])
    def test_an_entry_that_is_like_no_model_has_its_other_faults_told_too(self, like: str) -> None:
        text = f"""
            [[model]]
            names = ["mine"]
            like = "{like}"
            qualties = ["low"]
            auto_max_tokens = -1
        """

        first, *others = faults_of(text)

        assert first.startswith(f"mine.toml: model 'mine': like: there is no model '{like}'")
        assert sorted(others) == [
            "mine.toml: model 'mine': auto_max_tokens: input should be greater than 0",
            "mine.toml: model 'mine': unknown key 'qualties'; did you mean 'qualities'?",
        ]

    def test_an_entry_that_is_like_no_model_has_no_faults_of_another_kind(self) -> None:
        text = """
            [[model]]
            names = ["mine"]
            like = "☃"
            [[model.price]]
            input_text = 1
            output_text = 2
        """

        assert len(faults_of(text)) == 1

    def test_a_default_may_be_a_name_of_a_known_family(self) -> None:
        mine = overlay('[defaults]\nimage_tool = "gpt-image-3"')

        assert mine.default_tool_model == "gpt-image-3"

    def test_a_file_that_is_no_toml_says_where(self) -> None:
        (fault,) = faults_of("[[model]\n")

        assert fault.startswith("mine.toml: is not TOML: ")
        assert "line 1" in fault

    def test_a_file_that_cannot_be_read_says_why(self, tmp_path: Path) -> None:
        with pytest.raises(CatalogError) as caught:
            load(tmp_path / "absent.toml")

        (fault,) = caught.value.faults
        assert (
            fault
            == f"{tmp_path / 'absent.toml'}: cannot be read (No such file or directory); check `catalog.path`"
        )

    def test_a_file_that_is_no_text_says_so(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.toml"
        path.write_bytes(b"ok\xff")

        with pytest.raises(CatalogError, match=r"is not UTF-8 text \(byte 2\); save it as UTF-8"):
            load(path)

    def test_a_catalogue_needs_a_model_for_the_image_tool(self) -> None:
        with pytest.raises(CatalogError, match=r"alone\.toml: defaults: 'image_tool' is missing; add it"):
            build({"alone.toml": ""})

    def test_the_error_as_text_has_one_fault_a_line(self) -> None:
        error = CatalogError(["a", "b"])

        assert str(error) == "a\nb"


def test_the_head_comment_names_every_key_of_the_shipped_file() -> None:
    text = resources.text(SHIPPED)
    head = text.partition("[defaults]\n#")[0]
    parsed = tomllib.loads(text)
    models = {key for model in parsed["model"] for key in model}
    families = {key for family in parsed["family"] for key in family}

    assert {key for key in models | families | set(parsed) if key not in head} == set()
