"""
From a painted picture to the bytes of a file, and the film grain that makes it weigh what a real one weighs.

A painted gradient compresses to nothing, a photograph does not: grain seeded by the picture gives a PNG of 1024x1024
its hundreds of kilobytes at low quality and its megabytes at high. JPEG and WebP honour `output_compression` (their
encoder's quality); PNG is lossless. Pixels that must stay as they were (an edit's mask) get no grain.
"""

import io
from random import Random
from typing import Final

from PIL import Image, ImageChops

from gateway.sandbox.draw import Motif, opened, paint
from gateway.sandbox.palette import palette_of
from gateway.sandbox.scenes import ridge_line

MEDIA: Final = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
# How many grey steps the grain has, by quality: each doubling adds a bit per pixel and channel.
_GRAIN: Final = {"low": 2, "standard": 2, "medium": 5, "high": 40, "hd": 40, "xhigh": 44, "max": 48}


def developed(
    motif: Motif, output_format: str, compression: int, stage: float = 1.0, frames: tuple[int, int] = (9, 200)
) -> bytes:
    """
    The picture as a file.

    Args:
        motif: what it shows.
        output_format: png, jpeg, webp, gif or svg.
        compression: 0 to 100, for jpeg and webp.
        stage: as in `draw.paint`; ignored by gif and svg, which have no partial images.
        frames: of a gif, how many and how long each (milliseconds).

    Raises:
        OSError, ValueError: a source image cannot be read.
    """
    if output_format == "svg":
        return _svg(motif)
    picture = paint(motif, stage)
    if output_format == "gif":
        return _gif(picture, *frames)
    grained = _grained(picture, motif)
    out = io.BytesIO()
    match output_format:
        case "jpeg":
            grained.convert("RGB").save(out, "JPEG", quality=max(1, min(95, compression)))
        case "webp":
            grained.save(out, "WEBP", quality=compression, method=1)
        case _:
            # Level 1: grain does not compress, so harder work would only take longer (4 times at level 6).
            grained.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _grained(picture: Image.Image, motif: Motif) -> Image.Image:
    steps = _GRAIN.get(motif.quality, 2)
    noise = Image.frombytes(
        "L", picture.size, Random(motif.seed + ":grain").randbytes(picture.width * picture.height)
    )
    # The same grain in all channels, as film has it.
    grey = noise.point([128 - steps // 2 + value * steps // 256 for value in range(256)])
    grain = Image.merge("RGB", (grey, grey, grey))
    rgb = ImageChops.add(picture.convert("RGB"), grain, 1, -128)
    if motif.mask is not None and motif.sources:
        kept = opened(motif.mask).getchannel("A").resize(picture.size, Image.Resampling.NEAREST)
        rgb.paste(picture.convert("RGB"), mask=kept.point([0] + [255] * 255))
    if picture.mode == "RGBA":
        rgb.putalpha(picture.getchannel("A"))
    return rgb


def _gif(picture: Image.Image, count: int, frame_ms: int) -> bytes:
    """A slow drift of the camera over the picture."""
    shots = []
    for number in range(count):
        part = number / max(1, count - 1)
        wide, tall = round(picture.width * 0.9), round(picture.height * 0.9)
        left, top = round((picture.width - wide) * part), round((picture.height - tall) * (1 - part))
        shot = picture.crop((left, top, left + wide, top + tall)).resize(
            picture.size, Image.Resampling.BILINEAR
        )
        shots.append(shot.convert("RGB").quantize(64, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE))
    out = io.BytesIO()
    shots[0].save(
        out, "GIF", save_all=True, append_images=shots[1:], duration=max(10, frame_ms // 10 * 10), loop=0
    )
    return out.getvalue()


def _svg(motif: Motif) -> bytes:
    """A landscape in vectors: sky, sun and ridges."""
    rng = Random(motif.seed)
    colours = palette_of(motif.prompt, rng)
    width, height = motif.width, motif.height
    shapes = []
    for layer in range(5):
        line = ridge_line(Random(f"{motif.seed}:ridge{layer}"), 0.5 + 0.1 * layer, 0.08 + 0.02 * layer, 33)
        path = " ".join(f"L{left * width:.1f} {top * height:.1f}" for left, top in line)
        shapes.append(
            f'<path fill="{_hex(colours.at(0.6 - 0.14 * layer))}" d="M0 {height} {path} L{width} {height} Z"/>'
        )
    sky = "" if motif.transparent else f'<rect width="{width}" height="{height}" fill="url(#sky)"/>'
    sun = (rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.4) * height, 0.08 * min(width, height))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="{_hex(colours.at(0.5))}"/>'
        f'<stop offset="1" stop-color="{_hex(colours.at(1))}"/></linearGradient></defs>{sky}'
        f'<circle cx="{sun[0]:.1f}" cy="{sun[1]:.1f}" r="{sun[2]:.1f}" fill="{_hex(colours.accent)}"/>'
        f"{''.join(shapes)}</svg>"
    ).encode()


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
