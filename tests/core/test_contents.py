"""Where things lie in an answer, however it is cut, and whatever it holds."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.contents import (
    LONG_BYTES,
    MOST_PARTS,
    MOST_SKELETON_BYTES,
    Contents,
    Reader,
    object_of,
    packed,
    unpacked,
)
from tests.support.chunking import cuts, split
from tests.support.replies import B64, LOOK, event, images_body, images_stream, usage

PLAIN = images_body(usage(272), pictures=2)
STREAM = b": hello\n\n" + images_stream(2, usage(472)) + b'event: later\ndata: {"type":"later"}'


def contents(body: bytes, *, stream: bool) -> Contents:
    reader = Reader(stream=stream)
    reader.feed(body)
    return reader.close()


def said(body: bytes, *, stream: bool) -> list[dict[str, Any]]:
    """What the ends say, their long strings put back from where they lie."""
    found = []
    for end in contents(body, stream=stream).ends:
        value = object_of(end.skeleton)
        assert value is not None
        text = json.dumps(value)
        for number, span in enumerate(end.data):
            text = text.replace(f'"\\u0000{number}"', f'"{body[span.start : span.end].decode()}"')
        found.append(json.loads(text))
    return found


def test_a_plain_answer_is_known_without_its_pictures() -> None:
    found = contents(PLAIN, stream=False)
    assert (found.size, found.stream, found.readable) == (len(PLAIN), False, True)
    (end,) = found.ends
    assert len(end.skeleton) < 500
    assert [PLAIN[span.start : span.end] for span in end.data] == [B64.encode()] * 2
    assert said(PLAIN, stream=False) == [json.loads(PLAIN)]


def test_a_stream_is_known_by_its_terminal_event_and_its_partial_images() -> None:
    found = contents(STREAM, stream=True)
    assert [one.index for one in found.partials] == [0, 1]
    first, second = (STREAM[one.event.start : one.event.end] for one in found.partials)
    assert first.startswith(b"event: image_generation.partial_image\ndata: {")
    assert second.endswith(b'"partial_image_index": 1}\n\n')
    assert found.partials[0].event.end == found.partials[1].event.start
    (end,) = said(STREAM, stream=True)
    assert (end["type"], end["b64_json"], end["usage"]) == ("image_generation.completed", B64, usage(472))


@pytest.mark.parametrize(
    "changed",
    [
        STREAM.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + STREAM,
        STREAM.replace(b"data: ", b"data:"),
        STREAM.replace(b"event: image_generation.partial_image\n", b""),
        STREAM.replace(b"\n\n", b"\nid: 7\nretry: 5\n\n"),
        STREAM + b"\n\ndata: [DONE]\n\n",
        STREAM + b"\n\n" + event("keepalive", sequence_number=9),
    ],
    ids=["CRLF", "mark", "no space", "no event line", "other fields", "DONE", "an unknown event"],
)
def test_a_stream_may_be_written_in_other_ways(changed: bytes) -> None:
    assert [one.index for one in contents(changed, stream=True).partials] == [0, 1]
    assert said(changed, stream=True) == said(STREAM, stream=True)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(STREAM.replace(b"\n", b"\r"), id="lone CR"),
        pytest.param(STREAM.replace(b"data: {", b"data: \ndata: {"), id="data in several lines"),
        pytest.param(STREAM.replace(b'"partial_image_index": 1', b'"x": 1'), id="no index"),
        pytest.param(
            STREAM.replace(b'"partial_image_index": 1', b'"partial_image_index": true'), id="no number"
        ),
        pytest.param(STREAM.replace(b'"type"', b'"kind"'), id="no type"),
        pytest.param(b"data: x\n\n" + STREAM, id="no JSON"),
        pytest.param(b"data: [1]\n\n" + STREAM, id="no object"),
        pytest.param(STREAM.replace(b'"opaque"', b'"\\u0000"'), id="what stands for a picture"),
        pytest.param(event("x", y="z" * LONG_BYTES, a=[1] * MOST_SKELETON_BYTES) + STREAM, id="a long one"),
        pytest.param(
            b"".join(event("image_edit.partial_image", partial_image_index=0) for _ in range(MOST_PARTS + 1))
            + STREAM,
            id="too many",
        ),
        pytest.param(
            b"".join(event("image_edit.completed", b64_json=B64, x="y" * LONG_BYTES) for _ in range(8)),
            id="too much to be kept",
        ),
        pytest.param(images_stream(2)[:-1], id="the last event does not end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_stream_that_cannot_be_read_for_certain_has_no_parts(body: bytes) -> None:
    assert contents(body, stream=True) == Contents(len(body), stream=True)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        PLAIN[:-1],
        PLAIN + b"}",
        PLAIN.replace(b'"low"', b'"\\u0000"'),
        PLAIN.replace(b'"low"', b"[" * 2000 + b"]" * 2000),
        PLAIN.replace(b'"low"', b"\xff"),
        json.dumps({"data": ["x" * LONG_BYTES + "x"] * (MOST_PARTS + 1)}).encode(),
        json.dumps({"data": list(range(MOST_SKELETON_BYTES))}).encode(),
    ],
    ids=range(10),
)
def test_a_body_that_cannot_be_read_for_certain_has_no_parts(body: bytes) -> None:
    assert contents(body, stream=False) == Contents(len(body))


def test_links_are_known() -> None:
    links = ["https://a/1.png?se=2026", "https://a/2.png"]
    body = json.dumps({"created": 1, "data": [{"url": link} for link in links] + [{"url": ""}, 7]}).encode()
    assert contents(body, stream=False).links == tuple(links)
    assert contents(event("image_edit.completed", url=links[0]), stream=True).links == (links[0],)


@given(st.data(), st.sampled_from([(PLAIN, False), (STREAM, True), (STREAM.replace(b"\n", b"\r\n"), True)]))
def test_it_does_not_matter_where_an_answer_is_cut(data: st.DataObject, case: tuple[bytes, bool]) -> None:
    body, stream = case
    reader = Reader(stream=stream)
    for piece in split(body, data.draw(cuts(len(body)))):
        reader.feed(piece)
    assert reader.close() == contents(body, stream=stream)


SMALL = images_stream(1, usage(272)).replace(B64.encode(), b'iVBO\\/\\\\Rw0K\\"')


def test_nor_between_which_two_bytes() -> None:
    whole = contents(SMALL, stream=True)
    assert whole.readable
    for at in range(len(SMALL)):
        reader = Reader(stream=True)
        reader.feed(SMALL[:at])
        reader.feed(SMALL[at:])
        assert reader.close() == whole


def test_an_empty_string_may_come_first() -> None:
    body = b'{"":"",' + PLAIN[1:]
    assert said(body, stream=False) == [json.loads(body)]


def test_nor_into_how_small_pieces() -> None:
    for body, stream in ((SMALL, True), (images_body(usage(1)).replace(B64.encode(), b'\\"' * 9000), False)):
        reader = Reader(stream=stream)
        for at in range(len(body)):
            reader.feed(body[at : at + 1])
        assert reader.close() == contents(body, stream=stream)
        assert reader.close().readable


@given(st.binary(max_size=200), st.booleans(), st.integers(0, len(SMALL)))
def test_no_bytes_are_too_strange_to_be_looked_at(noise: bytes, stream: bool, at: int) -> None:
    for body in (noise, SMALL[:at] + noise + SMALL[at:]):
        found = contents(body, stream=stream)
        assert found.size == len(body)
        assert unpacked(packed(found)) == found


@pytest.mark.parametrize(("body", "stream"), [(PLAIN, False), (STREAM, True)])
def test_what_is_kept_of_an_answer_is_small_and_comes_back(body: bytes, *, stream: bool) -> None:
    found = contents(body, stream=stream)
    assert len(packed(found)) < 1000
    assert unpacked(packed(found)) == found


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"size":1,"stream":true,"ends":[[1]]}'])
def test_what_was_not_packed_is_not_unpacked(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpacked(data)


def test_it_holds_no_picture() -> None:
    piece = b"A" * 65_536
    head, tail = b'{"created":1,"data":[{"b64_json":"', b'"}],"size":"1024x1024"}'
    for stream in (False, True):
        reader = Reader(stream=stream)
        kind = b'data: {"type":"image_edit.completed",' if stream else b"{"
        tracemalloc.start()
        reader.feed(kind + head[1:])
        for _ in range(512):
            reader.feed(piece)
        reader.feed(tail + b"\n\n")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found = reader.close()
        assert most < 200_000
        assert len(found.ends[0].data[0]) == 512 * 65_536


def test_a_short_string_stays_in_what_is_kept() -> None:
    """A picture may be tiny; a link and a revised prompt are needed as they are."""
    body = images_body(usage(1), revised_prompt="p" * LONG_BYTES).replace(B64.encode(), b"iVBO")
    (end,) = contents(body, stream=False).ends
    assert end.data == ()
    assert object_of(end.skeleton) == json.loads(body)
    assert LOOK.items() <= json.loads(body).items()
