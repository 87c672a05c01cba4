"""What a client asks of the cache, and what it is told; clauses are of RFC 9111 and RFC 9211."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import cachecontrol
from gateway.core.cachecontrol import MOST_SECONDS, Directives, Forward, age, forwarded, hit
from gateway.core.freshness import Reason

NO_STORE, NO_CACHE = Directives(no_store=True), Directives(no_cache=True)
ITEM = re.compile(
    r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*"
    r'(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:-?[0-9]{1,15}|[A-Za-z*][!#$%&\'*+.^_`|~0-9A-Za-z:/-]*|"(?:[ !#-\[\]-~]|\\["\\])*"))?)*'
)
"""RFC 9651 §4.2: a list of one token with parameters."""


def asked(*lines: bytes) -> Directives:
    return cachecontrol.read([(b"accept", b"no-store"), *((b"cache-control", line) for line in lines)])


def at_most(seconds: int) -> Directives:
    return Directives(max_age_s=seconds)


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        pytest.param(b"", Directives(), id="empty"),
        pytest.param(b"no-store", NO_STORE, id="no-store"),
        pytest.param(b"No-Store", NO_STORE, id="names have no case, §5.2"),
        pytest.param(b"no-cache", NO_CACHE, id="no-cache"),
        pytest.param(b'no-cache="set-cookie"', NO_CACHE, id="an argument takes nothing away"),
        pytest.param(b"only-if-cached", Directives(only_if_cached=True), id="only-if-cached"),
        pytest.param(b"max-age=60", at_most(60), id="max-age"),
        pytest.param(b'max-age="60"', at_most(60), id="quoted, §5.2"),
        pytest.param(b'max-age="\\60"', at_most(60), id="escaped"),
        pytest.param(b"MAX-AGE=60", at_most(60), id="upper case"),
        pytest.param(b"max-age=0", at_most(0), id="zero"),
        pytest.param(b"max-age=007", at_most(7), id="leading zeros"),
        pytest.param(b"max-age=" + b"0" * 9000, at_most(0), id="many zeros"),
        pytest.param(b"max-age=" + b"9" * 9000, at_most(MOST_SECONDS), id="too large, §1.2.2"),
        pytest.param(b"max-age=4294967296", at_most(MOST_SECONDS), id="larger than 2^31"),
        pytest.param(b"max-age", at_most(0), id="no argument"),
        pytest.param(b"max-age=", at_most(0), id="an empty one"),
        pytest.param(b"max-age=-1", at_most(0), id="negative"),
        pytest.param(b"max-age=1.5", at_most(0), id="a fraction"),
        pytest.param(b"max-age= 60", at_most(0), id="white space behind the sign"),
        pytest.param(b"max-age='60'", at_most(0), id="the wrong quotes"),
        pytest.param(b"max-age=6_0", at_most(0), id="what only Python takes for a number"),
        pytest.param(b"max-age=60 ", at_most(60), id="white space around an element"),
        pytest.param(b"max-age=60, max-age=30", at_most(30), id="twice: the stricter"),
        pytest.param(b"max-age=60, max-age=x", at_most(0), id="twice: not a number is stricter"),
        pytest.param(b" , no-store,, ", NO_STORE, id="empty elements"),
        pytest.param(b'foo="a, no-store"', Directives(), id="a comma in quotes"),
        pytest.param(b'foo="a, no-store, b"', Directives(), id="two commas in quotes"),
        pytest.param(b'foo="a,b", bar="c, no-store, d"', Directives(), id="two strings"),
        pytest.param(b'foo="a\\", no-store"', Directives(), id="an escaped quote in quotes"),
        pytest.param(b'foo="a, no-store', NO_STORE, id="a quote that is not closed hides nothing"),
        pytest.param(b'foo="a" bar"b, no-store', NO_STORE, id="nor one behind it"),
        pytest.param(b"max-stale, min-fresh=5, no-transform, x=y", Directives(), id="others mean nothing"),
        pytest.param(b"no-storefront", Directives(), id="a longer name"),
        pytest.param(b'"no-store"', Directives(), id="a quoted string is no directive"),
        pytest.param(
            b"no-store, no-cache, max-age=1, only-if-cached",
            Directives(no_store=True, no_cache=True, max_age_s=1, only_if_cached=True),
            id="all of them",
        ),
    ],
)
def test_directives_are_read_as_the_rfc_says(value: bytes, directives: Directives) -> None:
    assert asked(value) == directives


def test_several_lines_are_one_list() -> None:
    assert asked(b"no-cache", b"max-age=5") == Directives(no_cache=True, max_age_s=5)
    assert cachecontrol.read([]) == Directives()


@given(st.binary(max_size=60) | st.from_regex(rb'[nostremaxg,="\\ 0-9-]{0,40}', fullmatch=True))
def test_no_value_is_too_strange_to_be_read(value: bytes) -> None:
    found = asked(value)
    assert found.max_age_s is None or 0 <= found.max_age_s <= MOST_SECONDS
    assert asked(value, b"no-store").no_store


@pytest.mark.parametrize(
    ("directives", "look_up", "follow"),
    [
        (Directives(), True, True),
        (NO_STORE, False, False),
        (NO_CACHE, False, False),
        (at_most(0), True, False),
        (at_most(1), True, True),
        (Directives(only_if_cached=True), True, True),
    ],
    ids=str,
)
def test_who_wants_a_new_answer_neither_looks_nor_follows(
    directives: Directives, *, look_up: bool, follow: bool
) -> None:
    assert (directives.may_look_up, directives.may_follow) == (look_up, follow)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (hit(3412.9), b"imagegate; hit; ttl=3412"),
        (hit(10**18), b"imagegate; hit; ttl=2147483648"),
        (forwarded(Forward.MISS), b"imagegate; fwd=miss"),
        (forwarded(Forward.MISS, stored=True), b"imagegate; fwd=miss; stored"),
        (forwarded(Forward.MISS, collapsed=True), b"imagegate; fwd=miss; collapsed"),
        (forwarded(Forward.BYPASS, detail="no-store"), b"imagegate; fwd=bypass; detail=no-store"),
        (forwarded(Forward.STALE, stored=True), b"imagegate; fwd=stale; stored"),
        (
            forwarded(Forward.STALE, ttl_s=-0.5, detail="upstream-error"),
            b"imagegate; fwd=stale; ttl=-1; detail=upstream-error",
        ),
        (forwarded(Forward.REQUEST, stored=True), b"imagegate; fwd=request; stored"),
        (
            forwarded(Forward.BYPASS, detail='a "b" \\ ü\n'),
            b'imagegate; fwd=bypass; detail="a \\"b\\" \\\\ ??"',
        ),
    ],
)
def test_the_cache_says_what_it_did(header: tuple[bytes, bytes], value: bytes) -> None:
    assert header == (b"cache-status", value)
    assert ITEM.fullmatch(value.decode())


@pytest.mark.parametrize("reason", Reason, ids=lambda reason: reason.name)
def test_every_reason_is_shown_as_the_word_it_is(reason: Reason) -> None:
    _, value = forwarded(Forward.BYPASS, detail=reason.value)
    assert value == f"imagegate; fwd=bypass; detail={reason.value}".encode()


@given(st.text(max_size=30), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_is_said_is_a_structured_field(detail: str, ttl_s: float) -> None:
    _, value = forwarded(Forward.STALE, stored=True, collapsed=True, ttl_s=ttl_s, detail=detail)
    assert ITEM.fullmatch(value.decode("ascii"))


@pytest.mark.parametrize(
    ("age_s", "value"), [(0.0, b"0"), (59.9, b"59"), (-3.0, b"0"), (1e12, b"2147483648")]
)
def test_an_age_is_whole_seconds_and_never_negative(age_s: float, value: bytes) -> None:
    assert age(age_s) == (b"age", value)
