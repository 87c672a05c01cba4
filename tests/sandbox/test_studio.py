"""Where pictures are made once only."""

from gateway.sandbox import studio
from gateway.sandbox.draw import Motif
from gateway.sandbox.studio import Film, Studio
from tests.support.sandbox_client import png


async def test_the_same_picture_is_made_once() -> None:
    made = Studio()
    motif = Motif("a fox", 64, 64, "low")

    first = await made.picture(motif, Film())

    assert await made.picture(motif, Film()) is first
    assert await made.picture(motif, Film("jpeg")) is not first
    assert (await made.picture(motif, Film(), 0.5)).data != first.data


def test_an_image_is_measured_and_other_bytes_are_none() -> None:
    assert studio.measured(png((8, 4))) == (8, 4, False)
    assert studio.measured(png((8, 4), (1, 2, 3, 0))) == (8, 4, True)
    assert studio.measured(b"no image") is None
