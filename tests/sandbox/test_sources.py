"""Input images, however they come."""

import httpx2
import pytest

from gateway.sandbox import errors
from gateway.sandbox.sources import mask, source
from tests.support.sandbox_client import data_url, png


async def test_a_good_image_has_its_size() -> None:
    found = await source(png((8, 4)), 1)

    assert (found.size, found.alpha) == ((8, 4), False)


async def test_a_file_that_ends_too_early_is_no_image() -> None:
    with pytest.raises(errors.ApiError) as caught:
        await source(png((512, 512), (1, 2, 3))[:-100], 3)

    assert (caught.value.status, caught.value.code) == (400, "invalid_image_file")
    assert "image 3" in caught.value.message


async def test_a_mask_needs_the_size_of_its_image_and_an_alpha_channel() -> None:
    first = await source(png((8, 8)), 1)

    assert (await mask(png((8, 8), (0, 0, 0, 0)), first)).alpha
    with pytest.raises(errors.ApiError, match="400"):
        await mask(png((8, 8)), first)
    with pytest.raises(errors.ApiError, match="400"):
        await mask(png((4, 8), (0, 0, 0, 0)), first)


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ({"image_url": "https://example.com/fox.png"}, "failed_to_download_image"),
        ({"image_url": "http://127.0.0.1:1/_sandbox/images/fox.png"}, "failed_to_download_image"),
        ({"image_url": "fox.png"}, "invalid_image_url"),
        ({"image_url": data_url(png())[:-3] + "!!!"}, "invalid_base64_image"),
        ({"file_id": "file-none"}, "image_file_not_found"),
        ({"file_id": "file-none", "image_url": "https://example.com/fox.png"}, "invalid_value"),
        ({}, "invalid_value"),
        ("fox.png", "invalid_type"),
    ],
)
def test_what_cannot_be_had_is_a_400_that_says_why(http: httpx2.Client, reference: object, code: str) -> None:
    body = {"model": "gpt-image-1", "prompt": "a fox", "images": [reference]}

    answer = http.post("/v1/images/edits", json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
