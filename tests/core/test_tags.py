import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.errors import Code, Refusal, Refused
from gateway.core.tags import MOST_TAGS, VALUE_CHARACTERS, read_tags

NAMES = st.text(string.ascii_letters + string.digits + "_.-", min_size=1, max_size=64)
VALUES = st.text(min_size=1, max_size=VALUE_CHARACTERS).filter(
    lambda text: text.isprintable() and "," not in text and text == text.strip(" ")
)


def refusal_of(value: bytes) -> Refusal:
    with pytest.raises(Refused) as caught:
        read_tags(value)
    refusal = caught.value.refusal
    assert (refusal.code, refusal.param) == (Code.INVALID_HEADER, "X-Imagegate-Tags")
    assert "'campaign=spring,env=prod'" in refusal.message, "it shows a good one"
    return refusal


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        pytest.param(None, (), id="absent"),
        pytest.param(b"", (), id="empty"),
        pytest.param(
            b"campaign=spring,env=prod", (("campaign", "spring"), ("env", "prod")), id="in the order given"
        ),
        pytest.param(
            b" campaign=spring ,\tenv=prod ,", (("campaign", "spring"), ("env", "prod")), id="spaces around"
        ),
        pytest.param(b",,a=b,,", (("a", "b"),), id="empty elements"),
        pytest.param(b"a=b=c", (("a", "b=c"),), id="an equals sign in a value"),
        pytest.param(b"a=two words", (("a", "two words"),), id="a space in a value"),
        pytest.param("a=Frühling 春".encode(), (("a", "Frühling 春"),), id="UTF-8"),
        pytest.param(b"a=%2C", (("a", "%2C"),), id="nothing is decoded"),
        pytest.param(b"env=1,ENV=2", (("env", "1"), ("ENV", "2")), id="names differ by case"),
        pytest.param(b"a=task-force,risk-1=x", (("a", "task-force"), ("risk-1", "x")), id="no key"),
    ],
)
def test_a_good_header_is_read(value: bytes | None, tags: tuple[tuple[str, str], ...]) -> None:
    assert read_tags(value) == tags


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(b"spring", "'spring'", id="no value"),
        pytest.param(b"campaign=", "'campaign='", id="an empty value"),
        pytest.param(b"=spring", "'=spring'", id="no name"),
        pytest.param(b"a=b;c=d,e f=g", "'e f=g'", id="a space in a name"),
        pytest.param(b"a= b", "'a= b'", id="a space before a value"),
        pytest.param(b"a=\x00", "'a=\N{REPLACEMENT CHARACTER}'", id="a control character"),
        pytest.param("a=\u202eb".encode(), "'a=\N{REPLACEMENT CHARACTER}b'", id="a sign that is not seen"),
        pytest.param("ä=b".encode(), "'ä=b'", id="a name beyond ASCII"),
        pytest.param(b"a" * 65 + b"=b", "up to 64", id="a long name"),
        pytest.param(b"a=" + b"b" * 129, "up to 128", id="a long value"),
        pytest.param(b"a=\xfc", "UTF-8", id="Latin-1"),
        pytest.param(b"a=b,c=d,a=b", "'a' is there more than once", id="a name twice"),
    ],
)
def test_a_header_that_cannot_be_read_in_one_way_is_refused_with_what_is_wrong(
    value: bytes, said: str
) -> None:
    assert said in refusal_of(value).message


def test_one_tag_too_many_is_refused() -> None:
    tags = [f"tag{n}=x" for n in range(MOST_TAGS + 1)]
    assert "There are 9" in refusal_of(",".join(tags).encode()).message
    assert len(read_tags(",".join(tags[1:]).encode())) == MOST_TAGS


@pytest.mark.parametrize(
    "value", [b"key=sk-proj-Ab1", b"a=b,by=Bearer sk-ig-Ab1", b"sk-Ab1=x", b"sk-Ab1", b"a=(sk-Ab1)"]
)
def test_what_looks_like_a_key_is_refused_and_not_repeated(value: bytes) -> None:
    message = refusal_of(value).message
    assert "API key" in message
    assert "Ab1" not in message


@given(st.dictionaries(NAMES, VALUES, max_size=MOST_TAGS), st.sampled_from([",", ", ", " ,\t"]))
def test_every_list_of_good_tags_is_read_as_it_was_meant(tags: dict[str, str], comma: str) -> None:
    written = comma.join(f"{name}={value}" for name, value in tags.items())
    assume("sk-" not in written)
    assert read_tags(written.encode()) == tuple(tags.items())


@given(st.binary(max_size=400) | st.text("ab=, sk-", max_size=40).map(str.encode))
def test_whatever_the_bytes_they_are_refused_or_fit_for_the_ledger(value: bytes) -> None:
    try:
        tags = read_tags(value)
    except Refused:
        return
    assert len(dict(tags)) == len(tags) <= MOST_TAGS
    for name, said in tags:
        assert 0 < len(name) <= 64
        assert 0 < len(said) <= VALUE_CHARACTERS
        assert f"{name}{said}".isprintable()
        assert not f"{name}={said}".startswith("sk-")
