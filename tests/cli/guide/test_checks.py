import io
from dataclasses import replace

import pytest
from PIL import Image

from gateway.catalog import load
from gateway.cli.guide.checks import faults, wanted_tokens
from gateway.cli.guide.step import Answer, Want

CATALOG = load()
WANT = Want("1024x1024", "low", "gpt-image-1")


def picture(
    colour: str = "red", *, size: tuple[int, int] = (1024, 1024), mode: str = "RGB", file_format: str = "PNG"
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, file_format)
    return out.getvalue()


RED = picture()
GOOD = Answer((RED,), 272, size="1024x1024", quality="low")
STREAMED = replace(GOOD, tokens=472, partials=((0, picture("blue")), (1, picture("green"))))


def found(want: Want, answer: Answer, ids: tuple[str | None, ...] = ("igr_1",)) -> list[str]:
    return faults(want, answer, ids, CATALOG)


def test_a_right_answer_has_no_faults() -> None:
    assert found(WANT, GOOD) == []
    assert found(replace(WANT, partials=2), STREAMED) == []


@pytest.mark.parametrize(
    ("want", "tokens"),
    [
        pytest.param(WANT, 272, id="table"),
        pytest.param(replace(WANT, partials=2), 472, id="with the guide's partial images"),
        pytest.param(Want("1536x1024", "low", "gpt-image-2", images=2), 316, id="formula, n = 2"),
        pytest.param(Want("512x512", None, None), None, id="billed by picture"),
        pytest.param(Want("1024x1024", "low", "gpt-image-9"), None, id="unknown model"),
        pytest.param(Want("1024x1024", "low", "gpt-5"), None, id="no image model"),
    ],
)
def test_tokens_follow_the_catalogue(want: Want, tokens: int | None) -> None:
    assert wanted_tokens(want, CATALOG) == tokens


@pytest.mark.parametrize(
    ("want", "answer", "fault"),
    [
        pytest.param(
            WANT,
            replace(GOOD, tokens=273),
            "273 output image tokens, but the catalogue's rule says 272",
            id="tokens",
        ),
        pytest.param(
            WANT,
            replace(GOOD, tokens=None),
            "None output image tokens, but the catalogue's rule says 272",
            id="no usage",
        ),
        pytest.param(
            replace(WANT, counted_as="gpt-image-9"),
            GOOD,
            "the catalogue has no rule for gpt-image-9 at low 1024x1024",
            id="no rule",
        ),
        pytest.param(
            WANT, replace(GOOD, quality="high"), "the answer names quality high, not low", id="quality"
        ),
        pytest.param(
            WANT,
            replace(GOOD, size="1024x1536"),
            "the answer names size 1024x1536, not 1024x1024",
            id="size said",
        ),
        pytest.param(
            WANT,
            replace(GOOD, pictures=(picture(size=(64, 32)),)),
            "image 1 is 64x32, not 1024x1024",
            id="size seen",
        ),
        pytest.param(
            WANT,
            replace(GOOD, pictures=(picture(file_format="JPEG"),)),
            "image 1 is JPEG, not PNG",
            id="format",
        ),
        pytest.param(
            WANT,
            replace(GOOD, pictures=(RED[:20],)),
            "image 1 is no picture: 20 bytes that Pillow cannot read",
            id="bytes",
        ),
        pytest.param(
            replace(WANT, transparent=True), GOOD, "image 1 has no transparent background", id="opaque"
        ),
        pytest.param(WANT, replace(GOOD, faults=("the moon is missing",)), "the moon is missing", id="own"),
        pytest.param(
            replace(WANT, partials=2),
            replace(STREAMED, partials=STREAMED.partials[::-1]),
            "partial images came in the order [1, 0]",
            id="order of partials",
        ),
        pytest.param(
            replace(WANT, partials=2),
            replace(STREAMED, partials=(STREAMED.partials[0], (1, RED))),
            "a partial image is the finished one",
            id="no partial at all",
        ),
        pytest.param(
            replace(WANT, partials=2),
            replace(STREAMED, partials=(STREAMED.partials[0], (1, b""))),
            "partial image 1 is no picture: 0 bytes that Pillow cannot read",
            id="empty partial",
        ),
    ],
)
def test_a_wrong_answer_is_told_in_a_sentence(want: Want, answer: Answer, fault: str) -> None:
    assert found(want, answer) == [fault]


def test_missing_partial_images_are_counted() -> None:
    short = replace(STREAMED, partials=STREAMED.partials[:1])

    assert found(replace(WANT, partials=2), short) == ["1 partial images, not 2"]


def test_the_same_picture_twice_is_not_two() -> None:
    twice = replace(GOOD, pictures=(RED, RED), tokens=544)

    assert found(replace(WANT, images=2), twice) == ["1 different images, not 2"]


@pytest.mark.parametrize("ids", [(), (None,), ("igr_1", None)])
def test_an_answer_that_bypassed_the_gateway_is_a_fault(ids: tuple[str | None, ...]) -> None:
    assert found(WANT, GOOD, ids) == [
        "the answer did not come through the gateway: it has no x-imagegate-id header"
    ]


def test_ids_are_not_given_twice() -> None:
    assert found(WANT, GOOD, ("igr_1", "igr_1")) == ["two answers share an x-imagegate-id: igr_1, igr_1"]
