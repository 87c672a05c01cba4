import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.skim import DEPTH, LEFT_OUT, RAW_BYTES, SKIMMED_BYTES, STRING_BYTES, Document
from tests.support.chunking import cuts, split

PICTURE = "A" * (RAW_BYTES + 1)


def skimmed(*chunks: bytes) -> Any:
    document = Document()
    for chunk in chunks:
        document.feed(chunk, 0, len(chunk))
    return document.value()


def test_a_small_document_is_what_it_is() -> None:
    value = {"a": ["x" * 5000, {"b": None}]}
    assert skimmed(json.dumps(value).encode()) == value


def test_a_picture_is_left_out_and_what_stands_around_it_is_not() -> None:
    value = {"created": 1, "data": [{"b64_json": PICTURE}], "size": "1024x1024", "usage": {"n": 1}}
    assert skimmed(json.dumps(value).encode()) == {**value, "data": [{"b64_json": LEFT_OUT}]}


@pytest.mark.parametrize(
    "text", ['"', "\\", '\\"', 'a\\\\"b', "\\" * 7, "é\u2028\n\t", "x" * STRING_BYTES], ids=repr
)
@pytest.mark.parametrize("slashes", [False, True])
def test_quotes_and_backslashes_do_not_end_a_string(text: str, slashes: object) -> None:
    value = {"big": PICTURE + text, text: text, "after": 1}
    written = json.dumps(value).replace("/", "\\/") if slashes else json.dumps(value)
    found = skimmed(written.encode())
    assert found["after"] == 1
    assert found["big"] == LEFT_OUT
    assert found[text] == text
    assert skimmed(*(written.encode()[at : at + 1] for at in range(len(written.encode())))) == found


def test_base64_with_escaped_slashes_is_left_out_too() -> None:
    body = b'{"big":"' + b"AB\\/" * RAW_BYTES + b'","after":[1]}'
    assert skimmed(body) == {"big": LEFT_OUT, "after": [1]}


def test_what_is_nested_deeply_is_emptied() -> None:
    value: Any = "deep"
    for _ in range(DEPTH + 5):
        value = [value]
    found = skimmed(json.dumps({"big": PICTURE, "deep": value, "after": 1}).encode())
    assert found["after"] == 1
    kept, depth = found["deep"], 1
    while kept:
        kept, depth = kept[0], depth + 1
    assert depth + 1 == DEPTH  # the innermost that is kept is empty


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"{", b'{"a":', b'{"a":"' + b"x" * 99, b"<html>", b"\xff\x00", b"{}{}", b"]" * 9, b"1"],
)
def test_what_is_no_document_has_no_value(body: bytes) -> None:
    assert skimmed(body) is None


@pytest.mark.parametrize("filler", [b"[1],", b"1", b'"x",', b" ", b"{", b"]"])
def test_what_would_remain_too_large_is_given_up(filler: bytes) -> None:
    document = Document()
    chunk = filler * (64 * 1024 // len(filler))
    document.feed(b'{"a":[', 0, 6)
    for _ in range(8 * SKIMMED_BYTES // len(chunk)):
        document.feed(chunk, 0, len(chunk))
        assert document._skimmer is not None
        assert len(document._skimmer.text) <= SKIMMED_BYTES
    document.feed(b"1]}", 0, 3)
    assert document.value() is None


def test_after_clearing_another_document_can_come() -> None:
    document = Document()
    document.feed(b"x" * RAW_BYTES + b"xx", 0, RAW_BYTES + 2)
    document.clear()
    document.feed(b"[1]", 0, 3)
    assert document.value() == [1]


values = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.just("A" * 700),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@given(st.data())
def test_a_document_does_not_depend_on_where_it_is_cut(data: st.DataObject) -> None:
    value = data.draw(values)
    body = json.dumps({"big": PICTURE, "value": value}, ensure_ascii=data.draw(st.booleans())).encode()
    tail = data.draw(st.binary(max_size=4))
    start = len(PICTURE)
    at = [start + each for each in data.draw(cuts(len(body) + len(tail) - start))]
    assert skimmed(*split(body + tail, at)) == skimmed(body + tail)


@given(
    st.lists(
        st.binary(max_size=40) | st.sampled_from([b"[" * 50, b'"', b'\\"', PICTURE.encode()]), max_size=12
    )
)
def test_no_bytes_are_too_strange(chunks: list[bytes]) -> None:
    skimmed(*chunks)
