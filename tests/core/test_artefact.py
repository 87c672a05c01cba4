"""One answer in other forms than it was asked for, against what the sandbox answers in those forms."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types import ImageEditCompletedEvent, ImageGenCompletedEvent, ImagesResponse

from gateway.core.artefact import (
    PIECE_BYTES,
    PLAIN,
    Cutter,
    Form,
    choose,
    content_type,
    form_of,
    length,
    pieces,
    plan,
)
from gateway.core.contents import Contents, Reader, Span, packed, unpacked
from tests.support.chunking import cuts, split
from tests.support.replies import B64, call_of, event, images_body, images_stream, usage
from tests.support.sandbox import sandbox
from tests.support.sandbox_client import data_url, events, png

GENERATIONS, EDITS, VARIATIONS = "images.generations", "images.edits", "images.variations"
ASK: dict[str, Any] = {
    "model": "gpt-image-1",
    "prompt": "a red fox",
    "size": "1024x1024",
    "quality": "low",
    "safety_identifier": "visitor-7",
}
CALLS = {GENERATIONS: ASK, EDITS: {**ASK, "images": [{"image_url": data_url(png((96, 64)))}]}}
Answer = Callable[[str, Form], bytes]


def stream(partial_images: int = 0) -> Form:
    return Form(stream=True, partial_images=partial_images)


def contents(body: bytes, *, is_stream: bool) -> Contents:
    """As a store gives it back."""
    reader = Reader(stream=is_stream)
    reader.feed(body)
    return unpacked(packed(reader.close()))


def made(body: bytes, asked: Form, wanted: Form, route: str = GENERATIONS) -> bytes | None:
    """The answer in another form; None: it cannot be made."""
    steps = plan(contents(body, is_stream=asked.stream), asked, wanted, route)
    if steps is None:
        return None
    found = b"".join(pieces([body], steps))
    assert length(steps) == len(found)
    return found


def surely(body: bytes, asked: Form, wanted: Form, route: str = GENERATIONS) -> bytes:
    found = made(body, asked, wanted, route)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def answer() -> Iterator[Answer]:
    """What the sandbox answers to the same call in this form; the same bytes each time."""
    known: dict[tuple[str, Form], bytes] = {}
    with (
        sandbox() as url,
        httpx2.Client(base_url=url, headers={"authorization": "Bearer sk-any"}, trust_env=False) as http,
    ):

        def get(route: str, form: Form) -> bytes:
            if (route, form) not in known:
                asked = {"stream": True, "partial_images": form.partial_images} if form.stream else {}
                reply = http.post(f"/v1/{route.replace('.', '/')}", json={**CALLS[route], **asked})
                assert reply.status_code == 200
                known[route, form] = reply.content
            return known[route, form]

        yield get


def timeless(value: dict[str, Any], created: str) -> dict[str, Any]:
    """Without what two calls differ in, and without the one field that only a plain answer has."""
    assert isinstance(value[created], int)
    reported = {key: one for key, one in value["usage"].items() if key != "output_tokens_details"}
    return {**value, created: 0, "usage": reported}


@pytest.mark.parametrize("route", CALLS)
class TestAgainstTheSandbox:
    def test_a_stream_gives_the_plain_answer_that_would_have_come(self, answer: Answer, route: str) -> None:
        ours = json.loads(surely(answer(route, stream()), stream(), PLAIN, route))
        theirs = json.loads(answer(route, PLAIN))
        assert timeless(ours, "created") == timeless(theirs, "created")
        assert list(ours) == list(theirs)

    def test_a_plain_answer_gives_the_stream_that_would_have_come(self, answer: Answer, route: str) -> None:
        (ours,) = events(surely(answer(route, PLAIN), PLAIN, stream(), route).decode())
        (theirs,) = events(answer(route, stream()).decode())
        assert timeless(ours, "created_at") == timeless(theirs, "created_at")
        assert list(ours) == list(theirs)

    def test_the_usage_is_the_original_s_with_the_partial_images_that_were_made(
        self, answer: Answer, route: str
    ) -> None:
        ours = json.loads(surely(answer(route, stream(2)), stream(2), PLAIN, route))
        (*_, end) = events(answer(route, stream(2)).decode())
        assert ours["usage"] == end["usage"]
        assert ours["created"] == end["created_at"]
        assert ours["data"] == [{"b64_json": end["b64_json"]}]

    def test_fewer_partial_images_are_the_first_ones_byte_for_byte(self, answer: Answer, route: str) -> None:
        body = answer(route, stream(3))
        frames = [frame + b"\n\n" for frame in body.split(b"\n\n")[:-1]]
        for wanted in range(3):
            kept = [*frames[:wanted], frames[-1]]
            assert surely(body, stream(3), stream(wanted), route) == b"".join(kept)

    def test_the_official_sdk_reads_what_is_made(self, answer: Answer, route: str) -> None:
        plain = ImagesResponse.model_validate_json(surely(answer(route, stream(1)), stream(1), PLAIN, route))
        assert plain.data
        assert plain.usage
        body = surely(answer(route, PLAIN), PLAIN, stream(), route)
        (end,) = SSEDecoder().iter_bytes(iter([body]))
        kind = ImageGenCompletedEvent if route == GENERATIONS else ImageEditCompletedEvent
        assert end.event == end.json()["type"]
        read = kind.model_validate(end.json())
        assert read.b64_json == plain.data[0].b64_json
        assert read.usage.total_tokens == plain.usage.total_tokens - 100

    @pytest.mark.parametrize("form", [PLAIN, stream(), stream(2)], ids=lambda form: form.name)
    def test_the_same_form_is_the_same_bytes(self, answer: Answer, route: str, form: Form) -> None:
        body = answer(route, form)
        assert made(body, form, form, route) == body

    def test_there_and_back_the_picture_is_the_same(self, answer: Answer, route: str) -> None:
        body = answer(route, PLAIN)
        there = surely(body, PLAIN, stream(), route)
        back = surely(there, stream(), PLAIN, route)
        assert json.loads(back) == json.loads(body)


class TestWhatIsNotMade:
    @pytest.mark.parametrize("wanted", [stream(1), stream(3), stream(-1)], ids=lambda form: form.name)
    def test_partial_images_that_nobody_asked_for(self, wanted: Form) -> None:
        assert made(images_body(usage(1)), PLAIN, wanted) is None
        assert made(images_stream(0, usage(1)), stream(), wanted) is None

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(images_body(usage(1), pictures=2), id="two pictures"),
            pytest.param(images_body(usage(1), pictures=0), id="none"),
            pytest.param(images_body(usage(1), output_format="gif"), id="GIF"),
            pytest.param(images_body(usage(1), output_format="svg"), id="SVG"),
            pytest.param(images_body(usage(1), size=None), id="no size"),
            pytest.param(images_body(usage(1), created=None), id="no time"),
            pytest.param(images_body(usage(1), data=[{"b64_json": ""}]), id="an empty picture"),
            pytest.param(images_body(usage(1), data=[7]), id="no picture"),
            pytest.param(images_body(usage(1), data=[{"url": "https://a/b.png"}]), id="a link"),
            pytest.param(
                b'{"other":"' + b"x" * 9000 + b'",' + images_body(usage(1))[1:], id="a long string before it"
            ),
            pytest.param(b"{}", id="nothing"),
        ],
    )
    def test_a_stream_of_what_the_api_does_not_stream(self, body: bytes) -> None:
        assert made(body, PLAIN, stream()) is None
        assert made(body, PLAIN, PLAIN) == body

    def test_a_stream_of_a_variation(self) -> None:
        assert made(images_body(usage(1)), PLAIN, stream(), VARIATIONS) is None

    @pytest.mark.parametrize(
        "body",
        [
            event("image_generation.completed", created_at=1, b64_json=""),
            event("image_generation.completed", created_at=1),
            event("image_generation.completed", b64_json=B64),
            event("image_generation.completed", created_at=1, b64_json=B64, other="x" * 9000),
            event("image_generation.completed", created_at=1, b64_json=B64, url="https://a/b.png"),
            images_stream(1, usage(1))[:-1],
            b"data: [DONE]\n\n",
        ],
        ids=["an empty picture", "none", "no time", "another long string", "a link", "not ended", "no event"],
    )
    def test_a_plain_answer_of_a_stream_that_does_not_say_enough(self, body: bytes) -> None:
        assert made(body, stream(), PLAIN) is None
        assert made(body, stream(), stream()) == body

    @pytest.mark.parametrize("wanted", [PLAIN, stream(1)], ids=lambda form: form.name)
    def test_a_response_in_another_form(self, wanted: Form) -> None:
        body = event("response.completed", response={})
        assert made(body, stream(), wanted, "responses.create") is None
        assert made(body, stream(), stream(), "responses.create") == body


KEPT = {
    PLAIN: contents(images_body(usage(1)), is_stream=False),
    stream(1): contents(images_stream(1, usage(2)), is_stream=True),
    stream(3): contents(images_stream(3, usage(3)), is_stream=True),
}


@pytest.mark.parametrize(
    ("kept", "wanted", "chosen"),
    [
        (KEPT, PLAIN, PLAIN),
        (KEPT, stream(3), stream(3)),
        (KEPT, stream(2), stream(3)),
        (KEPT, stream(0), stream(1)),
        ([stream(3), stream(1)], PLAIN, stream(1)),
        ([PLAIN], stream(0), PLAIN),
        ([PLAIN], stream(1), None),
        ([PLAIN, stream(1)], stream(2), None),
        ([], PLAIN, None),
    ],
)
def test_the_same_form_is_chosen_first_and_then_what_leaves_out_the_least(
    kept: Any, wanted: Form, chosen: Form | None
) -> None:
    found = choose({form: KEPT[form] for form in kept}, wanted, GENERATIONS)
    assert (found and found[0]) == chosen
    if found is not None:
        assert found[1] == plan(KEPT[found[0]], found[0], wanted, GENERATIONS)


def test_a_stream_with_several_terminal_events_becomes_no_plain_answer() -> None:
    """How many pictures were asked for is not known here: what a plain answer would have is for the API to say."""
    body = event("image_edit.completed", b64_json=B64, created_at=1, usage=usage(1)) + event(
        "image_edit.completed", b64_json=B64.replace("A", "B"), created_at=2, usage=usage(2)
    )
    assert made(body, stream(), PLAIN, EDITS) is None


def test_fields_that_nobody_knows_yet_pass_into_the_other_form() -> None:
    stated = images_body(usage(1), model="gpt-image-9", cost={"usd": 1})
    (end,) = events(surely(stated, PLAIN, stream()).decode())
    assert (end["model"], end["cost"]) == ("gpt-image-9", {"usd": 1})
    body = event("image_edit.completed", b64_json=B64, created_at=1, model="m", sequence_number=4)
    assert json.loads(surely(body, stream(), PLAIN, EDITS)) == {
        "created": 1,
        "data": [{"b64_json": B64}],
        "model": "m",
    }


def test_a_long_string_behind_the_picture_is_copied_as_the_picture_is() -> None:
    body = images_body(usage(1), other="\\\n" * 9000)
    (end,) = events(surely(body, PLAIN, stream()).decode())
    assert (end["b64_json"], end["other"]) == (B64, "\\\n" * 9000)


def test_a_tiny_picture_is_made_as_well() -> None:
    body = images_stream(1, usage(1)).replace(B64.encode(), b"iVBO")
    assert json.loads(surely(body, stream(1), PLAIN))["data"] == [{"b64_json": "iVBO"}]


def test_whatever_is_no_partial_image_passes_where_it_was() -> None:
    first, second, end = (
        frame + b"\n\n" for frame in images_stream(2, usage(1)).replace(b"\n", b"\r\n").split(b"\r\n\r\n")[:3]
    )
    body = b": hello\n\n" + first + b": ping\n\n" + event("keepalive") + second + b": bye\n\n" + end + b": x"
    kept = b": hello\n\n" + first + b": ping\n\n" + event("keepalive") + b": bye\n\n" + end + b": x"
    assert surely(body, stream(2), stream(1)) == kept


def test_an_index_is_what_counts_not_a_number_of_events() -> None:
    """An upstream may skip the first partial image: a caller of one gets none, as it might have had it."""
    first, rest = images_stream(2, usage(1)).split(b"\n\n", 1)
    assert surely(rest, stream(2), stream(1)) == rest.split(b"\n\n", 1)[1]
    assert b"partial_image_index" in first


def test_more_partial_images_than_were_asked_for_are_part_of_that_form() -> None:
    body = images_stream(3, usage(1))
    assert surely(body, stream(1), stream(1)) == body
    assert surely(body, stream(1), stream(0)).count(b"event: ") == 1


def test_an_upstream_that_does_not_stream_is_answered_from_for_either_form() -> None:
    body = images_body(usage(1))
    found = contents(body, is_stream=False)
    for wanted in (PLAIN, stream(2)):
        assert plan(found, stream(2), wanted, GENERATIONS) == (Span(0, len(body)),)


@given(st.data())
def test_it_does_not_matter_in_which_chunks_a_body_is_kept(data: st.DataObject) -> None:
    body = images_stream(3, usage(1))
    asked, wanted = stream(3), data.draw(st.sampled_from([PLAIN, stream(), stream(1), stream(3)]))
    steps = plan(contents(body, is_stream=True), asked, wanted, GENERATIONS)
    assert steps is not None
    assert b"".join(pieces(split(body, data.draw(cuts(len(body)))), steps)) == made(body, asked, wanted)


def test_a_chunk_that_is_given_whole_is_not_copied_and_a_part_of_one_a_piece_at_a_time() -> None:
    chunk = b"x" * (PIECE_BYTES * 3)
    (given_,) = pieces([chunk], (Span(0, len(chunk)),))
    assert given_ is chunk
    assert max(map(len, pieces([chunk], (Span(1, len(chunk)),)))) == PIECE_BYTES


def test_chunks_behind_the_last_byte_are_not_needed() -> None:
    cutter = Cutter((b"<", Span(2, 4), b">"))
    assert list(cutter.feed(b"abc")) == [b"<", b"c"]
    assert not cutter.done
    assert list(cutter.feed(b"def")) == [b"d", b">"]
    assert cutter.done


def test_a_body_that_is_shorter_than_planned_is_noticed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(pieces([b"abc"], (Span(0, 4),)))


@pytest.mark.parametrize(
    ("path", "body", "form", "name"),
    [
        ("images/generations", {}, PLAIN, "plain"),
        ("images/generations", {"partial_images": 2}, PLAIN, "plain"),
        ("images/generations", {"stream": True}, stream(), "stream0"),
        ("images/edits", {"stream": True, "partial_images": 3}, stream(3), "stream3"),
        ("responses", {"stream": False}, PLAIN, "plain"),
        (
            "responses",
            {"stream": True, "tools": [{"type": "image_generation", "partial_images": 2}]},
            stream(),
            "stream0",
        ),
    ],
)
def test_a_call_asks_for_a_form(path: str, body: dict[str, Any], form: Form, name: str) -> None:
    assert form_of(call_of(path, **body)) == form
    assert form.name == name


def test_a_form_that_was_made_says_what_it_is() -> None:
    assert content_type(PLAIN) == b"application/json"
    assert content_type(stream(1)) == b"text/event-stream; charset=utf-8"
