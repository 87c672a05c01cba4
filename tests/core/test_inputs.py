from hypothesis import given
from hypothesis import strategies as st

from gateway.core.inputs import Inputs, of_form, of_images, of_responses
from gateway.core.multipart import Part


def test_a_form_brings_a_picture_for_each_image_part_whatever_its_spelling() -> None:
    names = ["image", "image[]", "image[0]", "markup", "mask", "prompt", "imagery", "user"]
    assert of_form([Part(name, 7, b"") for name in names]) == Inputs(text_bytes=7, images=4)


def test_an_images_body_brings_its_prompt_and_its_references() -> None:
    assert of_images({"prompt": "é", "images": [{}, {}], "mask": {}}) == Inputs(text_bytes=2, images=2)
    assert of_images({"prompt": 5, "images": "x"}) == Inputs()


def test_a_response_brings_all_its_text_and_not_the_bytes_of_its_pictures() -> None:
    content = [
        {"type": "input_text", "text": "a" * 100},
        {"type": "input_image", "image_url": "data:" + "A" * 9999},
        {"type": "input_image", "file_id": "file-1", "detail": "high"},
    ]
    found = of_responses({"input": [{"role": "user", "content": content}], "instructions": "b" * 100})
    assert found.images == 2
    assert 200 < found.text_bytes < 800
    assert not found.beyond


def test_what_is_kept_upstream_is_beyond_what_can_be_counted() -> None:
    for body in ({"previous_response_id": "r"}, {"conversation": {"id": "c"}}, {"prompt": {"id": "p"}}):
        assert of_responses(body).beyond
    assert not of_responses({"previous_response_id": None}).beyond
    assert of_responses({"input": [{"type": "item_reference", "id": "x"}]}) == Inputs(
        of_responses({"input": [{"type": "item_reference", "id": "x"}]}).text_bytes, images=1, beyond=True
    )


@given(st.text(max_size=300))
def test_text_is_never_counted_below_its_bytes(text: str) -> None:
    size = len(text.encode("utf-8", "surrogatepass"))
    assert of_responses({"input": text}).text_bytes >= size
    assert of_images({"prompt": text}).text_bytes == size
