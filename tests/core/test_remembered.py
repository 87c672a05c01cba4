from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call, ImageAsk, Named, read_json
from gateway.core.errors import Refusal
from gateway.core.estimate import estimate
from gateway.core.inputs import Inputs
from gateway.core.remembered import MOST_LISTED, dumps, loads
from gateway.core.routes import ROUTES, Match, match
from tests.support.replies import AT_S, CATALOG, RULES, call_of, drawing, generation

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._:/-]{0,40}", fullmatch=True).filter(lambda name: "sk-" not in name)
NUMBERS = st.integers(-(1 << 53), 1 << 53)
PARAMS = st.sampled_from(["svg[model]", "tools[0].type", "tools[1].svg.model", "input[0].tools[2].type"])


def calls(texts: st.SearchStrategy[str], numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Call]:
    """Calls of every route, their fields filled with these."""
    text, number = st.none() | texts, st.none() | numbers
    asks = st.builds(
        ImageAsk,
        where=st.sampled_from(["", "tools[0].", "input[3].tools[1]."]),
        model=text,
        size=text,
        quality=text,
        n=number,
        partial_images=number,
        output_format=text,
        frame_count=number,
    )
    named = st.lists(st.builds(Named, PARAMS, texts), max_size=3).map(tuple)
    return st.builds(
        Call,
        match=st.sampled_from(ROUTES).map(Match),
        model=text,
        images=st.lists(asks, max_size=3).map(tuple),
        tools=named,
        authors=named,
        stream=st.booleans(),
        background=st.booleans(),
        stored_prompt=st.booleans(),
        names_ids=st.booleans(),
        inputs=st.builds(
            Inputs, text_bytes=st.integers(0, 1 << 40), images=st.integers(0, 99), beyond=st.booleans()
        ),
        max_tool_calls=number,
        max_output_tokens=number,
        service_tier=text,
    )


@given(calls(NAMES, NUMBERS))
def test_a_call_survives_being_kept(call: Call) -> None:
    assert loads(dumps(call)) == call
    assert loads(dumps(call).decode()) == call


@given(calls(st.text(max_size=300), st.integers()))
def test_whatever_a_call_holds_it_can_be_kept_and_read_again(call: Call) -> None:
    kept = loads(dumps(call))
    assert kept is not None
    assert (kept.match, kept.background, kept.inputs) == (call.match, call.background, call.inputs)
    assert loads(dumps(kept)) == kept


@pytest.mark.parametrize(
    "call",
    [
        generation(2, n=3),
        generation(output_format="gif", frame_count=2**53 - 1),
        generation(output_format="svg", svg={"model": "gpt-5"}),
        drawing(3, service_tier="priority", max_tool_calls=4, max_output_tokens=2**53 - 1, background=True),
        drawing(previous_response_id="resp_0", input=[{"type": "input_image", "image_url": "data:,"}]),
        call_of("responses", prompt={"id": "pmpt_1"}),
        call_of("responses/compact", model="gpt-5", input="ein Füchslein 🦊"),
    ],
)
def test_a_call_that_was_kept_is_estimated_as_before(call: Call) -> None:
    kept = loads(dumps(call))
    assert kept is not None
    found = estimate(kept, CATALOG, RULES, at_s=AT_S)
    assert not isinstance(found, Refusal)
    assert found.cost_nusd > 0
    assert found == estimate(call, CATALOG, RULES, at_s=AT_S)


def test_no_prompt_no_id_and_no_secret_is_kept() -> None:
    route = match("POST", "/responses")
    assert route is not None
    body: dict[str, Any] = {
        "model": "sk-up-real",
        "input": [{"type": "input_image", "file_id": "file-real"}, {"role": "user", "content": "real words"}],
        "instructions": "real words",
        "previous_response_id": "resp_real",
        "conversation": "conv_real",
        "prompt": {"id": "pmpt_real"},
        "user": "real",
        "metadata": {"real": "real"},
        "service_tier": "these are real words",
        "tools": [
            {
                "type": "image_generation",
                "model": "real" * 99,
                "size": "Bearer sk-real",
                "quality": "x-sk-real",
                "input_image_mask": {"file_id": "file-real"},
            },
            {"type": "mcp", "server_label": "real", "authorization": "real", "server_url": "https://real"},
            {"type": "sk-real"},
        ],
    }
    call = replace(read_json(route, body), match=Match(route.route, ("resp_real",)))
    assert b"real" not in dumps(call)
    kept = loads(dumps(call))
    assert kept is not None
    assert kept.model is None
    assert [tool.value for tool in kept.tools] == ["image_generation", "mcp"]
    assert (kept.inputs, kept.stored_prompt) == (call.inputs, True)


def test_a_name_that_only_has_the_letters_of_a_key_is_kept() -> None:
    kept = loads(dumps(call_of("responses", model="ft:disk-1@eu", input="x")))
    assert kept is not None
    assert kept.model == "ft:disk-1@eu"


def test_what_is_kept_of_one_call_is_bounded() -> None:
    tools = [{"type": "image_generation", "size": str(number)} for number in range(MOST_LISTED + 5)]
    kept = loads(dumps(call_of("responses", model="gpt-5", input="x", tools=tools)))
    assert kept is not None
    assert (len(kept.images), len(kept.tools)) == (MOST_LISTED, MOST_LISTED)
    assert kept.images[-1].size == str(MOST_LISTED + 4), "the last one counts"


@pytest.mark.parametrize(
    "text", [None, "", b"", "{", "null", "[]", '"responses.create"', "{}", '{"route":["x"]}', '{"route":"x"}']
)
def test_what_cannot_be_read_is_not_known(text: bytes | str | None) -> None:
    assert loads(text) is None


def test_fields_of_other_versions_are_tolerated() -> None:
    create = match("POST", "/responses")
    assert create is not None
    assert loads('{"route":"responses.create","unheard_of":{"a":1}}') == Call(create)
    strange = {
        "route": "responses.create",
        "model": 5,
        "images": [7, {"size": None, "n": True, "new": 1}],
        "tools": [{"param": "tools[0].type"}],
        "authors": "gpt-5",
        "inputs": [],
        "stream": "yes",
        "max_tool_calls": "3",
    }
    assert loads(orjson.dumps(strange)) == Call(create, images=(ImageAsk(),))
