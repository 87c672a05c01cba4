import hashlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.multipart import (
    MAX_PARTS,
    Form,
    FormReader,
    InvalidMultipartError,
    Part,
    RepeatedFieldError,
    boundary_of,
)
from tests.support.chunking import cuts, split

WANTED = frozenset({"model", "n", "size", "svg[model]"})


def part(name: str, value: bytes, extra: str = "", headers: str = "") -> bytes:
    head = f'--B\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


END = b"--B--\r\n"
EDIT = (
    part("model", b"gpt-image-2")
    + part("n", b"2")
    + part("image[]", b"\x89PNG\r\n--C not a boundary", '; filename="a.png"', "Content-Type: image/png\r\n")
    + part("image[]", b"\r\n\r\n--", '; filename="b.png"')
    + part("prompt", "ein Fuchs – größer".encode())
    + END
)


def part_of(content: bytes, name: str) -> Part:
    return Part(name, len(content), hashlib.sha256(content).digest())


def read(*chunks: bytes) -> Form:
    reader = FormReader(b"B", WANTED)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.close()


def test_the_fields_we_decide_by_are_kept_and_no_others() -> None:
    form = read(EDIT)
    assert form.fields == {"model": "gpt-image-2", "n": "2"}
    assert [part.name for part in form.parts] == ["model", "n", "image[]", "image[]", "prompt"]


def test_each_part_is_stood_for_by_its_digest() -> None:
    picture = b"\x89PNG\r\n--C not a boundary"
    part_ = read(EDIT).parts[2]
    assert (part_.size, part_.sha256) == (len(picture), hashlib.sha256(picture).digest())


@given(st.data())
def test_reading_does_not_depend_on_where_the_network_cuts(data: st.DataObject) -> None:
    assert read(*split(EDIT, data.draw(cuts(len(EDIT))))) == read(EDIT)


def test_a_picture_is_not_held() -> None:
    reader = FormReader(b"B", WANTED)
    reader.feed(part("image", b"", '; filename="a.png"')[:-2])
    for _ in range(64):
        reader.feed(b"x" * 65_536)
    assert len(reader._tail) < 100
    assert reader._part.value is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "closing delimiter is missing", id="empty"),
        pytest.param(part("n", b"1"), "closing delimiter is missing", id="cut off"),
        pytest.param(b"hello", "Expected boundary", id="not a form"),
        pytest.param(part("n", b"1") + END + part("n", b"9") + END, "behind the closing", id="a second form"),
        pytest.param(part("n", b"1") + END + b"x", "behind the closing", id="epilogue"),
        pytest.param(part("n", b"1", '; filename="x"') + END, "must not be a file", id="n as a file"),
        pytest.param(part("n", b"1", '; name="model"') + END, "two ways", id="two names"),
        pytest.param(part("n", b"1", "; name*=utf-8''model") + END, "two ways", id="extended name"),
        pytest.param(part("a\\n", b"1") + END, "two ways", id="escaped name"),
        *(
            pytest.param(part(name, b"1") + END, "must be sent as", id=f"spelt {name}")
            for name in (
                "n[]",
                "model[0]",
                " model",
                "MODEL",
                "n.x",
                "svg",
                "svg[]",
                "svg[model][]",
                "svg.model",
                "svg[ model ]",
            )
        ),
        pytest.param(
            part("n", b"1", "", "Content-Transfer-Encoding: base64\r\n") + END, "transfer", id="base64"
        ),
        pytest.param(
            part("n", b"1", "", "Content-Type: text/plain; charset=utf-16\r\n") + END, "UTF-8", id="UTF-16"
        ),
        pytest.param(part("n", b"\xff") + END, "not UTF-8", id="bytes"),
        pytest.param(part("n", b"1" * 5000) + END, "longer than", id="long"),
        pytest.param(
            b"--B\r\nContent-Type: text/plain\r\n\r\n1\r\n" + END, "exactly one", id="no disposition"
        ),
        pytest.param(
            part("n", b"1", "", 'Content-Disposition: form-data; name="size"\r\n') + END,
            "exactly one",
            id="two dispositions",
        ),
        pytest.param(
            b'--B\r\nContent-Disposition: attachment; name="n"\r\n\r\n1\r\n' + END,
            "not form-data",
            id="attachment",
        ),
        pytest.param(
            b"--B\r\nContent-Disposition: form-data; size=1\r\n\r\n1\r\n" + END, "no name", id="nameless"
        ),
        pytest.param(
            b'--B\r\nContent-Disposition: form-data; name="n\r\n\r\n1\r\n' + END,
            "cannot be read",
            id="open quote",
        ),
        pytest.param(part("image", b"") * (MAX_PARTS + 1) + END, "more than", id="too many parts"),
    ],
)
def test_what_cannot_be_read_in_one_way_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidMultipartError, match=reason):
        read(body)
    with pytest.raises(InvalidMultipartError, match=reason):
        read(*(body[at : at + 1] for at in range(len(body))))


@pytest.mark.parametrize("name", ["n", "prompt", "mask"])
def test_a_repeated_name_is_refused(name: str) -> None:
    with pytest.raises(RepeatedFieldError) as caught:
        read(part(name, b"1") + part(name, b"1") + END)
    assert caught.value.name == name


@pytest.mark.parametrize("name", ["image", "image[]"])
def test_reference_images_may_be_many(name: str) -> None:
    assert read(part(name, b"1") * 16 + END).parts == (part_of(b"1", name),) * 16


def test_a_file_name_may_hold_anything_quotable() -> None:
    extra = "; filename=\"a;name=x.png\"; filename*=utf-8''b.png"
    assert read(part("image", b"1", extra) + END).parts == (part_of(b"1", "image"),)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'multipart/form-data; charset=utf-8; boundary="a b"', b"a b"),
        (b"multipart/form-data;BOUNDARY=x", b"x"),
    ],
)
def test_the_boundary_is_found(content_type: bytes, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        b"multipart/form-data",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=a; boundary=b",
    ],
)
def test_a_missing_or_double_boundary_is_refused(content_type: bytes) -> None:
    with pytest.raises(InvalidMultipartError):
        boundary_of(content_type)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    with suppress(InvalidMultipartError, RepeatedFieldError):
        assert read(b"--B\r\n" + body).parts
