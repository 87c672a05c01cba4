"""Typed access to parameters, as JSON and as the fields of a form."""

import httpx2
import pytest

from gateway.sandbox import errors
from gateway.sandbox.forms import Params, Upload
from tests.support.sandbox_client import png


def test_a_form_spells_numbers_and_booleans_as_text() -> None:
    form = Params({"n": "3", "stream": "true"}, is_form=True)

    assert (form.number("n", 1, 10), form.flag("stream")) == (3, True)
    with pytest.raises(errors.ApiError):
        Params({"n": "three"}, is_form=True).number("n", 1, 10)


def test_json_does_not() -> None:
    for name, value in (("n", "3"), ("n", True), ("n", 1.5)):
        with pytest.raises(errors.ApiError) as caught:
            Params({name: value}).number(name, 1, 10)
        assert caught.value.code == "invalid_type"
    with pytest.raises(errors.ApiError):
        Params({"stream": "true"}).flag("stream")


def test_what_is_absent_or_null_is_not_there() -> None:
    for params in (Params({}), Params({"x": None})):
        assert params.text("x") is None
        assert params.number("x", 1, 2) is None
        assert params.flag("x") is False
        assert params.choice("x", ("a",), "b") == "b"


def test_file_parts_are_found_under_all_spellings_of_their_name() -> None:
    names = ("image", "image[]", "image[0]", "mask")
    params = Params({}, [Upload(name, "upload", name.encode()) for name in names])

    assert [upload.data for upload in params.files("image")] == [b"image", b"image[]", b"image[0]"]


@pytest.mark.parametrize(
    "content_type", ["Multipart/Form-Data", "MULTIPART/FORM-DATA", "multipart/form-data"]
)
def test_a_content_type_is_the_same_in_any_capitals(http: httpx2.Client, content_type: str) -> None:
    """RFC 9110, 8.3.1: type and subtype are case-insensitive."""
    part = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    file = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n%b\r\n--x--\r\n'
    content = part % (b"prompt", b"a fox") + part % (b"quality", b"low") + file % png()
    headers = {"content-type": f"{content_type}; boundary=x"}

    edited = http.post("/v1/images/edits", content=content, headers=headers)
    generated = http.post("/v1/images/generations", content=content, headers=headers)

    assert (edited.status_code, len(edited.json()["data"])) == (200, 1)
    assert "takes 'application/json'" in generated.json()["error"]["message"]
