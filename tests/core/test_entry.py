"""Entries of the cache as stores write them down, read by this version and by others."""

from dataclasses import fields, replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.artefact import Form
from gateway.core.contents import Contents, Partial, Picture, Span
from gateway.core.entry import (
    EVERYTHING,
    VERSION,
    CacheFilter,
    Entry,
    Original,
    kept_headers,
    original_of,
    packed,
    unpacked,
)
from gateway.core.freshness import Life
from gateway.core.units import NanoUSD
from tests.support.cache import entry
from tests.support.ledger import record

STREAM = Contents(
    90_000,
    stream=True,
    ends=(
        Picture(b'{"type": "image_generation.completed", "b64_json": "\\u00000"}', (Span(40_100, 89_000),)),
    ),
    partials=(Partial(Span(0, 40_000), 0),),
    links=("https://pictures.example/1?se=2027-01-15",),
)


def altered(one: Entry, **changes: Any) -> bytes:
    """As another version of this program may have written it; None takes a field away."""
    head, _, rest = packed(one).partition(b"\n")
    plain = orjson.loads(head) | changes
    return orjson.dumps({name: value for name, value in plain.items() if value is not None}) + b"\n" + rest


def test_an_entry_comes_back_as_it_was() -> None:
    one = entry(
        1,
        0,
        form=Form(stream=True, partial_images=2),
        headers=((b"content-type", b"text/event-stream"), (b"openai-version", b"2020-10-01 \xe9")),
        life=Life(kept_at=1_800_000_000.125, ttl_s=60.0, most_s=900.5),
        contents=STREAM,
        digest="ab" * 32,
        response_id="resp_1",
        partial_images_requested=2,
        partial_images_delivered=1,
    )
    assert unpacked(packed(one)) == one
    assert one.size == 90_000


names = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.builds(
        Original, id=st.text("ab"), model=names, size=names, cost_nusd=st.integers(0, 2**62).map(NanoUSD)
    )
)
def test_whatever_the_original_says_comes_back(original: Original) -> None:
    one = entry(1, 5, original=original)
    assert unpacked(packed(one)) == one


def test_half_a_surrogate_pair_keeps_no_answer_from_being_kept() -> None:
    assert unpacked(packed(entry(1, 5, model="gpt-\ud800"))).original.model == "gpt-?"


def test_fields_of_a_newer_version_are_left() -> None:
    one = entry(1, 5)
    assert unpacked(altered(one, colour="red", original={"id": "igr_1", "mood": "good"})) == replace(
        one, original=Original(id="igr_1")
    )


def test_fields_that_an_older_version_did_not_know_have_their_defaults() -> None:
    one = entry(1, 5, life=Life(kept_at=1.0, ttl_s=2.0, most_s=3.0))
    assert unpacked(altered(one, most_s=None)).life == Life(kept_at=1.0, ttl_s=2.0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}\n{}",
        b"[]\n[]",
        b"null\nnull",
        b"\xff\n",
        packed(entry(1, 5))[:-1],
        packed(entry(1, 5)).partition(b"\n")[0],
        altered(entry(1, 5), version=VERSION + 1),
        altered(entry(1, 5), original={}),
        altered(entry(1, 5), original=7),
        altered(entry(1, 5), headers=[["a"]]),
        altered(entry(1, 5), headers=7),
        altered(entry(1, 5), key=None),
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_entry_is_told(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpacked(data)


@given(st.binary() | st.integers(0, 600).map(lambda cut: packed(entry(1, 5))[:cut]))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        found = unpacked(data)
    except ValueError:
        return
    assert packed(found) == data


def test_the_original_says_what_its_record_says() -> None:
    original = original_of(record(3, response_id="resp_3", tool_model="gpt-image-2"))
    assert original.id == "igr_00000003"
    assert original.response_id == "resp_3"
    assert all(
        getattr(original, one.name)
        == getattr(record(3, response_id="resp_3", tool_model="gpt-image-2"), one.name)
        for one in fields(Original)
    )


def test_of_a_head_two_fields_are_kept() -> None:
    head = ((b"Content-Type", b"a/b"), (b"x-request-id", b"1"), (b"openai-version", b"2020-10-01"))
    assert kept_headers(head) == ((b"content-type", b"a/b"), (b"openai-version", b"2020-10-01"))


@pytest.mark.parametrize(
    ("which", "takes"),
    [
        (EVERYTHING, True),
        (CacheFilter(team="design", model="gpt-5", key_id="design-1", response_id="resp_1"), True),
        (CacheFilter(model="gpt-image-2"), True),
        (CacheFilter(model="gpt-image-1"), False),
        (CacheFilter(team="sales"), False),
        (CacheFilter(key_id="sales-1"), False),
        (CacheFilter(response_id="resp_2"), False),
        (CacheFilter(team="design", response_id="resp_2"), False),
    ],
    ids=str,
)
def test_a_filter_takes_what_fits_all_of_it(which: CacheFilter, takes: bool) -> None:
    one = entry(1, 5, model="gpt-5", tool_model="gpt-image-2", response_id="resp_1")
    assert which.takes(one) is takes
