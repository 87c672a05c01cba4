import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.watch import HELD_BYTES, End, StreamWatch
from tests.support.chunking import cuts, split


def watched(*chunks: bytes) -> End:
    watch = StreamWatch()
    for chunk in chunks:
        watch.feed(chunk)
    return watch.end


PARTIAL = (
    b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"'
    + b"A" * 9000
    + b'"}\n\n'
)


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
            b'data: {"type":"image_edit.completed","b64_json":"x"}\n\n',
            End.COMPLETED,
            id="without event line",
        ),
        pytest.param(b'data: {"type": "response.completed"}\r\n\r\n', End.COMPLETED, id="CRLF and a space"),
        pytest.param(b"event: response.incomplete\ndata: {}\n\n", End.INCOMPLETE, id="incomplete"),
        pytest.param(b"event: response.failed\ndata: {}\n\n", End.FAILED, id="failed"),
        pytest.param(b'event: error\ndata: {"type":"error","error":{}}\n\n', End.FAILED, id="error event"),
        pytest.param(b'data: {"error":{"message":"x"}}\n\n', End.FAILED, id="bare error"),
        pytest.param(
            b"event: error\ndata: {}\n\nevent: response.failed\ndata: {}\n\n",
            End.FAILED,
            id="error, then failed",
        ),
        pytest.param(
            b"event: error\ndata: {}\n\nevent: response.completed\ndata: {}\n\n", End.FAILED, id="error stays"
        ),
        pytest.param(b'event: keepalive\ndata: {"type":"keepalive"}\n\n', End.NONE, id="keep-alive"),
        pytest.param(
            b"event: response.image_generation_call.completed\ndata: {}\n\n",
            End.NONE,
            id="one call of several",
        ),
        pytest.param(b"event: response.completed", End.NONE, id="cut in the line"),
        pytest.param(b"\xff\x00\n" * 50, End.NONE, id="garbage"),
    ],
)
def test_a_streams_end_is_read_from_its_terminal_event(body: bytes, end: End) -> None:
    assert watched(body) is end
    assert watched(*(body[at : at + 1] for at in range(len(body)))) is end


def test_a_prompt_echoed_deep_inside_an_event_is_no_end() -> None:
    created = b'data: {"type":"response.created","response":{"instructions":"\\"type\\":\\"response.completed\\""}}\n\n'
    assert watched(created) is End.NONE


def test_no_picture_is_held() -> None:
    watch = StreamWatch()
    watch.feed(b"data: " + b"A" * 1_000_000)
    assert len(watch._line) == HELD_BYTES


@given(st.data())
def test_the_end_does_not_depend_on_where_the_network_cuts(data: st.DataObject) -> None:
    piece = st.sampled_from(
        [b"event: error\n", b"event: response.completed\n", b'data: {"type":"', b"\n\n", b"\r\n"]
    )
    body = b"".join(data.draw(st.lists(piece | st.binary(max_size=30), max_size=20)))
    assert watched(*split(body, data.draw(cuts(len(body))))) is watched(body)
