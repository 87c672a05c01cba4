import base64
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from gateway.cli.guide.responses import answered, steps
from gateway.cli.guide.step import Answer, Desk, NotPossibleError

CALL: dict[str, Any] = {
    "id": "ig_1",
    "type": "image_generation_call",
    "status": "completed",
    "action": "edit",
    "result": base64.b64encode(b"whole").decode(),
    "size": "1024x1024",
    "quality": "low",
}


def response(
    *output: dict[str, Any], status: str = "completed", tool_usage: dict[str, Any] | None = None
) -> Response:
    return Response.model_validate(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 0,
            "model": "gpt-5",
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "status": status,
            "tool_usage": tool_usage,
        }
    )


USAGE = {
    "image_gen": {
        "input_tokens": 9,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": 9},
        "output_tokens": 784,
        "total_tokens": 793,
    },
    "web_search": {"num_requests": 0},
}


def test_a_finished_response_tells_its_pictures_and_the_image_tools_tokens() -> None:
    answer = answered(response(CALL, tool_usage=USAGE), "edit")

    assert answer == Answer((b"whole",), 784, size="1024x1024", quality="low")


def test_a_response_without_tool_usage_reports_nothing() -> None:
    assert answered(response(CALL), "edit").tokens is None


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (response(CALL, status="incomplete"), "the response is incomplete"),
        (
            response(CALL | {"action": "generate"}),
            "the image call's action is generate, not edit",
        ),
        (
            response(CALL | {"status": "failed", "result": None}),
            "the image call is failed",
        ),
    ],
    ids=["unfinished", "drawn from nothing", "failed"],
)
def test_a_response_that_is_not_as_asked_says_why(made: Response, fault: str) -> None:
    assert answered(made, "edit").faults == (fault,)


@pytest.mark.parametrize("name", ["Responses, by response id", "Responses, by image id"])
def test_follow_ups_need_a_first_turn(tmp_path: Path, name: str) -> None:
    client = openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="sk-none")
    desk = Desk(client, "http://127.0.0.1:1", tmp_path, lambda *_: None)
    follow_up = next(step for step in steps("gpt-image-2") if step.name == name)

    with pytest.raises(NotPossibleError, match="it follows up a response"):
        follow_up.run(desk)


def test_a_call_that_names_no_tool_model_is_counted_by_the_default() -> None:
    counted = {step.name: step.want.counted_as for step in steps("gpt-image-x")}

    assert counted["Responses, streamed"] == "gpt-image-1"
    assert set(counted.values()) == {"gpt-image-1", "gpt-image-x"}
