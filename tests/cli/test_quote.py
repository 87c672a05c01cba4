from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import catalog
from gateway.cli.quote import Quote, cost_of, quote
from gateway.core.catalog import ImageModel
from gateway.core.errors import Code, Refusal
from gateway.core.estimate import estimate
from gateway.core.pricing import AccountingRules
from gateway.core.tokens import image_tokens
from tests.support.replies import AT_S, RULES, call_of

CATALOG = catalog.load()
SQUARE_LOW: dict[str, object] = {"model": "gpt-image-2", "size": "1024x1024", "quality": "low"}
GIVEN: dict[str, object] = {"n": 1, "partial_images": 0, "prompt": "a fox"}


def quoted(rules: AccountingRules = RULES, /, **fields: object) -> Quote:
    found = quote({**SQUARE_LOW, **GIVEN, **fields}, CATALOG, rules, at_s=AT_S)
    assert isinstance(found, Quote), found
    return found


def usd(found: Quote) -> Decimal | None:
    return None if found.output_cost is None else Decimal(found.output_cost) / 10**9


@pytest.mark.parametrize(
    ("fields", "pictures", "partials", "cost"),
    [
        ({}, 196, 0, "0.00588"),
        ({"partial_images": 2}, 196, 200, "0.01188"),
        ({"n": 3, "partial_images": 2}, 588, 600, "0.03564"),
        ({"size": "1536x1024", "quality": "high"}, 5488, 0, "0.16464"),
        ({"model": "gpt-image-1", "partial_images": 2}, 272, 200, "0.01888"),
        ({"model": "gpt-image-1.5", "size": "1024x1536", "quality": "medium"}, 1584, 0, "0.050688"),
        ({"model": "gpt-image-1-mini", "quality": "high"}, 4160, 0, "0.03328"),
        ({"model": "gpt-image-2.5-flare", "quality": "max"}, 7024, 0, "0.21072"),
        ({"model": "gpt-image-2.6-sunburst"}, 784, 0, "0.02352"),
    ],
)
def test_the_output_is_known_where_size_and_quality_are_named(
    fields: dict[str, object], pictures: int, partials: int, cost: str
) -> None:
    found = quoted(**fields)

    assert (found.picture_tokens, found.partial_tokens) == (pictures, partials)
    assert found.output_tokens == found.use.output_image == pictures + partials
    assert usd(found) == Decimal(cost)


def test_the_tokens_are_those_of_the_models_rule() -> None:
    model = CATALOG.find("gpt-image-2")
    assert isinstance(model, ImageModel)

    assert quoted(size="1792x1024", quality="medium").picture_tokens == image_tokens(
        model.rule, "medium", 1792, 1024
    )


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"size": "auto"}, "What is auto (size) is the model's choice: the output is a bound"),
        ({"size": "auto", "quality": "auto"}, "What is auto (size, quality) is"),
        ({"quality": "max"}, "The model's qualities are low, medium, high: of another one"),
        (
            {"model": "gpt-image-1", "size": "512x512"},
            "The model's sizes are 1024x1024, 1024x1536, 1536x1024",
        ),
        ({"model": "gpt-image-9"}, "The catalogue does not know gpt-image-9: the prices and token rule of"),
        ({"model": "dall-e-3", "size": "512x512", "quality": "hd"}, "The catalogue has no price for this"),
    ],
)
def test_what_is_left_open_or_not_known_is_a_bound_and_said_to_be_one(
    fields: dict[str, object], note: str
) -> None:
    found = quoted(**fields)

    assert (found.output_tokens, found.output_cost) == (None, None)
    assert found.reserved.cost_nusd > 0
    assert any(each.startswith(note) for each in found.notes), found.notes


def test_a_size_that_openai_refuses_is_told() -> None:
    found = quoted(size="100x100")

    assert found.output_tokens is not None
    assert found.notes == ("This size is outside the model's limits: OpenAI refuses it.",)


def test_more_partial_images_than_openai_takes_are_told() -> None:
    assert quoted(partial_images=9).notes == ("OpenAI takes 3 partial images at most: it refuses more.",)
    assert quoted(partial_images=3).notes == ()


def test_a_rule_that_is_an_assumption_is_told() -> None:
    (note,) = quoted(model="gpt-image-2.6-flare").notes

    assert note.startswith("Its token rule is another model's times a factor")


def test_a_known_call_of_a_current_model_needs_no_words() -> None:
    assert quoted().notes == ()


def test_a_prompt_that_is_not_there_is_missed() -> None:
    (note,) = quoted(prompt="").notes

    assert note.startswith("Without --prompt its text is not counted, only the 64 tokens around it.")


def test_a_model_that_goes_is_told_with_its_day() -> None:
    assert quoted(model="gpt-image-1.5").notes == (
        "OpenAI retires 'gpt-image-1.5' on 2026-12-01; use 'gpt-image-2.6-sunburst' instead.",
    )


def test_a_model_that_is_paid_by_the_picture_has_no_tokens() -> None:
    found = quoted(model="dall-e-3", quality="hd", partial_images=2)

    assert found.by_picture
    assert (found.output_tokens, found.partial_tokens, usd(found)) == (None, 0, Decimal("0.08"))
    assert quoted(model="dall-e-2", size="auto", quality="auto", n=2).output_cost == 40_000_000


def test_an_edit_reserves_the_models_maximum_for_each_picture() -> None:
    found = quoted(images=[{}, {}])

    assert found.route == "images.edits"
    assert found.use.input_image == 2 * 1536
    assert quoted().route == "images.generations"


def test_a_model_of_no_family_is_refused_as_the_gateway_refuses_it() -> None:
    refused = quote({**SQUARE_LOW, "model": "stable"}, CATALOG, RULES, at_s=AT_S)

    assert isinstance(refused, Refusal)
    assert refused.code is Code.NOT_ALLOWED
    assert refused == estimate(
        call_of("images/generations", **{**SQUARE_LOW, "model": "stable"}), CATALOG, RULES, at_s=AT_S
    )


def test_a_body_that_the_gateway_cannot_read_is_refused() -> None:
    refused = quote({**SQUARE_LOW, "n": "2"}, CATALOG, RULES, at_s=AT_S)

    assert isinstance(refused, Refusal)
    assert (refused.code, refused.param) == (Code.INVALID_TYPE, "n")


def test_the_operators_rule_for_unknown_models_holds() -> None:
    found = quoted(AccountingRules(unpriced="as:gpt-image-2"), model="stable")
    refused = quote({"model": "gpt-image-9"}, CATALOG, AccountingRules(unpriced="refuse"), at_s=AT_S)

    assert found.use.priced_as == "gpt-image-2"
    assert found.output_tokens is None
    assert isinstance(refused, Refusal)


@given(
    model=st.sampled_from(sorted(name for name in CATALOG.models if "image" in name)),
    size=st.sampled_from(["auto", "1024x1024", "1024x1536", "2048x2048", "100x100"]),
    quality=st.sampled_from(["auto", "low", "medium", "high", "max", "ultra"]),
    n=st.integers(1, 10),
    partials=st.integers(0, 3),
    prompt=st.text(max_size=50),
    pictures=st.integers(0, 3),
)
def test_what_is_known_and_its_input_never_exceed_what_the_gateway_reserves(
    model: str, size: str, quality: str, n: int, partials: int, prompt: str, pictures: int
) -> None:
    fields = {"model": model, "size": size, "quality": quality, "n": n, "partial_images": partials}
    body: dict[str, object] = {**fields, "prompt": prompt}
    if pictures:
        body["images"] = [{}] * pictures

    found = quoted(**body)

    path = "images/edits" if pictures else "images/generations"
    assert found.reserved == estimate(call_of(path, **body), CATALOG, RULES, at_s=AT_S)
    parts = [
        found.output_cost or 0,
        cost_of(found.use, AT_S, input_text=found.use.input_text),
        cost_of(found.use, AT_S, input_image=found.use.input_image),
    ]
    assert sum(parts) <= found.reserved.cost_nusd + len(parts)  # each of them is rounded up by itself
