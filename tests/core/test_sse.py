"""The scanner: any chunking, the same events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.sse import Event, Oversized, Scanner
from tests.support.chunking import cuts, split

PARTIAL = b'event: image_generation.partial_image\ndata: {"b64_json":"iVBORw0KGgo="}\n\n'


def scan(*chunks: bytes, limit: int = 1 << 20) -> list[Event | Oversized]:
    scanner = Scanner(limit)
    return [event for chunk in chunks for event in scanner.feed(chunk)]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"data: a\n\n", [Event("message", b"a")], id="one event"),
        pytest.param(b"data: a\r\n\r\n", [Event("message", b"a")], id="CRLF"),
        pytest.param(b"data: a\r\r", [Event("message", b"a")], id="CR"),
        pytest.param(b"data: a\r\n\n", [Event("message", b"a")], id="mixed line ends"),
        pytest.param(b"\xef\xbb\xbfdata: a\n\n", [Event("message", b"a")], id="byte order mark"),
        pytest.param(b"\xef\xbb\xbf\ndata: a\n\n", [Event("message", b"a")], id="byte order mark alone"),
        pytest.param(b"data: \xef\xbb\xbf\n\n", [Event("message", b"\xef\xbb\xbf")], id="no mark later"),
        pytest.param(b"data: a\ndata: b\n\n", [Event("message", b"a\nb")], id="data lines are joined"),
        pytest.param(
            b"data:a\n\ndata:  b\n\n", [Event("message", b"a"), Event("message", b" b")], id="one space"
        ),
        pytest.param(b"data\n\n", [Event("message", b"")], id="a field without a colon is empty"),
        pytest.param(b"event: x\n\n", [], id="no data, no event"),
        pytest.param(b": keep-alive\n\n", [], id="comment"),
        pytest.param(b"event: x\ndata: a\n", [], id="cut off before the blank line"),
        pytest.param(b"event: x\ndata: a\n\n\n\n", [Event("x", b"a")], id="more blank lines"),
        pytest.param(b"id: 7\ndata: a\n\n", [Event("message", b"a", "7")], id="id"),
        pytest.param(b"id: 7\0\ndata: a\n\n", [Event("message", b"a")], id="an id with NUL is ignored"),
        pytest.param(b"retry: 10\nfoo: bar\ndata: a\n\n", [Event("message", b"a")], id="other fields"),
        pytest.param(b"event: \xff\ndata: \xff\n\n", [Event("\ufffd", b"\xff")], id="not UTF-8"),
        pytest.param(
            b"data: [DONE]\n\n", [Event("message", b"[DONE]")], id="DONE is an event like any other"
        ),
    ],
)
def test_a_stream_is_read_as_the_standard_says(body: bytes, events: list[Event]) -> None:
    assert scan(body) == events
    assert scan(*(body[at : at + 1] for at in range(len(body)))) == events


def test_an_image_event_carries_its_type_and_data() -> None:
    assert scan(PARTIAL) == [Event("image_generation.partial_image", b'{"b64_json":"iVBORw0KGgo="}')]


def test_a_line_of_32_megabytes_is_one_event() -> None:
    line = b"x" * (32 << 20)
    scanner = Scanner()
    events: list[Event | Oversized] = []
    body = b"data: " + line + b"\n\n"
    for at in range(0, len(body), 65_536):
        events += scanner.feed(body[at : at + 65_536])
    assert events == [Event("message", line)]


def test_an_oversized_event_is_reported_once_and_the_next_is_read() -> None:
    assert scan(b"data: " + b"x" * 100 + b"\n\ndata: a\n\n", limit=50) == [
        Oversized(106),
        Event("message", b"a"),
    ]


def test_an_oversized_event_of_many_short_lines_is_reported_too() -> None:
    assert scan(b"data: x\n" * 20 + b"\n", limit=50) == [Oversized(140)]


def test_what_a_cut_leaves_behind_is_pending() -> None:
    scanner = Scanner()
    scanner.feed(b"data: a\n\n")
    assert not scanner.pending
    scanner.feed(b"data: b")
    assert scanner.pending


@given(st.data())
def test_events_do_not_depend_on_where_the_network_cuts(data: st.DataObject) -> None:
    piece = st.sampled_from(
        [
            b"data: a",
            b"data",
            b"event: e",
            b"id: 1",
            b": c",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"\xef\xbb\xbf",
            b"x" * 40,
        ]
    ) | st.binary(max_size=20)
    body = b"".join(data.draw(st.lists(piece, max_size=40)))
    chunks = split(body, data.draw(cuts(len(body))))
    assert scan(*chunks, limit=60) == scan(body, limit=60)


@given(st.lists(st.binary(max_size=200), max_size=50))
def test_memory_is_bounded_by_the_longest_event_allowed(chunks: list[bytes]) -> None:
    scanner = Scanner(100)
    for chunk in chunks:
        scanner.feed(chunk)
        assert len(scanner._line) + sum(map(len, scanner._fields)) <= 100
