import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.strictjson import MAX_DEPTH, InvalidJsonError, RepeatedKeyError, loads


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "line 1", id="empty"),
        pytest.param(b"{", "line 1", id="cut off"),
        pytest.param(b'{"a":1} x', "Extra data", id="trailing"),
        pytest.param(b'{"n":NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b'{"n":-Infinity}', "-Infinity is not JSON", id="infinity"),
        pytest.param(b"\xef\xbb\xbf{}", "BOM", id="byte order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), "UTF-8", id="UTF-16"),
        pytest.param(b'{"a":"\xff"}', "not valid UTF-8 (byte 6)", id="bad byte"),
        pytest.param(b'{"n":' + b"9" * 41 + b"}", "too many digits", id="a number too long to be one"),
        pytest.param(b"[" * 90_000, "deep", id="too deep for the parser"),
        pytest.param(b"[" + b"{}," * 100_000 + b"{}]", "more than 100000 objects", id="too many objects"),
        pytest.param(b"[" + b"0," * 1_000_001 + b"0]", "1000000 values", id="too many values"),
        pytest.param(b"[" * 200 + b"]" * 200, "deeper than 128", id="too deep for us"),
    ],
)
def test_what_is_not_json_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidJsonError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        loads(body)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"model":"a","model":"b"}', "model"),
        (b'{"tools":[{"type":"x","n":1,"n":2}]}', "n"),
        (b'{"model":"a","mod\\u0065l":"b"}', "model"),
        (b'{"a":1,"a":1}', "a"),
    ],
    ids=["top", "nested", "escaped", "equal values"],
)
def test_a_repeated_key_is_refused_by_name(body: bytes, key: str) -> None:
    with pytest.raises(RepeatedKeyError) as caught:
        loads(body)
    assert caught.value.key == key


def test_the_deepest_nesting_allowed_is_read() -> None:
    body = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert loads(body) is not None


def test_lone_surrogates_are_left_to_the_upstream() -> None:
    assert loads(b'{"prompt":"\\ud800"}') == {"prompt": "\ud800"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_any_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    assert loads(json.dumps(value).encode()) == value
