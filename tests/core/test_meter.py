import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.meter import HELD_BYTES, Meter
from gateway.core.observation import End, Ending, Image, Observation, Tool
from gateway.core.record import Outcome
from gateway.core.usage import ImageUsage
from tests.support.chunking import cuts, split
from tests.support.replies import (
    LOOK,
    event,
    images_body,
    images_stream,
    item,
    observed,
    response,
    response_stream,
    usage,
)

BIG = "A" * 30_000
PARTIAL = event("image_generation.partial_image", b64_json=BIG, **LOOK, partial_image_index=0)
LIVES = {
    "images": images_body(usage(544), pictures=2),
    "images stream": images_stream(2, usage(472)),
    "edit stream": images_stream(1, usage(372), family="image_edit"),
    "response": json.dumps(response([item(1), item(2)], drawn=usage(544))).encode(),
    "response stream": response_stream(response([item(1), item(2)], drawn=usage(944)), partials=2),
    "error": b'{"error":{"code":"moderation_blocked","message":"x"}}',
}


def is_stream(name: str) -> bool:
    return name.endswith("stream")


def test_a_plain_answer_is_read_around_its_pictures() -> None:
    seen = observed(LIVES["images"])
    assert seen == Observation(
        ending=Ending.CLEAN,
        status=200,
        whole=True,
        lists_images=True,
        images=(Image(size="1024x1024", quality="low", finished=True),) * 2,
        image_usage=ImageUsage(input_tokens=14, input_text=14, input_image=0, output_tokens=544),
    )
    assert seen.outcome is Outcome.COMPLETED


def test_a_plain_answer_may_come_in_any_order_of_keys() -> None:
    body = json.loads(LIVES["images"])
    turned = json.dumps(dict(reversed(body.items())), indent=1).encode()
    assert observed(turned) == observed(LIVES["images"])


def test_a_stream_is_read_around_its_pictures() -> None:
    seen = observed(LIVES["images stream"], stream=True)
    assert (seen.stream, seen.end, seen.outcome) == (True, End.COMPLETED, Outcome.COMPLETED)
    assert seen.images == (Image(size="1024x1024", quality="low", partials=2, finished=True),)
    assert seen.image_usage is not None
    assert seen.image_usage.output_tokens == 472


def test_a_response_is_read_with_all_its_images() -> None:
    seen = observed(LIVES["response stream"], stream=True)
    assert [(image.partials, image.finished) for image in seen.images] == [(2, True), (2, True)]
    assert (seen.response_id, seen.response_status, seen.model) == ("resp_1", "completed", "gpt-5")
    assert (seen.service_tier, seen.tools) == ("default", (Tool(model="gpt-image-1"),))
    assert seen.text_usage is not None
    assert observed(LIVES["response"]).images == tuple(
        Image(size="1024x1024", quality="low", finished=True) for _ in range(2)
    )


def test_the_head_says_whether_it_is_a_stream() -> None:
    assert Meter(200, [(b"content-type", b"text/event-stream")]).stream
    assert not Meter(200, [(b"content-type", b"application/json")]).stream
    assert not Meter(400, [(b"content-type", b"text/event-stream")]).stream


@pytest.mark.parametrize(
    ("body", "end"),
    [
        pytest.param(b"", End.NONE, id="nothing"),
        pytest.param(PARTIAL, End.NONE, id="partials only"),
        pytest.param(
            PARTIAL + b'event: image_generation.completed\ndata: {"b64_json":"x"}\n\n',
            End.COMPLETED,
            id="images",
        ),
        pytest.param(
            b'data: {"type":"image_edit.completed","b64_json":"x"}\n\n', End.COMPLETED, id="no event line"
        ),
        pytest.param(b'data: {"type": "response.completed"}\r\n\r\n', End.COMPLETED, id="CRLF and a space"),
        pytest.param(
            b'\xef\xbb\xbfdata:{"type":"response.completed"}\n\n', End.COMPLETED, id="byte order mark"
        ),
        pytest.param(b'data: {"type":\ndata: "response.completed"}\n\n', End.COMPLETED, id="two data lines"),
        pytest.param(b"event: response.incomplete\ndata: {}\n\n", End.INCOMPLETE, id="incomplete"),
        pytest.param(b"event: response.failed\ndata: {}\n\n", End.FAILED, id="failed"),
        pytest.param(b'event: error\ndata: {"type":"error","error":{}}\n\n', End.FAILED, id="error event"),
        pytest.param(b'data: {"error":{"message":"x"}}\n\n', End.FAILED, id="bare error"),
        pytest.param(
            b"event: error\ndata: {}\n\nevent: response.completed\ndata: {}\n\n", End.FAILED, id="error stays"
        ),
        pytest.param(b'event: keepalive\ndata: {"type":"keepalive"}\n\n: x\n\n', End.NONE, id="keep-alive"),
        pytest.param(
            b"event: response.image_generation_call.completed\ndata: {}\n\n",
            End.NONE,
            id="one call of several",
        ),
        pytest.param(b'data: {"type":"response.completed"}', End.NONE, id="cut in the line"),
        pytest.param(b"event: response.completed\n\n", End.NONE, id="an event without data"),
        pytest.param(b"\xff\x00\n" * 50, End.NONE, id="garbage"),
        pytest.param(
            b'data: {"type":"response.created","response":{"instructions":"\\"type\\":\\"error\\""}}\n\n',
            End.NONE,
            id="an echoed prompt",
        ),
    ],
)
def test_a_streams_end_is_read_from_its_terminal_event(body: bytes, end: End) -> None:
    assert observed(body, stream=True).end is end
    assert observed((body[at : at + 1] for at in range(len(body))), stream=True).end is end


def test_the_id_of_a_streamed_response_is_known_before_its_end() -> None:
    body = response_stream(response([item(1)]))
    meter = Meter(200, [(b"content-type", b"text/event-stream")])
    first = body.index(b"\n\n") + 2
    known = []
    for part in (body[: first - 2], body[first - 2 : first], body[first:]):
        meter.feed(part)
        known.append(meter.response_id)
    assert known == [None, "resp_1", "resp_1"]
    assert meter.close(Ending.CLEAN).response_id == "resp_1"


def test_what_a_cut_last_line_reports_is_true_all_the_same() -> None:
    body = LIVES["images stream"].rstrip(b"\n")
    seen = observed(body, stream=True, ending=Ending.BROKEN)
    assert seen.end is End.NONE
    assert seen.image_usage is not None


@pytest.mark.parametrize(
    "document",
    [
        {"type": 1, "response": {"output": [1, {"type": "image_generation_call"}], "tools": 3, "usage": []}},
        {"type": "response.output_item.done", "item": 5},
        {
            "type": "response.completed",
            "response": {"output": {"a": 1}, "tool_usage": {"image_gen": 5}, "error": 1},
        },
        {"type": "image_generation.completed", "usage": "many"},
        {"type": {"a": 1}, "error": [1]},
        [1],
    ],
)
def test_no_shape_of_an_event_is_too_strange(document: object) -> None:
    body = f"data: {json.dumps(document)}\n\n".encode()
    assert observed(body, stream=True).text_usage is None
    assert observed(json.dumps(document).encode()).image_usage is None


def test_a_response_that_is_still_in_the_making_is_pending() -> None:
    queued = observed(json.dumps(response(status="queued", main=None)).encode())
    assert queued.pending
    assert not observed(LIVES["response"]).pending


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("completed", Outcome.COMPLETED),
        ("failed", Outcome.FAILED),
        ("incomplete", Outcome.INCOMPLETE),
        ("cancelled", Outcome.CANCELLED),
    ],
)
def test_a_plain_responses_outcome_is_its_status(status: str, outcome: Outcome) -> None:
    assert observed(json.dumps(response(status=status)).encode()).outcome is outcome


@given(st.data())
def test_the_observation_does_not_depend_on_where_the_network_cuts(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(LIVES)))
    body = LIVES[name]
    pieces = split(body, data.draw(cuts(len(body))))
    assert observed(pieces, stream=is_stream(name)) == observed(body, stream=is_stream(name))


@given(st.data())
def test_a_mutated_answer_never_raises_and_is_seen_alike_in_pieces(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(LIVES)))
    body = bytearray(LIVES[name])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 300))] = data.draw(
            st.binary(max_size=6)
            | st.sampled_from([b'"', b"\\", b"\n", b"\n\n", b"{", b"]", b"null", b"-1", b"1e9"])
        )
    whole = bytes(body)
    stream = data.draw(st.booleans())
    pieces = split(whole, data.draw(cuts(len(whole))))
    assert observed(pieces, stream=stream) == observed(whole, stream=stream)


@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
def test_garbage_never_raises(chunks: list[bytes], stream: bool) -> None:
    assert observed(chunks, stream=stream).ending is Ending.CLEAN


@pytest.mark.parametrize("stream", [True, False])
def test_fifty_megabytes_of_pictures_pass_in_constant_memory(stream: bool) -> None:
    meter = Meter(200, [(b"content-type", b"text/event-stream" if stream else b"application/json")])
    chunk = b"A" * 65_536
    start = (
        b'data: {"type":"image_generation.partial_image","b64_json":"'
        if stream
        else b'{"data":[{"b64_json":"'
    )
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(25):
            meter.feed(start)
            for _ in range(32):
                meter.feed(chunk)
            meter.feed(b'"}\n\n' if stream else b'"}]}')
        held = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert held < 2 * HELD_BYTES
    assert sum(image.partials for image in meter.close(Ending.CLEAN).images) == (25 if stream else 0)
