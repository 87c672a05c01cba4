import pytest

from gateway.core.call import Call, read_form
from gateway.core.errors import Code, Refusal
from gateway.core.estimate import Estimate, estimate
from gateway.core.multipart import Form, Part
from gateway.core.pricing import AccountingRules
from gateway.core.record import Role
from gateway.core.routes import match
from tests.support.replies import AT_S, CATALOG, RULES, call_of, reserved

GENERATIONS = "images/generations"


def refused(call: Call, rules: AccountingRules = RULES) -> Refusal:
    found = estimate(call, CATALOG, rules, at_s=AT_S)
    assert isinstance(found, Refusal)
    return found


def drawing(tool: dict[str, object] | None = None, **fields: object) -> Call:
    offered = {"type": "image_generation", "model": "gpt-image-1", "size": "1024x1024", "quality": "low"}
    return call_of(
        "responses", **{"model": "gpt-5", "input": "a fox", "tools": [{**offered, **(tool or {})}], **fields}
    )


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"size": "1024x1024", "quality": "low"}, 272),
        ({"size": "1024x1024", "quality": "low", "n": 3}, 816),
        ({"size": "1024x1024", "quality": "low", "partial_images": 2}, 472),
        ({"size": "1024x1024", "quality": "low", "partial_images": 2, "n": 2}, 944),
        ({"size": "1024x1024"}, 4160),
        ({"quality": "low"}, 408),
        ({}, 6240),
        ({"size": "auto", "quality": "auto"}, 6240),
        ({"size": "huge", "quality": "low"}, 408),
        ({"size": "1024x1024", "quality": "ultra"}, 6240),
        ({"size": "1024x1024", "quality": "low", "n": 0}, 272),
        ({"size": "1024x1024", "quality": "low", "output_format": "gif"}, 9 * 272),
        ({"size": "1024x1024", "quality": "low", "output_format": "gif", "frame_count": 4}, 4 * 272),
    ],
)
def test_pictures_are_reserved_at_the_most_that_the_request_leaves_open(
    fields: dict[str, object], tokens: int
) -> None:
    assert reserved(call_of(GENERATIONS, model="gpt-image-1", prompt="x", **fields)).image_tokens == tokens


def test_a_call_reserves_its_prompt_its_pictures_and_their_cost() -> None:
    call = call_of(GENERATIONS, model="gpt-image-1", prompt="é" * 10, n=2, size="1024x1024", quality="low")
    found = reserved(call)
    assert (found.requests, found.images, found.image_tokens) == (1, 2, 544)
    assert found.tokens == 544 + 2 * (20 + 64)
    assert found.cost_nusd == 2 * 84 * 5_000 + 544 * 40_000
    assert (found.priced_as, found.unbounded) == (None, False)


def test_every_input_image_is_reserved_at_the_models_most() -> None:
    edits = match("POST", "/images/edits")
    assert edits is not None
    parts = [Part(name, 5, b"") for name in ("image[]", "image[]", "image[7]", "mask", "prompt", "markup")]
    form = Form({"model": "gpt-image-1", "size": "1024x1024", "quality": "low"}, tuple(parts))
    use = reserved(read_form(edits, form)).uses[0]
    assert (use.input_image, use.input_text) == (4 * 6821, 5 + 64)
    by_json = call_of("images/edits", model="gpt-image-2", prompt="x", images=[{"file_id": "f"}] * 3)
    assert reserved(by_json).uses[0].input_image == 3 * 1536


def test_models_paid_by_the_picture_reserve_their_price() -> None:
    call = call_of(GENERATIONS, model="dall-e-3", prompt="x", size="1024x1024", quality="hd")
    assert (reserved(call).cost_nusd, reserved(call).tokens) == (80_000_000, 0)
    dearest = call_of(GENERATIONS, model="dall-e-3", prompt="x", size="9x9")
    assert reserved(dearest).cost_nusd == 120_000_000


def test_a_missing_model_is_the_default_of_the_route_or_the_tool() -> None:
    assert reserved(call_of(GENERATIONS, prompt="x")).uses[0].name == CATALOG.default_model(
        "images.generations"
    )
    assert reserved(drawing({"model": None})).uses[0].name == CATALOG.default_tool_model


def test_a_response_reserves_its_tool_and_its_mainline_model() -> None:
    found = reserved(drawing({"partial_images": 3}, max_output_tokens=500, max_tool_calls=2))
    image, main = found.uses
    assert (found.images, found.image_tokens) == (2, 2 * 572)
    assert (image.role, main.role) == (Role.IMAGE, Role.MAIN)
    assert main.output_text == 500
    assert main.input_text > 2 * 4096 + 1024
    assert not found.unbounded


def test_what_a_response_does_not_bound_is_reserved_as_the_operator_says_and_flagged() -> None:
    rules = AccountingRules(reserve_images=3, reserve_output_tokens=1000, overhead_tokens=10)
    found = reserved(drawing(), rules)
    assert (found.images, found.image_tokens, found.uses[1].output_text) == (3, 816, 1000)
    assert found.unbounded


@pytest.mark.parametrize(
    ("fields", "unbounded"),
    [
        ({}, False),
        ({"max_output_tokens": None}, True),
        ({"max_tool_calls": None}, True),
        ({"previous_response_id": "resp_1"}, True),
        ({"conversation": "conv_1"}, True),
        ({"prompt": {"id": "pmpt_1"}}, True),
        ({"input": [{"type": "item_reference", "id": "ig_1"}]}, True),
        ({"input": [{"content": [{"type": "input_file", "file_id": "file-1"}]}]}, True),
        ({"tools": [{"type": "web_search"}]}, True),
        ({"tools": [{"type": "function", "name": "f"}], "max_tool_calls": None}, False),
    ],
)
def test_a_response_says_whether_it_can_cost_more(fields: dict[str, object], unbounded: object) -> None:
    call = drawing(None, **{"max_output_tokens": 10, "max_tool_calls": 1, **fields})
    assert reserved(call).unbounded is unbounded


def test_pictures_in_the_input_are_counted_by_the_picture_and_not_by_their_bytes() -> None:
    part = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 1_000_000}
    earlier = {"type": "image_generation_call", "id": "ig_1", "result": "A" * 1_000_000}
    found = reserved(drawing(input=[{"role": "user", "content": [part]}, earlier], max_tool_calls=1))
    image, main = found.uses
    assert image.input_image == 2 * 6821
    assert main.input_text < 2 * 1190 + 4096 + 1024 + 1000


def test_a_priority_call_reserves_the_priority_price() -> None:
    plain, priority = (reserved(drawing(service_tier=tier)) for tier in ("flex", "priority"))
    auto = reserved(drawing(service_tier="auto"))
    assert priority.cost_nusd > plain.cost_nusd == auto.cost_nusd


def test_of_several_image_tools_the_dearest_is_reserved() -> None:
    tools = [{"type": "image_generation", "model": model} for model in ("gpt-image-1-mini", "gpt-image-1")]
    assert reserved(drawing(tools=tools)).uses[0].name == "gpt-image-1"


def test_an_svgs_author_is_reserved_too() -> None:
    call = call_of(
        GENERATIONS, model="gpt-image-2", prompt="x", output_format="svg", svg={"model": "gpt-5.4"}
    )
    assert [use.role for use in reserved(call).uses] == [Role.IMAGE, Role.SVG]
    assert reserved(call).uses[1].name == "gpt-5.4"
    unnamed = reserved(call_of(GENERATIONS, model="gpt-image-2", prompt="x", output_format="svg"))
    assert unnamed.uses[1].priced_as == "gpt-5.5-pro"


def test_a_model_outside_every_family_is_refused_by_its_field() -> None:
    assert refused(call_of(GENERATIONS, model="banana-1", prompt="x")).param == "model"
    assert refused(drawing({"model": "banana-1"})).param == "tools[0].model"
    assert refused(drawing(model="llama")).param == "model"
    svg = call_of(GENERATIONS, model="gpt-image-2", prompt="x", svg={"model": "llama"})
    assert refused(svg).param == "svg.model"
    assert refused(call_of(GENERATIONS, model="gpt-image-9"), AccountingRules(unpriced="refuse")).code is (
        Code.NOT_ALLOWED
    )


def test_a_model_of_a_family_is_flagged() -> None:
    assert reserved(call_of(GENERATIONS, model="gpt-image-9", prompt="x")).priced_as == "gpt-image-1"


def test_a_response_without_a_model_is_reserved_at_the_dearest_there_is() -> None:
    found = reserved(call_of("responses", prompt={"id": "pmpt_1"}))
    assert found.uses[-1].priced_as == "gpt-5.5-pro"
    assert found.unbounded


def test_what_is_not_metered_reserves_nothing() -> None:
    call = call_of("responses/input_tokens", model="gpt-5", input="x")
    assert reserved(call) == Estimate(requests=0)


def test_absurd_numbers_stay_within_what_can_be_added_up() -> None:
    huge = 2**53 - 1
    image = call_of(GENERATIONS, model="gpt-image-2", prompt="x", n=huge, partial_images=huge)
    answer = drawing(max_output_tokens=huge, max_tool_calls=huge)
    assert reserved(image).cost_nusd < 2**53
    assert reserved(answer).cost_nusd < 2**63
