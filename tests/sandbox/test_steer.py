"""What a test can ask of the sandbox by `X-Sandbox`, as a text and as it comes out on the wire."""

from collections.abc import Mapping
from typing import Final

import httpx2
import pytest
from starlette.types import Message

from gateway.sandbox import errors
from gateway.sandbox.call import Call
from gateway.sandbox.steer import Steering, parse
from tests.support.sandbox_client import events, invoice, opened

LOW: Final[dict[str, object]] = {
    "model": "gpt-image-1",
    "prompt": "a red fox",
    "quality": "low",
    "size": "1024x1024",
}
STREAM: Final[dict[str, object]] = LOW | {"stream": True, "partial_images": 1}
RESPONSE: Final[dict[str, object]] = {
    "model": "gpt-5",
    "input": "Draw a fox",
    "tools": [{"type": "image_generation", "model": "gpt-image-1"}],
}
INPUT_NUSD = 9 * 5_000
IMAGE_NUSD = 272 * 40_000
PARTIAL_NUSD = 100 * 40_000


def steered(
    http: httpx2.Client, steering: str, body: Mapping[str, object], route: str = "images/generations"
) -> httpx2.Response:
    return http.post(f"/v1/{route}", json=body, headers={"x-sandbox": steering})


@pytest.mark.parametrize(
    ("header", "steering"),
    [
        ("", Steering()),
        ("delay_ms=20; partials=3;", Steering(delay_ms=20, partials=3)),
        ("fail=status=500", Steering(fail="status", fail_status=500)),
        ("fail=500", Steering(fail="status", fail_status=500)),
        ("status=429", Steering(fail="status", fail_status=429)),
        ("fail=mid-stream ; chunk=7", Steering(fail="mid-stream", chunk=7)),
        ("size_out=1254x1254;quality_out=medium", Steering(size_out="1254x1254", quality_out="medium")),
    ],
)
def test_a_header_spells_what_is_to_be_different(header: str, steering: Steering) -> None:
    assert parse(header) == steering


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("delay=3", "unknown key 'delay'"),
        ("partials", "partials='' must be a whole number"),
        ("delay_ms=-1", "from 0 to"),
        ("fail=never", "status=NNN or one of"),
        ("fail=status=200", "from 400 to 599"),
        ("usage=some", "one of omit, no_details, without_surcharge"),
        ("size_out=big", "WIDTHxHEIGHT"),
        ("quality_out=Hi!", "a quality such as low"),
    ],
)
def test_a_header_that_cannot_be_understood_says_what_would_be_right(header: str, says: str) -> None:
    with pytest.raises(errors.ApiError) as caught:
        parse(header)

    assert caught.value.status == 400
    assert says in caught.value.message


def test_bad_steering_is_answered_with_a_400_and_costs_nothing(http: httpx2.Client) -> None:
    answer = steered(http, "speed=3", LOW)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_steering")
    assert invoice(http)["requests"] == 0


@pytest.mark.parametrize("speed", [0, 0.5, 3])
def test_a_delay_is_the_whole_time_of_the_work_whatever_the_speed(speed: float) -> None:
    call = called(speed, parse("delay_ms=300"))

    assert (call.seconds(2), call.seconds(16)) == (0.3, 0.3)


def test_without_a_delay_the_work_takes_its_natural_time_at_the_speed() -> None:
    assert [called(speed, Steering()).seconds(6) for speed in (0, 0.5, 3)] == [0, 12, 2]


def called(speed: float, steering: Steering) -> Call:
    """A call that nobody sent, for what does not depend on the line."""

    async def receive() -> Message:
        raise AssertionError("nobody sends")

    async def send(message: Message) -> None:
        raise AssertionError(f"nobody listens to {message}")

    return Call({"type": "http"}, receive, send, b"", "images/generations", "req_1", speed, steering)


@pytest.mark.parametrize(("deliver", "tokens"), [(0, 272), (1, 372), (2, 372)])
def test_as_many_partial_images_come_as_steered_and_only_asked_ones_are_paid(
    http: httpx2.Client, deliver: int, tokens: int
) -> None:
    found = events(steered(http, f"partials={deliver}", STREAM).text)

    assert len(found) == deliver + 1
    assert found[-1]["usage"]["output_tokens"] == tokens
    assert invoice(http)["lines"][0]["tokens"]["output_image"] == tokens


def test_a_partial_image_that_nobody_asked_for_is_the_final_picture(http: httpx2.Client) -> None:
    found = events(steered(http, "partials=1", LOW | {"stream": True}).text)

    assert found[0]["b64_json"] == found[1]["b64_json"]


def test_usage_can_be_left_out_while_the_bill_stays_whole(http: httpx2.Client) -> None:
    assert "usage" not in steered(http, "usage=omit", LOW).json()
    assert "usage" not in events(steered(http, "usage=omit", STREAM).text)[-1]

    shown = steered(http, "usage=omit; tool_usage=omit", RESPONSE, "responses").json()

    assert shown["usage"] is None
    assert "tool_usage" not in shown
    bill = invoice(http)
    assert bill["requests"] == 3
    assert bill["charges"][0]["nano_dollars"] == INPUT_NUSD + IMAGE_NUSD
    assert bill["charges"][1]["nano_dollars"] == INPUT_NUSD + IMAGE_NUSD + PARTIAL_NUSD
    assert [line["kind"] for line in bill["charges"][2]["lines"]] == ["main", "image"]


def test_the_details_of_the_output_can_be_left_out(http: httpx2.Client) -> None:
    plain = steered(http, "usage=no_details", LOW).json()["usage"]
    tool = steered(http, "usage=no_details", RESPONSE, "responses").json()["tool_usage"]["image_gen"]

    assert (plain["output_tokens"], "output_tokens_details" in plain) == (272, False)
    assert "output_tokens_details" not in tool


def test_the_surcharge_can_be_kept_from_usage_but_not_from_the_bill(http: httpx2.Client) -> None:
    found = events(steered(http, "usage=without_surcharge", STREAM).text)

    assert found[-1]["usage"]["output_tokens"] == 272
    assert invoice(http)["lines"][0]["tokens"]["output_image"] == 372


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503, 524])
def test_any_status_can_be_had_in_openais_shape_for_nothing(http: httpx2.Client, status: int) -> None:
    answer = steered(http, f"fail=status={status}", LOW)

    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert ("retry-after" in answer.headers) == (status == 429)
    assert invoice(http)["requests"] == 0


@pytest.mark.parametrize("body", [LOW, STREAM])
def test_the_line_can_break_before_the_head(http: httpx2.Client, body: Mapping[str, object]) -> None:
    with pytest.raises(httpx2.TransportError):
        steered(http, "fail=before", body)

    assert invoice(http)["requests"] == 0


def test_an_answer_can_be_lost_after_it_was_made_and_billed(http: httpx2.Client) -> None:
    with pytest.raises(httpx2.TransportError):
        steered(http, "fail=lost", LOW)

    assert invoice(http)["nano_dollars"] == INPUT_NUSD + IMAGE_NUSD


def test_a_plain_answer_can_break_in_the_middle_and_is_billed_whole(http: httpx2.Client) -> None:
    with pytest.raises(httpx2.RemoteProtocolError):
        steered(http, "fail=mid-stream", LOW)

    assert invoice(http)["nano_dollars"] == INPUT_NUSD + IMAGE_NUSD


def broken(http: httpx2.Client, body: Mapping[str, object], route: str = "images/generations") -> bytes:
    """What came of a stream before its line broke."""
    came = b""
    steering = {"x-sandbox": "fail=mid-stream"}
    with http.stream("POST", f"/v1/{route}", json=body, headers=steering) as answer:
        try:
            for chunk in answer.iter_raw():
                came += chunk
        except httpx2.RemoteProtocolError:
            return came
    raise AssertionError("the line did not break")


def test_a_stream_that_breaks_after_its_first_partial_image_costs_what_was_delivered(
    http: httpx2.Client,
) -> None:
    came = broken(http, STREAM | {"partial_images": 3})

    assert [event["partial_image_index"] for event in events(came.decode())] == [0]
    assert invoice(http)["nano_dollars"] == INPUT_NUSD + PARTIAL_NUSD


def test_a_stream_without_partial_images_breaks_within_its_last_event_and_costs_all(
    http: httpx2.Client,
) -> None:
    came = broken(http, LOW | {"stream": True})

    assert came.startswith(b"event: image_generation.completed\ndata: {")
    assert not came.endswith(b"\n\n")
    assert invoice(http)["nano_dollars"] == INPUT_NUSD + IMAGE_NUSD


def test_a_stream_of_a_response_breaks_likewise(http: httpx2.Client) -> None:
    tool = {"type": "image_generation", "model": "gpt-image-1", "quality": "low", "partial_images": 2}
    came = broken(http, RESPONSE | {"stream": True, "tools": [tool]}, "responses")
    first = invoice(http)

    assert events(came.decode())[-1]["type"] == "response.image_generation_call.partial_image"
    assert [line["tokens"]["output_image"] for line in first["lines"]] == [100]
    assert b"response.output_text.done" in broken(http, RESPONSE | {"stream": True}, "responses")
    assert invoice(http)["images"] == 1


def test_an_error_event_of_an_images_stream_has_the_nested_form(http: httpx2.Client) -> None:
    found = events(steered(http, "fail=error-event", STREAM).text)

    assert [event["type"] for event in found] == ["image_generation.partial_image", "error"]
    assert found[1]["error"]["code"] == "server_error"
    assert invoice(http)["nano_dollars"] == INPUT_NUSD + PARTIAL_NUSD


def test_an_error_event_needs_a_stream(http: httpx2.Client) -> None:
    assert steered(http, "fail=error-event", LOW).json()["error"]["code"] == "invalid_steering"
    assert steered(http, "fail=error-event", RESPONSE, "responses").status_code == 400


def test_a_call_that_hangs_is_never_answered(http: httpx2.Client) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        http.post("/v1/images/generations", json=LOW, headers={"x-sandbox": "fail=hang"}, timeout=0.3)

    assert invoice(http)["requests"] == 0


@pytest.mark.parametrize("body", [LOW, STREAM])
def test_small_writes_change_nothing_but_where_the_body_is_cut(
    http: httpx2.Client, body: Mapping[str, object]
) -> None:
    whole = steered(http, "delay_ms=0", body)
    cut = steered(http, "chunk=4099", body)

    assert cut.headers["transfer-encoding"] == "chunked"
    if body is LOW:
        assert cut.json()["data"] == whole.json()["data"]
    else:
        assert [event["b64_json"] for event in events(cut.text)] == [
            event["b64_json"] for event in events(whole.text)
        ]


def test_the_answer_can_resolve_to_another_size_and_quality(http: httpx2.Client) -> None:
    body = {"model": "gpt-image-2", "prompt": "a red fox", "size": "auto"}

    answer = steered(http, "size_out=1254x1254; quality_out=high", body).json()

    assert (answer["size"], answer["quality"]) == ("1254x1254", "high")
    assert answer["usage"]["output_tokens"] == 8232
    assert opened(answer["data"][0]["b64_json"]).size == (1254, 1254)


def test_moderation_can_block_after_the_full_time(http: httpx2.Client) -> None:
    error = steered(http, "moderate=output", LOW).json()["error"]

    assert error["moderation_details"]["moderation_stage"] == "output"
    assert invoice(http)["requests"] == 0


@pytest.mark.parametrize("partials", [0, 1])
def test_moderation_can_block_a_streamed_picture_after_its_partial_images(
    http: httpx2.Client, partials: int
) -> None:
    found = events(steered(http, "moderate=output", STREAM | {"partial_images": partials}).text)

    assert [event["type"] for event in found] == ["image_generation.partial_image"] * partials + ["error"]
    error = found[-1]["error"]
    assert (error["code"], error["moderation_details"]["moderation_stage"]) == (
        "moderation_blocked",
        "output",
    )
    assert invoice(http)["nano_dollars"] == (INPUT_NUSD + PARTIAL_NUSD if partials else 0)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("stage", ["input", "output"])
def test_moderation_blocks_the_picture_of_a_response_at_either_stage(
    http: httpx2.Client, stage: str, stream: bool
) -> None:
    answer = steered(http, f"moderate={stage}", RESPONSE | {"stream": stream}, "responses")

    shown = events(answer.text)[-1]["response"] if stream else answer.json()
    [failed] = [item for item in shown["output"] if item["type"] == "image_generation_call"]
    assert (shown["status"], failed["status"]) == ("completed", "failed")
    assert failed["error"]["moderation_details"]["moderation_stage"] == stage
    assert [line["kind"] for line in invoice(http)["lines"]] == ["main"]
