import pytest

from gateway.core.call import Call, ImageAsk, Named, read_form, read_json
from gateway.core.errors import Code, Refused
from gateway.core.inputs import Inputs
from gateway.core.multipart import Form
from gateway.core.routes import Match, match


def route(path: str) -> Match:
    found = match("POST", path)
    assert found is not None
    return found


GENERATIONS = route("/images/generations")
EDITS = route("/images/edits")
RESPONSES = route("/responses")


def test_a_generation_is_read_field_by_field() -> None:
    body = {
        "model": "gpt-image-2",
        "prompt": "a fox",
        "n": 2,
        "size": "1024x1024",
        "quality": "low",
        "partial_images": 3,
        "stream": True,
        "something_new": {"x": 1},
    }
    assert read_json(GENERATIONS, body) == Call(
        match=GENERATIONS,
        model="gpt-image-2",
        images=(ImageAsk("", "gpt-image-2", "1024x1024", "low", 2, 3),),
        stream=True,
        inputs=Inputs(text_bytes=5),
    )


def test_null_is_as_good_as_absent() -> None:
    fields = ("model", "n", "size", "quality", "partial_images", "stream", "svg")
    assert read_json(GENERATIONS, dict.fromkeys(fields)) == read_json(GENERATIONS, {})


def test_every_image_tool_of_a_responses_call_is_read() -> None:
    body = {
        "model": "gpt-5",
        "input": "draw",
        "background": True,
        "tools": [
            {"type": "function", "name": "f"},
            {
                "type": "image_generation",
                "model": "gpt-image-2",
                "size": "auto",
                "quality": "high",
                "partial_images": 2,
            },
            {"type": "image_generation", "svg": {"model": "gpt-5"}},
        ],
    }
    call = read_json(RESPONSES, body)
    assert call.model == "gpt-5"
    assert [tool.value for tool in call.tools] == ["function", "image_generation", "image_generation"]
    assert call.images == (
        ImageAsk("tools[1].", "gpt-image-2", "auto", "high", None, 2),
        ImageAsk("tools[2]."),
    )
    assert call.authors == (Named("tools[2].svg.model", "gpt-5"),)
    assert call.background


@pytest.mark.parametrize("name", ["input", "items"])
def test_tools_that_an_item_brings_in_count_too(name: str) -> None:
    drawing = {"type": "image_generation", "model": "gpt-image-1", "quality": "high"}
    body = {
        name: [
            {"role": "user", "content": "draw"},
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}, drawing]},
            {"type": "tool_search_output", "tools": [{"type": "namespace", "tools": [drawing]}]},
        ]
    }
    call = read_json(RESPONSES, body)
    assert [(tool.param, tool.value) for tool in call.tools] == [
        (f"{name}[1].tools[0].type", "web_search"),
        (f"{name}[1].tools[1].type", "image_generation"),
        (f"{name}[2].tools[0].type", "namespace"),
        (f"{name}[2].tools[0].tools[0].type", "image_generation"),
    ]
    assert [ask.model for ask in call.images] == ["gpt-image-1", "gpt-image-1"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"images": [{"image_url": "data:image/png;base64,AA"}]}, False),
        ({"images": [{"file_id": "file-1"}]}, True),
        ({"images": [], "mask": {"file_id": "file-1"}}, True),
    ],
)
def test_an_edit_that_names_a_file_is_tied_to_its_credential(body: object, names: object) -> None:
    assert read_json(EDITS, body).names_ids is names


def test_a_stored_prompt_is_noticed() -> None:
    assert read_json(RESPONSES, {"prompt": {"id": "pmpt_1"}}).stored_prompt
    assert not read_json(RESPONSES, {"prompt": None}).stored_prompt


@pytest.mark.parametrize(
    ("where", "body", "param"),
    [
        (GENERATIONS, {"model": 5}, "model"),
        (GENERATIONS, {"n": "2"}, "n"),
        (GENERATIONS, {"n": True}, "n"),
        (GENERATIONS, {"n": 2.0}, "n"),
        (GENERATIONS, {"size": ["1024x1024"]}, "size"),
        (GENERATIONS, {"quality": {}}, "quality"),
        (GENERATIONS, {"partial_images": "3"}, "partial_images"),
        (GENERATIONS, {"stream": "true"}, "stream"),
        (GENERATIONS, {"svg": "x"}, "svg"),
        (GENERATIONS, {"svg": {"model": 1}}, "svg.model"),
        (RESPONSES, {"tools": {"type": "function"}}, "tools"),
        (RESPONSES, {"tools": ["image_generation"]}, "tools[0]"),
        (RESPONSES, {"tools": [{}]}, "tools[0].type"),
        (
            RESPONSES,
            {"tools": [{"type": "function"}, {"type": "image_generation", "model": 1}]},
            "tools[1].model",
        ),
        (RESPONSES, {"background": 1}, "background"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(where: Match, body: object, param: str) -> None:
    with pytest.raises(Refused) as caught:
        read_json(where, body)
    assert (caught.value.refusal.code, caught.value.refusal.param) == (Code.INVALID_TYPE, param)


@pytest.mark.parametrize("body", [[], "x", 1, None, True])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(Refused) as caught:
        read_json(GENERATIONS, body)
    assert caught.value.refusal.code is Code.INVALID_JSON


def test_a_form_is_read_like_its_json() -> None:
    form = Form(
        {"model": "gpt-image-1", "n": "4", "size": "auto", "stream": "true", "partial_images": "1"}, ()
    )
    assert read_form(EDITS, form) == Call(
        match=EDITS,
        model="gpt-image-1",
        images=(ImageAsk("", "gpt-image-1", "auto", None, 4, 1),),
        stream=True,
    )


@pytest.mark.parametrize("value", ["x", "-1", "1e3", "1.0", "0x1", "1000", "٣", "1 0"])
def test_a_number_in_a_form_is_at_most_three_digits(value: str) -> None:
    with pytest.raises(Refused) as caught:
        read_form(EDITS, Form({"n": value}))
    assert (caught.value.refusal.code, caught.value.refusal.param) == (Code.INVALID_TYPE, "n")


def test_an_empty_form_field_is_as_good_as_absent() -> None:
    assert read_form(EDITS, Form({"n": "", "model": "", "size": ""}, ())).images == (ImageAsk(),)


def test_what_bounds_a_responses_call_is_read() -> None:
    body = {"max_tool_calls": 2, "max_output_tokens": 300, "service_tier": "flex", "input": "a fox"}
    call = read_json(RESPONSES, body)
    assert (call.max_tool_calls, call.max_output_tokens, call.service_tier) == (2, 300, "flex")
    assert call.inputs.text_bytes > len("a fox")


def test_the_format_and_frames_of_a_picture_are_read() -> None:
    ask = read_json(GENERATIONS, {"output_format": "gif", "frame_count": 4}).images[0]
    assert (ask.output_format, ask.frame_count) == ("gif", 4)
    form = read_form(EDITS, Form({"output_format": "svg", "frame_count": "12"})).images[0]
    assert (form.output_format, form.frame_count) == ("svg", 12)


@pytest.mark.parametrize("field", ["max_tool_calls", "max_output_tokens", "service_tier"])
def test_a_bound_of_the_wrong_type_is_refused_by_name(field: str) -> None:
    with pytest.raises(Refused) as caught:
        read_json(RESPONSES, {field: []})
    assert (caught.value.refusal.code, caught.value.refusal.param) == (Code.INVALID_TYPE, field)


@pytest.mark.parametrize("number", [2**53, -(2**53), 10**30])
def test_an_integer_that_not_all_readers_of_json_agree_on_is_refused(number: int) -> None:
    with pytest.raises(Refused) as refused:
        read_json(
            match("POST", "/v1/images/generations") or pytest.fail("no such route"),
            {"partial_images": number},
        )
    assert (refused.value.refusal.code, refused.value.refusal.param) == (Code.INVALID_TYPE, "partial_images")
