import io
from pathlib import Path

import pytest
from PIL import Image

from gateway.cli.guide import album


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("generate", "03-generate-gpt-image-2"),
        ("edit, high input fidelity", "03-edit-high-input-fidelity-gpt-image-2"),
        ("n = 2", "03-n-2-gpt-image-2"),
    ],
)
def test_files_are_named_by_number_call_and_model(name: str, stem: str) -> None:
    assert album.stem(3, name, "gpt-image-2") == stem


def test_a_kept_picture_has_its_formats_extension(tmp_path: Path) -> None:
    path = album.keep(tmp_path, "01-x", b"data", "WEBP")

    assert path == tmp_path / "01-x.webp"
    assert path.read_bytes() == b"data"


def test_a_picture_cut_short_is_no_picture() -> None:
    whole = encoded(Image.effect_noise((64, 64), 50))

    assert album.opened(whole) is not None
    assert album.opened(whole[: len(whole) // 2]) is None
    assert album.opened(b"") is None


@pytest.mark.parametrize(
    ("alphas", "verdict"), [((0, 255), True), ((255, 255), False), ((0, 0), False), ((128, 255), False)]
)
def test_see_through_is_what_has_nothing_in_one_place_and_all_in_another(
    alphas: tuple[int, int], verdict: bool
) -> None:
    image = Image.new("RGBA", (2, 1), "red")
    for left, alpha in enumerate(alphas):
        image.putpixel((left, 0), (255, 0, 0, alpha))

    assert album.see_through(image) is verdict


def test_a_picture_without_alpha_is_not_see_through() -> None:
    assert not album.see_through(Image.new("RGB", (2, 1)))


def test_a_mask_has_the_pictures_size_and_a_hole_in_its_middle(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(encoded(Image.new("RGB", (80, 40))))

    mask = album.opened(album.mask_for(picture))

    assert mask is not None
    assert mask.size == (80, 40)
    assert mask.getchannel("A").getpixel((40, 20)) == 0
    assert mask.getchannel("A").getpixel((1, 1)) == 255


@pytest.mark.parametrize(
    ("at", "within", "elsewhere"), [((8, 4), True, False), ((0, 0), False, True), (None, False, False)]
)
def test_a_change_is_found_on_its_side_of_the_mask(
    at: tuple[int, int] | None, within: bool, elsewhere: bool
) -> None:
    before, mask = Image.new("RGB", (16, 8)), Image.new("RGBA", (16, 8), "white")
    mask.paste((0, 0, 0, 0), (6, 2, 10, 6))
    after = before.copy()
    if at is not None:
        after.putpixel(at, (255, 255, 255))

    assert album.changed_within(before, after, mask) == (within, elsewhere)
