"""The key: the same for the same call, however it is written, and another one for any other."""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import strictjson
from gateway.core.cachekey import (
    VERSION,
    CacheKey,
    Surroundings,
    form_content,
    json_content,
    key_of,
    left_out,
    read_json,
    seed_of,
    share,
)
from gateway.core.call import FORM_FIELDS
from gateway.core.errors import Code, Refused
from gateway.core.multipart import Form, FormReader
from gateway.core.principal import Principal, Scope
from gateway.core.strictjson import Number
from tests.support.chunking import cuts, split

HERE = Surroundings(
    share=("default", "design"),
    base_url="https://api.openai.com/v1",
    organization="org-1",
    project="proj_1",
    route="images.generations",
    query=b"beta=true&include[]=a&include[]=b",
    openai_beta=b"assistants=v2",
    seed=b"variant 7",
    steering=b"delay_ms=5",
)
BODY: dict[str, Any] = {"model": "gpt-image-2", "prompt": "a fox", "n": 1, "user": "u1"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
ALICE = Principal(org=Scope("org", "default"), team=Scope("team", "design"), key=Scope("key", "alice"))


def content(body: bytes | str | dict[str, Any], leave_out: frozenset[str] = frozenset()) -> bytes:
    raw = json.dumps(body).encode() if isinstance(body, dict) else body
    return json_content(read_json([raw.encode() if isinstance(raw, str) else raw]), leave_out)


def url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def form(*parts: tuple[str, bytes] | tuple[str, bytes, str], boundary: str = "b1", kind: str = "") -> Form:
    """A form as a client sends it, read. A third element is a file name."""
    reader = FormReader(boundary.encode(), FORM_FIELDS)
    for name, data, *rest in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{rest[0]}"' if rest else "")
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n" + (
            f"Content-Type: {kind}\r\n" if kind and rest else ""
        )
        reader.feed(f"{head}\r\n".encode() + data + b"\r\n")
    reader.feed(f"--{boundary}--\r\n".encode())
    return reader.close()


class TestTheKey:
    def test_it_is_fit_for_a_file_name_and_tells_its_version(self) -> None:
        key = key_of(HERE, content(BODY))
        assert key.startswith(f"v{VERSION}-")
        assert len(key) == 3 + 64
        assert key.replace("-", "").isalnum()

    @pytest.mark.parametrize(
        "changed",
        [
            replace(HERE, share=("default", "other")),
            replace(HERE, share=("default",)),
            replace(HERE, share=("default", "design", "alice")),
            replace(HERE, share=("defaultdesign", "")),
            replace(HERE, base_url="https://api.openai.com/v2"),
            replace(HERE, organization="org-2"),
            replace(HERE, organization=None),
            replace(HERE, project="proj_2"),
            replace(HERE, organization="proj_1", project="org-1"),
            replace(HERE, route="images.edits"),
            replace(HERE, query=b""),
            replace(HERE, query=b"beta=true&include[]=b&include[]=a"),
            replace(HERE, query=b"beta=true&include[]=a"),
            replace(HERE, openai_beta=None),
            replace(HERE, openai_beta=b""),
            replace(HERE, openai_beta=b"assistants=v1"),
            replace(HERE, seed=None),
            replace(HERE, seed=b""),
            replace(HERE, seed=b"variant 8"),
            replace(HERE, steering=None),
            replace(HERE, steering=b"delay_ms=6"),
        ],
        ids=str,
    )
    def test_whatever_the_answer_depends_on_moves_it(self, changed: Surroundings) -> None:
        assert key_of(changed, content(BODY)) != key_of(HERE, content(BODY))

    def test_the_order_of_query_names_does_not_count(self) -> None:
        turned = replace(HERE, query=b"include[]=a&include[]=b&&beta=true")
        assert key_of(turned, content(BODY)) == key_of(HERE, content(BODY))

    def test_a_plain_and_a_streamed_call_of_the_images_api_are_one(self) -> None:
        assert key_of(replace(HERE, stream=True), content(BODY)) == key_of(HERE, content(BODY))

    def test_a_plain_and_a_streamed_call_of_the_responses_api_are_two(self) -> None:
        plain = replace(HERE, route="responses.create")
        assert key_of(replace(plain, stream=True), content(BODY)) != key_of(plain, content(BODY))


class TestGolden:
    """Digests that are never to change without `VERSION`: what is kept would be found for another call, or not at all."""

    def test_of_a_json_call(self) -> None:
        body = (
            b'{"model":"gpt-image-2","prompt":"F\\u00fcchslein \\ud83e\\udd8a","n":1,"temperature":1.0,"x":[true,null,-0],'
            b'"images":[{"image_url":"data:image/png;base64,iVBORw0KGgo="},{"file_id":"file-1"}]}'
        )
        assert content(body).hex() == "1fd434a95bffceec616102ace9f414c605516ee6f778bc7dedd5325770635677"

    def test_of_a_form(self) -> None:
        parts = form(("prompt", b"a fox"), ("image[]", PNG, "a.png"), ("image[]", b"2", "b.png"), ("n", b"2"))
        assert form_content(parts).hex() == "7710f06efad71660120280ad91de4d2469d51261dea3a092b6ed2f9d150f161f"

    def test_of_a_key(self) -> None:
        assert (
            key_of(HERE, bytes(32)) == "v1-19bc963c1caa95a0d20a98fa2f2a1488156f39fe055629dd32f700f330e70900"
        )

    def test_every_value_says_its_kind_and_its_length_first(self) -> None:
        preimage = b"v16:imagegate json 1d2:s1:al3:n1:1n3:1.0w4:trues1:bd1:s0:s3:\xc3\xbcx"
        body = '{"b":{"":"üx"},"a":[1,1.0,true]}'
        assert content(body) == hashlib.sha256(preimage).digest()


class TestJson:
    def test_white_space_escapes_and_the_order_of_keys_do_not_count(self) -> None:
        one = b'{"prompt":"a \\u0066ox","tool":{"b":[1,2],"a":"\\/"}}'
        other = b'{ "tool" : {"a":"/", "b": [ 1 , 2 ]},\n"prompt":"a fox" }'
        assert content(one) == content(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ('{"n":1}', '{"n":1.0}'),
            ('{"n":1.0}', '{"n":1.00}'),
            ('{"n":1e0}', '{"n":1E0}'),
            ('{"n":0}', '{"n":-0}'),
            ('{"n":1}', '{"n":"1"}'),
            ('{"n":1}', '{"n":true}'),
            ('{"n":0}', '{"n":false}'),
            ('{"n":null}', "{}"),
            ('{"n":null}', '{"n":"null"}'),
            ('{"n":[]}', '{"n":{}}'),
            ('{"n":[1,2]}', '{"n":[2,1]}'),
            ('{"n":[[1],2]}', '{"n":[[1,2]]}'),
            ('{"n":["ab"]}', '{"n":["a","b"]}'),
            ('{"n":{"a":{"b":1}}}', '{"n":{"a":{},"b":1}}'),
            ('{"a":"b"}', '{"b":"a"}'),
            ('{"a":"s1:x"}', '{"a":"s1:y"}'),
            ('{"n":0.1}', '{"n":0.10000000000000001}'),
            ('{"n":"\\ud800"}', '{"n":"\\ud801"}'),
            ('{"n":"\\u00e9"}', '{"n":"e\\u0301"}'),
        ],
    )
    def test_two_calls_that_are_not_the_same_are_two(self, one: str, other: str) -> None:
        assert content(one) != content(other)

    def test_a_number_is_a_number_for_whoever_else_reads_the_body(self) -> None:
        read = read_json([b'{"temperature":0.0,"n":2,"top_p":1e-1}'])
        assert read == {"temperature": 0.0, "n": 2, "top_p": 0.1}
        assert isinstance(read["temperature"], Number)

    def test_a_number_that_has_lost_how_it_was_written_is_not_taken(self) -> None:
        with pytest.raises(TypeError, match="float"):
            json_content({"temperature": 1.0})

    def test_a_body_that_is_no_object_is_refused(self) -> None:
        with pytest.raises(ValueError, match="not a JSON object"):
            read_json([b"[1]"])

    def test_fields_may_be_left_out_at_the_top_only(self) -> None:
        ignoring = frozenset({"user"})
        assert content({**BODY, "user": "u2"}, ignoring) == content(BODY, ignoring)
        assert content({**BODY, "tool": {"user": 1}}, ignoring) != content(
            {**BODY, "tool": {"user": 2}}, ignoring
        )


class TestDataUrls:
    def test_a_picture_counts_by_its_bytes_and_its_media_type(self) -> None:
        here = content({"image_url": url(PNG)})
        assert here == content({"image_url": url(PNG)})
        assert here != content({"image_url": url(PNG, "image/webp")})
        assert here != content({"image_url": url(PNG[:-1] + b"\0")})
        assert here != content({"image_url": url(PNG + b"\0")})

    @pytest.mark.parametrize("size", [0, 1, 2, 3, (3 << 18) - 1, 3 << 18, (3 << 18) + 1, 3 << 19])
    def test_its_bytes_are_digested_whatever_its_size(self, size: int) -> None:
        data = bytes(size)
        held = hashlib.sha256(data).digest() + b"image/png"
        preimage = b"v16:imagegate json 1d1:s1:xu%d:%b" % (len(held), held)
        assert content({"x": url(data)}) == hashlib.sha256(preimage).digest()

    def test_it_is_found_anywhere(self) -> None:
        deep = {"input": [{"content": [{"type": "input_image", "image_url": url(PNG)}]}]}
        other = {"input": [{"content": [{"type": "input_image", "image_url": url(PNG[1:])}]}]}
        assert content(deep) != content(other)

    @pytest.mark.parametrize(
        "text",
        [
            "data:;base64,QR==",  # the bits behind the last byte are not zero
            "data:;base64,QQ",
            "data:;base64,QQ==QQ==",
            "data:;base64,Q Q=",
            "data:;base64,Q=Q=",
            "data:;base64,====",
            "data:;base64,QUJD\n",
            "data:;base64,QU-_",
            "data:;base64,äää=",
            "data:,QQ==",
            "DATA:;base64,QQ==",
            " data:;base64,QQ==",
            pytest.param(f"data:;base64,{'A' * ((1 << 20) - 4)}QQ==QUJD", id="two that were joined"),
            pytest.param(f"data:;base64,{'A' * (1 << 20)}Q", id="a sign too many"),
        ],
    )
    def test_what_no_encoder_writes_counts_as_the_text_it_is(self, text: str) -> None:
        raw = text.encode()
        preimage = b"v16:imagegate json 1d1:s1:xs%d:%b" % (len(raw), raw)
        assert content({"x": text}) == hashlib.sha256(preimage).digest()


class TestForms:
    def test_boundaries_file_names_part_types_and_the_spelling_of_image_do_not_count(self) -> None:
        one = form(("prompt", b"a fox"), ("image", PNG, "a.png"), boundary="b1", kind="image/png")
        other = form(("image[]", PNG, "upload"), ("prompt", b"a fox"), boundary="b2", kind="x/y")
        assert form_content(one) == form_content(other)

    def test_the_order_of_pictures_counts(self) -> None:
        one = form(("image[]", b"1", "a"), ("image[]", b"2", "b"))
        other = form(("image[]", b"2", "a"), ("image[]", b"1", "b"))
        assert form_content(one) != form_content(other)

    @pytest.mark.parametrize(
        "other",
        [
            form(("prompt", b"a fox"), ("image", PNG + b"!", "a")),
            form(("prompt", b"a fux"), ("image", PNG, "a")),
            form(("prompt", b"a fox"), ("mask", PNG, "a")),
            form(("prompt", b"a fox"), ("image", PNG, "a"), ("image", PNG, "a")),
            form(("prompt", b"a fox"), ("image", PNG, "a"), ("unheard_of", b"")),
            form(("image", PNG, "a")),
        ],
        ids=["a byte", "a letter", "a name", "a picture more", "an unknown field", "a field less"],
    )
    def test_any_other_difference_counts(self, other: Form) -> None:
        assert form_content(form(("prompt", b"a fox"), ("image", PNG, "a"))) != form_content(other)

    def test_a_form_is_no_json(self) -> None:
        assert form_content(Form({})) != json_content({})

    def test_fields_may_be_left_out_with_what_is_nested_in_them(self) -> None:
        one = form(("prompt", b"x"), ("svg[model]", b"gpt-5"), ("user", b"u1"))
        other = form(("prompt", b"x"), ("user", b"u2"))
        assert form_content(one, {"svg", "user"}) == form_content(other, {"svg", "user"})

    @pytest.mark.parametrize(("said", "is_left_out"), [(b"true", True), (b" False ", True), (b"yes", False)])
    def test_a_stream_that_is_asked_for_in_strange_words_counts(
        self, said: bytes, *, is_left_out: bool
    ) -> None:
        """Nobody knows what the upstream makes of it."""
        leave_out = left_out("images.edits")
        plain, strange = form(("prompt", b"x")), form(("prompt", b"x"), ("stream", said))
        assert (form_content(plain, leave_out) == form_content(strange, leave_out)) is is_left_out


class TestLeftOut:
    def test_what_asks_for_a_form_is_outside_the_key_of_an_images_call(self) -> None:
        leave_out = left_out("images.generations")
        streamed = {**BODY, "stream": True, "partial_images": 2}
        assert content(streamed, leave_out) == content(BODY, leave_out)

    def test_in_the_responses_api_partial_images_are_inside(self) -> None:
        leave_out = left_out("responses.create")
        assert content({"stream": True, "partial_images": 2}, leave_out) != content({}, leave_out)
        assert content({"stream": False}, leave_out) == content({}, leave_out)
        tool = {"type": "image_generation"}
        asks = {"tools": [{**tool, "partial_images": 1}]}
        assert content(asks, leave_out) != content({"tools": [tool]}, leave_out)

    def test_an_operator_may_ignore_more(self) -> None:
        assert left_out("responses.create", ("user",)) == {"stream", "user"}


class TestShare:
    @pytest.mark.parametrize(
        ("route", "scope", "owner", "ids"),
        [
            ("images.edits", "org", "key", ("default",)),
            ("images.edits", "team", "key", ("default", "design")),
            ("images.edits", "key", "team", ("default", "design", "alice")),
            ("responses.create", "org", "team", ("default", "design")),
            ("responses.create", "team", "key", ("default", "design", "alice")),
            ("responses.create", "key", "team", ("default", "design", "alice")),
            ("responses.create", "team", "team", ("default", "design")),
        ],
    )
    def test_a_response_is_given_to_its_owner_only_and_a_picture_within_the_scope(
        self, route: str, scope: Any, owner: Any, ids: tuple[str, ...]
    ) -> None:
        assert share(ALICE, route, scope=scope, owner=owner) == ids


class TestSeed:
    def test_it_is_taken_as_it_is(self) -> None:
        assert seed_of([(b"accept", b"x"), (b"x-imagegate-seed", b" 7 ")]) == b" 7 "
        assert seed_of([(b"accept", b"x")]) is None

    @pytest.mark.parametrize("values", [[b"1", b"1"], [b"x" * 129], ["ü".encode() * 129]])
    def test_one_that_could_be_read_in_two_ways_or_is_too_long_is_refused(self, values: list[bytes]) -> None:
        with pytest.raises(Refused) as caught:
            seed_of([(b"x-imagegate-seed", value) for value in values])
        assert caught.value.refusal.code is Code.INVALID_HEADER

    def test_128_characters_are_not_too_long(self) -> None:
        assert seed_of([(b"x-imagegate-seed", "ü".encode() * 128)]) is not None


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(max_size=8).map(url)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.text(max_size=8), VALUES, max_size=6)


def turned(value: Any) -> Any:
    """The same value with the keys of every object in the other order."""
    if isinstance(value, dict):
        return {key: turned(one) for key, one in reversed(value.items())}
    return [turned(one) for one in value] if isinstance(value, list) else value


@given(BODIES)
def test_no_order_of_keys_and_no_layout_counts(body: dict[str, Any]) -> None:
    other = json.dumps(turned(body), ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
    try:
        strictjson.loads(other)
    except strictjson.InvalidJsonError:
        return  # lone surrogates cannot be written in UTF-8
    assert content(body) == content(other)


@given(BODIES, BODIES)
def test_bodies_are_one_if_they_are_equal_and_only_then(one: dict[str, Any], other: dict[str, Any]) -> None:
    def literal(body: dict[str, Any]) -> str:
        return json.dumps(body, sort_keys=True)

    assert (content(one) == content(other)) is (literal(one) == literal(other))


@given(BODIES, st.text(max_size=8), VALUES)
def test_any_field_that_is_added_or_changed_moves_it(body: dict[str, Any], name: str, value: Any) -> None:
    changed = {**body, name: value}
    is_same = json.dumps(changed, sort_keys=True) == json.dumps(body, sort_keys=True)
    assert (content(changed) == content(body)) is is_same


@given(st.data())
def test_it_does_not_matter_in_which_pieces_a_body_comes(data: st.DataObject) -> None:
    raw = json.dumps({**BODY, "images": [{"image_url": url(PNG)}]}).encode()
    pieces = split(raw, data.draw(cuts(len(raw))))
    assert json_content(read_json(pieces)) == content(raw)


@pytest.mark.parametrize("change", [lambda raw: raw.replace(b"iVBOR", b"iVBOS"), lambda raw: raw + b" "])
def test_the_same_call_is_the_same_key(change: Callable[[bytes], bytes]) -> None:
    raw = json.dumps({"image_url": url(PNG)}).encode()
    key: CacheKey = key_of(HERE, content(raw))
    assert (key_of(HERE, content(change(raw))) == key) is (json.loads(change(raw)) == json.loads(raw))
