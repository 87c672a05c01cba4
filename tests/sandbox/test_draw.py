"""The sandbox's pictures."""

import base64
import io

import pytest
from PIL import Image, ImageChops, ImageStat

from gateway.sandbox.darkroom import developed
from gateway.sandbox.draw import Motif, paint
from tests.support.sandbox_client import opened, png

PROMPTS = (
    "a red fox in the forest",
    "planets in space",
    "stained glass of a cherry",
    "abstract waves",
    "robots",
)


def motif(
    prompt: str = PROMPTS[0], size: tuple[int, int] = (256, 256), quality: str = "low", index: int = 0
) -> Motif:
    return Motif(prompt, *size, quality, index)


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of the channels, 0 to 255."""
    return sum(ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean) / 3


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_picture_has_its_size_and_is_not_one_colour(prompt: str) -> None:
    picture = paint(motif(prompt, (320, 192)))

    assert picture.size == (320, 192)
    assert min(ImageStat.Stat(picture).stddev) > 5


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp", "gif", "svg"])
def test_the_same_motif_gives_the_same_bytes(output_format: str) -> None:
    assert developed(motif(), output_format, 80) == developed(motif(), output_format, 80)


def test_prompt_quality_and_number_each_make_another_picture() -> None:
    pictures = [paint(one) for one in (motif(), motif("a cat"), motif(quality="high"), motif(index=1))]

    for number, one in enumerate(pictures):
        assert all(difference(one, other) > 1 for other in pictures[number + 1 :])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_stages_come_closer_to_the_finished_picture(prompt: str) -> None:
    """The same composition: each stage is nearer to the end than the one before, and than another picture is."""
    final = paint(motif(prompt))
    away = [difference(paint(motif(prompt), stage), final) for stage in (0.25, 0.5, 0.75, 1)]

    assert away[0] > away[1] > away[2] > away[3] == 0
    assert away[0] < difference(paint(motif(prompt + " at another place")), final)


def test_a_transparent_picture_is_really_transparent_around_its_subject() -> None:
    picture = paint(Motif("a fox", 256, 256, "low", transparent=True))

    assert picture.mode == "RGBA"
    assert picture.getpixel((0, 0))[3:] == (0,)  # type: ignore[index]  # a tuple in this mode
    assert picture.getchannel("A").getextrema() == (0, 255)


def test_all_references_are_on_the_picture() -> None:
    red, sixteen = png(colour=(255, 0, 0)), 16
    few = paint(Motif("a fox", 512, 512, "low", sources=(png(),)))
    many = paint(Motif("a fox", 512, 512, "low", sources=(png(), *(red for _ in range(sixteen - 1)))))

    def reds(picture: Image.Image) -> int:
        colours = picture.convert("RGB").getcolors(1 << 20)
        assert colours is not None
        return sum(count for count, colour in colours if colour == (255, 0, 0))

    assert reds(few) == 0
    assert reds(many) > 5_000


@pytest.mark.parametrize(
    ("quality", "low", "high"), [("low", 200_000, 1_500_000), ("high", 1_400_000, 6_000_000)]
)
def test_files_weigh_what_real_ones_weigh(quality: str, low: int, high: int) -> None:
    assert low < len(developed(motif(size=(1024, 1024), quality=quality), "png", 100)) < high


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_compression_is_honoured(output_format: str) -> None:
    small, large = (developed(motif(), output_format, compression) for compression in (20, 95))

    assert len(small) * 2 < len(large)
    assert Image.open(io.BytesIO(small)).size == (256, 256)


def test_a_transparent_file_keeps_its_alpha() -> None:
    data = developed(Motif("a fox", 128, 128, "low", transparent=True), "webp", 90)

    assert opened(base64.b64encode(data).decode()).convert("RGBA").getchannel("A").getextrema() == (0, 255)
