"""The Responses API of the sandbox, through the official client."""

import itertools

import httpx2
import pytest
from openai import APIError, BadRequestError, NotFoundError, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from openai.types.responses.tool_param import ImageGeneration
from pydantic import TypeAdapter

from tests.support.sandbox_client import billed, data_url, events, invoice, opened, png

TOOL: ImageGeneration = {
    "type": "image_generation",
    "model": "gpt-image-1",
    "quality": "low",
    "size": "1024x1024",
}
TWO_PARTIALS: ImageGeneration = {**TOOL, "partial_images": 2}

HEAD = ["response.created", "response.in_progress"]
REASONING = ["response.output_item.added", "response.output_item.done"]
CALL = ["response.output_item.added"] + [
    f"response.image_generation_call.{step}" for step in ("in_progress", "generating")
]
PARTIAL = ["response.image_generation_call.partial_image"]
CALL_DONE = ["response.image_generation_call.completed", "response.output_item.done"]
MESSAGE = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
END = ["response.completed"]


def kinds(found: list[dict[str, object]]) -> list[str]:
    """The order of events, with runs of text deltas as one."""
    return [kind for kind, _ in itertools.groupby(str(event["type"]) for event in found)] if found else []


def body(tool: ImageGeneration = TOOL, **more: object) -> dict[str, object]:
    return {"model": "gpt-5", "input": "Draw a red fox", "tools": [tool], **more}


def calls_of(response: Response) -> list[object]:
    return [item for item in response.output if item.type == "image_generation_call"]


def test_a_plain_response_has_all_that_the_official_client_requires(http: httpx2.Client) -> None:
    answer = http.post("/v1/responses", json=body())

    shown = Response.model_validate_json(answer.content)
    assert [item.type for item in shown.output] == ["reasoning", "image_generation_call", "message"]
    made = shown.output[1]
    assert made.type == "image_generation_call"
    assert (made.status, made.action, made.size, made.quality) == (
        "completed",
        "generate",
        "1024x1024",
        "low",
    )
    assert made.revised_prompt is not None
    assert opened(made.result or "").size == (1024, 1024)
    assert shown.output_text.startswith("Here is your picture")
    assert shown.status == "completed"


def test_usage_is_the_mainline_model_and_tool_usage_the_image_model(http: httpx2.Client) -> None:
    shown = Response.model_validate(http.post("/v1/responses", json=body()).json())

    assert shown.usage is not None
    assert shown.tool_usage is not None
    assert shown.tool_usage.image_gen.output_tokens == 272
    assert shown.usage.total_tokens == shown.usage.input_tokens + shown.usage.output_tokens
    lines = {(line["model"], line["kind"]): line["tokens"] for line in invoice(http)["lines"]}
    assert lines["gpt-5", "main"]["output_text"] == shown.usage.output_tokens
    assert lines["gpt-5", "main"]["input_text"] == shown.usage.input_tokens
    assert lines["gpt-image-1", "image"]["output_image"] == 272


def test_the_tools_come_back_with_their_defaults(http: httpx2.Client) -> None:
    shown = http.post("/v1/responses", json=body({"type": "image_generation", "quality": "low"})).json()

    assert shown["tools"] == [
        {
            "type": "image_generation",
            "action": "auto",
            "background": "auto",
            "model": "gpt-image-2.6-sunburst",
            "moderation": "auto",
            "n": 1,
            "output_compression": 100,
            "output_format": "png",
            "partial_images": 0,
            "quality": "low",
            "size": "auto",
        }
    ]


@pytest.mark.parametrize(
    ("model", "tool", "order"),
    [
        ("gpt-5", TOOL, HEAD + REASONING + CALL + CALL_DONE + MESSAGE + END),
        ("gpt-4.1", TOOL, HEAD + CALL + CALL_DONE + MESSAGE + END),
        ("gpt-5", TWO_PARTIALS, HEAD + REASONING + CALL + PARTIAL + CALL_DONE + MESSAGE + END),
    ],
)
def test_a_stream_has_the_recorded_order_and_counts_from_zero(
    http: httpx2.Client, model: str, tool: ImageGeneration, order: list[str]
) -> None:
    answer = http.post("/v1/responses", json=body(tool, stream=True) | {"model": model})

    found = events(answer.text)
    for event in found:
        TypeAdapter(ResponseStreamEvent).validate_python(event)
    assert kinds(found) == order
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert "[DONE]" not in answer.text


def test_a_streams_partial_images_are_in_tool_usage_and_on_the_bill(
    client: OpenAI, http: httpx2.Client
) -> None:
    with client.responses.create(
        model="gpt-5", input="Draw a red fox", tools=[TWO_PARTIALS], stream=True
    ) as stream:
        found = list(stream)

    partials = [event for event in found if event.type == "response.image_generation_call.partial_image"]
    assert [event.partial_image_index for event in partials] == [0, 1]
    last = found[-1]
    assert last.type == "response.completed"
    assert last.response.tool_usage is not None
    assert last.response.tool_usage.image_gen.output_tokens == 472
    assert billed(http, 1)["lines"][1]["tokens"]["output_image"] == 472


def test_a_plain_response_delivers_no_partial_images_and_pays_none(http: httpx2.Client) -> None:
    shown = http.post("/v1/responses", json=body(TWO_PARTIALS)).json()

    assert shown["tool_usage"]["image_gen"]["output_tokens"] == 272


def test_without_the_image_tool_there_is_only_text(client: OpenAI, http: httpx2.Client) -> None:
    shown = client.responses.create(model="gpt-4o", input="Hello")

    assert [item.type for item in shown.output] == ["message"]
    assert shown.tool_usage is not None
    assert shown.tool_usage.image_gen.output_tokens == 0
    assert [line["model"] for line in invoice(http)["lines"]] == ["gpt-4o"]


def test_the_next_turn_edits_the_picture_of_the_turn_before(client: OpenAI) -> None:
    first = client.responses.create(model="gpt-5", input="Draw a red fox", tools=[TOOL])
    second = client.responses.create(
        model="gpt-5", input="Now in gold", tools=[TOOL], previous_response_id=first.id
    )

    made = second.output[1]
    assert made.type == "image_generation_call"
    assert made.action == "edit"
    assert second.tool_usage is not None
    assert second.tool_usage.image_gen.input_tokens_details.image_tokens == 194
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens > 0


def test_an_earlier_picture_can_be_named_by_its_id_alone(http: httpx2.Client) -> None:
    first = http.post("/v1/responses", json=body()).json()
    call = {"type": "image_generation_call", "id": first["output"][1]["id"]}
    words = {"role": "user", "content": [{"type": "input_text", "text": "Now in gold"}]}

    second = http.post("/v1/responses", json=body(input=[words, call])).json()

    assert second["output"][1]["action"] == "edit"


def test_an_earlier_picture_can_be_referred_to(client: OpenAI) -> None:
    first = client.responses.create(model="gpt-5", input="Draw a red fox", tools=[TOOL])
    made = first.output[1]
    assert made.type == "image_generation_call"

    second = client.responses.create(
        model="gpt-5",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Now in gold"}]},
            {"type": "item_reference", "id": made.id},
        ],
        tools=[TOOL],
    )

    edited = second.output[1]
    assert edited.type == "image_generation_call"
    assert edited.action == "edit"


def test_a_conversation_remembers_pictures_and_words(client: OpenAI) -> None:
    conversation = client.conversations.create()
    client.responses.create(model="gpt-5", input="Draw a red fox", tools=[TOOL], conversation=conversation.id)
    second = client.responses.create(
        model="gpt-5", input="Now in gold", tools=[TOOL], conversation=conversation.id
    )

    made = second.output[1]
    assert made.type == "image_generation_call"
    assert made.action == "edit"
    assert second.conversation is not None
    assert second.conversation.id == conversation.id
    kept = client.conversations.items.list(conversation.id, order="asc", limit=100)
    assert [item.type for item in kept] == ["message", "reasoning", "image_generation_call", "message"] * 2


@pytest.mark.parametrize("how", ["file_id", "data", "own url"])
def test_an_input_image_makes_it_an_edit(client: OpenAI, http: httpx2.Client, url: str, how: str) -> None:
    match how:
        case "file_id":
            uploaded = client.files.create(file=("fox.png", png()), purpose="vision")
            part = {"type": "input_image", "file_id": uploaded.id}
        case "data":
            part = {"type": "input_image", "image_url": data_url(png())}
        case _:
            part = {"type": "input_image", "image_url": f"{url}/_sandbox/images/a-fox-512x512.png"}
    content = [{"type": "input_text", "text": "Make it gold"}, part]

    shown = http.post("/v1/responses", json=body(input=[{"role": "user", "content": content}])).json()

    assert shown["output"][1]["action"] == "edit"
    assert shown["tool_usage"]["image_gen"]["input_tokens_details"]["image_tokens"] == 194


def test_the_edit_action_without_any_image_is_refused(http: httpx2.Client) -> None:
    answer = http.post("/v1/responses", json=body({**TOOL, "action": "edit"}))

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "image_generation_user_error")
    assert invoice(http)["requests"] == 0


def test_the_generate_action_ignores_images_in_context(client: OpenAI) -> None:
    first = client.responses.create(model="gpt-5", input="Draw a red fox", tools=[TOOL])
    tool: ImageGeneration = {**TOOL, "action": "generate"}
    second = client.responses.create(
        model="gpt-5", input="A cat", tools=[tool], previous_response_id=first.id
    )

    made = second.output[1]
    assert made.type == "image_generation_call"
    assert made.action == "generate"


def test_a_blocked_picture_is_a_failed_item_in_a_completed_response(http: httpx2.Client) -> None:
    answer = http.post("/v1/responses", json=body(input="forbidden-by-sandbox"))

    shown = Response.model_validate_json(answer.content)
    failed = shown.output[1]
    assert failed.type == "image_generation_call"
    assert (shown.status, failed.status, failed.result) == ("completed", "failed", None)
    assert failed.error is not None
    assert (failed.error.type, failed.error.code) == ("image_tool_error", "moderation_blocked")
    assert [line["kind"] for line in invoice(http)["lines"]] == ["main"]


def test_a_forced_function_is_called_instead_of_painting(http: httpx2.Client) -> None:
    tools = [TOOL, {"type": "function", "name": "lookup", "parameters": {"type": "object"}}]
    choice = {"type": "function", "name": "lookup"}

    shown = http.post("/v1/responses", json=body(tools=tools, tool_choice=choice)).json()

    Response.model_validate(shown)
    assert [item["type"] for item in shown["output"]] == ["reasoning", "function_call"]
    assert shown["output"][1]["name"] == "lookup"


def test_max_tool_calls_bounds_the_pictures(http: httpx2.Client) -> None:
    steering = {"x-sandbox": "image_calls=3"}

    def pictures(**more: object) -> int:
        shown = http.post("/v1/responses", json=body() | more, headers=steering).json()
        return sum(item["type"] == "image_generation_call" for item in shown["output"])

    assert (pictures(), pictures(max_tool_calls=2), pictures(tool_choice="none")) == (3, 2, 0)
    assert invoice(http)["images"] == 5


def test_max_output_tokens_cuts_the_words_and_not_the_picture(http: httpx2.Client) -> None:
    shown = http.post("/v1/responses", json=body(max_output_tokens=90)).json()

    Response.model_validate(shown)
    assert (shown["status"], shown["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert shown["usage"]["output_tokens"] == 90
    assert shown["output"][1]["status"] == "completed"
    assert invoice(http)["images"] == 1


def test_a_kept_response_can_be_had_again_and_deleted(client: OpenAI) -> None:
    made = client.responses.create(model="gpt-4o", input="Hello")

    assert (
        client.responses.retrieve(made.id, include=["reasoning.encrypted_content"]).output_text
        == made.output_text
    )
    items = client.responses.input_items.list(made.id)
    assert [item.type for item in items] == ["message"]
    client.responses.delete(made.id)
    with pytest.raises(NotFoundError, match=f"Response with id '{made.id}' not found."):
        client.responses.retrieve(made.id)


def test_a_response_that_is_not_kept_cannot_be_had_again(client: OpenAI) -> None:
    made = client.responses.create(model="gpt-4o", input="Hello", store=False)

    with pytest.raises(NotFoundError):
        client.responses.retrieve(made.id)
    with pytest.raises(BadRequestError, match="not found"):
        client.responses.create(model="gpt-4o", input="And?", previous_response_id=made.id)


def finished(client: OpenAI, response_id: str) -> Response:
    """A background response at its end; asking again is all the waiting there is."""
    for _ in range(20_000):
        found = client.responses.retrieve(response_id)
        if found.status not in {"queued", "in_progress"}:
            return found
    raise TimeoutError(f"{response_id} never ended")


def test_a_background_response_is_queued_and_then_done_and_billed_once(
    client: OpenAI, http: httpx2.Client
) -> None:
    begun = client.responses.create(model="gpt-5", input="Draw a red fox", tools=[TOOL], background=True)

    assert begun.status == "queued"
    done = finished(client, begun.id)
    assert done.status == "completed"
    assert len(calls_of(done)) == 1
    finished(client, begun.id)
    assert billed(http, 1)["requests"] == 1


def test_a_background_stream_can_be_resumed_after_any_event(client: OpenAI, http: httpx2.Client) -> None:
    answer = http.post("/v1/responses", json=body(TWO_PARTIALS, background=True, stream=True))
    whole = events(answer.text)
    assert kinds(whole)[:3] == ["response.created", "response.queued", "response.in_progress"]
    response = whole[0]["response"]

    with client.responses.retrieve(response["id"], stream=True, starting_after=4) as stream:
        resumed = [event.sequence_number for event in stream]

    assert resumed == [event["sequence_number"] for event in whole][5:]
    assert len(billed(http, 1)["charges"]) == 1


def test_a_stream_of_a_foreground_response_cannot_be_resumed(client: OpenAI) -> None:
    made = client.responses.create(model="gpt-4o", input="Hello")

    with pytest.raises(BadRequestError):
        client.responses.retrieve(made.id, stream=True)


def test_cancelling_a_background_response_bills_only_what_was_made(
    client: OpenAI, http: httpx2.Client
) -> None:
    begun = client.responses.create(
        model="gpt-5",
        input="Draw a red fox",
        tools=[TOOL],
        background=True,
        extra_headers={"x-sandbox": "delay_ms=60000"},
    )

    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.cancel(begun.id).status == "cancelled"
    assert client.responses.retrieve(begun.id).status == "cancelled"
    assert invoice(http)["requests"] == 0


def test_a_foreground_response_cannot_be_cancelled(client: OpenAI) -> None:
    made = client.responses.create(model="gpt-4o", input="Hello")

    with pytest.raises(BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(made.id)


def test_input_tokens_are_counted_and_not_billed(client: OpenAI, http: httpx2.Client) -> None:
    counted = client.responses.input_tokens.count(model="gpt-5", input="Draw a red fox")

    assert counted.input_tokens > 3
    assert invoice(http)["requests"] == 0


def test_compacting_answers_with_a_sealed_item_and_is_billed(client: OpenAI, http: httpx2.Client) -> None:
    shown = client.responses.compact(model="gpt-5", input="Draw a red fox")

    assert shown.object == "response.compaction"
    assert [item.type for item in shown.output] == ["message", "compaction"]
    assert invoice(http)["lines"][0]["tokens"]["output_text"] == shown.usage.output_tokens


def test_who_leaves_a_stream_pays_the_input_and_what_was_delivered_of_the_picture(
    http: httpx2.Client,
) -> None:
    steering = {"x-sandbox": "partials=16; delay_ms=8000"}
    one_partial: ImageGeneration = {**TOOL, "partial_images": 1}
    with http.stream(
        "POST", "/v1/responses", json=body(one_partial, stream=True), headers=steering
    ) as answer:
        for chunk in answer.iter_raw():
            if b"partial_image_b64" in chunk:
                break

    lines = billed(http, 1)["lines"]
    assert [(line["kind"], line["images"], line["tokens"]["output_image"]) for line in lines] == [
        ("image", 0, 100)
    ]


def test_an_error_event_comes_after_the_head_and_fails_the_response(
    client: OpenAI, http: httpx2.Client
) -> None:
    steering = {"x-sandbox": "fail=error-event"}
    found = events(http.post("/v1/responses", json=body(stream=True), headers=steering).text)
    flat = {"x-sandbox": "fail=error-event; error_form=flat"}
    other = events(http.post("/v1/responses", json=body(stream=True), headers=flat).text)

    assert kinds(found) == [*HEAD, "error", "response.failed"]
    assert found[2]["error"]["code"] == other[2]["code"] == "server_error"
    assert invoice(http)["requests"] == 0
    with (
        pytest.raises(APIError),
        client.responses.create(
            model="gpt-5", input="Draw", tools=[TOOL], stream=True, extra_headers=steering
        ) as stream,
    ):
        list(stream)


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": None}, 400, "model", "missing_required_parameter"),
        ({"model": "no-such-model"}, 404, "model", "model_not_found"),
        ({"input": None}, 400, "input", "missing_required_parameter"),
        ({"input": 7}, 400, "input", "invalid_type"),
        ({"previous_response_id": "resp_none"}, 400, "previous_response_id", "previous_response_not_found"),
        ({"conversation": "conv_none"}, 404, None, None),
        ({"tools": [{"type": "image_generation", "model": "no-such"}]}, 400, "tools", "invalid_value"),
        ({"input": [{"type": "image_generation_call", "id": "ig_none"}]}, 404, "input", None),
        ({"previous_response_id": "a", "conversation": "b"}, 400, "previous_response_id", "mutually_exclusive_parameters"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_refused_in_openais_words(
    http: httpx2.Client, change: dict[str, object], status: int, param: str | None, code: str | None
) -> None:
    answer = http.post("/v1/responses", json=body() | change)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert invoice(http)["requests"] == 0


BRINGERS = [
    {"type": "additional_tools", "role": "developer", "tools": [TOOL]},
    {"type": "tool_search_output", "call_id": "call_1", "execution": "client", "tools": [TOOL]},
]


@pytest.mark.parametrize("bringer", BRINGERS, ids=lambda one: one["type"])
def test_an_image_tool_that_an_input_item_brings_draws_like_one_of_the_call(
    http: httpx2.Client, bringer: dict[str, object]
) -> None:
    question = {"role": "user", "content": "Draw a red fox"}

    answer = http.post("/v1/responses", json={"model": "gpt-5", "input": [question, bringer]})

    shown = Response.model_validate_json(answer.content)
    assert len(calls_of(shown)) == 1
    assert [line["kind"] for line in invoice(http)["lines"]] == ["main", "image"]
    assert shown.tools == []


def test_an_image_tool_stays_for_the_turns_after_the_item_that_brought_it(http: httpx2.Client) -> None:
    question = {"role": "user", "content": "Draw a red fox"}
    first = http.post("/v1/responses", json={"model": "gpt-5", "input": [question, BRINGERS[0]]}).json()

    again = http.post(
        "/v1/responses",
        json={"model": "gpt-5", "input": "And a blue one", "previous_response_id": first["id"]},
    )

    assert len(calls_of(Response.model_validate_json(again.content))) == 1


def test_the_tools_of_an_input_item_are_checked_like_those_of_the_call(http: httpx2.Client) -> None:
    wrong = {"type": "additional_tools", "role": "developer", "tools": [{"type": 3}]}

    answer = http.post("/v1/responses", json={"model": "gpt-5", "input": [wrong]})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_type")
