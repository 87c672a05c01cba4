import pytest
from starlette.requests import Request

from gateway.core.errors import Code, Refused
from gateway.web.admin.query import Query, refused


def asked(query: bytes) -> Request:
    return Request({"type": "http", "query_string": query, "headers": []})


def test_a_known_parameter_is_read_once() -> None:
    query = Query(asked(b"limit=3"), frozenset({"limit", "cursor"}))
    assert (query.text("limit"), query.read("limit", int)) == ("3", 3)
    assert (query.text("cursor"), query.read("cursor", int)) == (None, None)


@pytest.mark.parametrize("query", [b"other=1", b"limit=1&limit=1"])
def test_an_unknown_or_repeated_parameter_is_refused(query: bytes) -> None:
    with pytest.raises(Refused) as caught:
        Query(asked(query), frozenset({"limit"}))
    assert caught.value.refusal.code is Code.INVALID_TYPE


def test_what_cannot_be_read_is_refused_under_its_name() -> None:
    def reader(text: str) -> int:
        raise ValueError(f"{text} is no number")

    with pytest.raises(Refused) as caught:
        Query(asked(b"limit=x"), frozenset({"limit"})).read("limit", reader)
    assert (caught.value.refusal.param, caught.value.refusal.message) == ("limit", "x is no number")


def test_a_long_name_is_clipped() -> None:
    assert refused("a" * 100, "").refusal.param == "a" * 80
