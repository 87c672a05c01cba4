"""Pictures: where they are kept, and looking at them with Pillow."""

import io
import re
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, UnidentifiedImageError


def stem(number: int, name: str, model: str) -> str:
    """The name of a call's files, without what follows it: `01-generate-gpt-image-2`."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return f"{number:02}-{words}-{model}"


def keep(folder: Path, name: str, data: bytes, file_format: str) -> Path:
    """Writes one picture; `file_format` is Pillow's word for it. Returns its file."""
    path = folder / f"{name}.{file_format.lower()}"
    path.write_bytes(data)
    return path


def opened(data: bytes) -> Image.Image | None:
    """The picture, fully decoded; None if it is none."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None
    return image


def see_through(image: Image.Image) -> bool:
    """Whether some of it is fully transparent, and some of it fully opaque."""
    return "A" in image.getbands() and image.getchannel("A").getextrema() == (0, 255)


def mask_for(picture: Path) -> bytes:
    """A PNG of the picture's size whose middle, fully transparent, is to be painted anew."""
    with Image.open(picture) as image:
        width, height = image.size
    alpha = Image.new("L", (width, height), 255)
    ImageDraw.Draw(alpha).ellipse((width // 4, height // 4, width * 3 // 4, height * 3 // 4), fill=0)
    mask = Image.new("RGBA", (width, height), "white")
    mask.putalpha(alpha)
    out = io.BytesIO()
    mask.save(out, "PNG")
    return out.getvalue()


def changed_within(before: Image.Image, after: Image.Image, mask: Image.Image) -> tuple[bool, bool]:
    """Whether two pictures of one size differ where the mask is fully transparent, and whether elsewhere."""
    difference = ImageChops.difference(before.convert("RGB"), after.convert("RGB")).convert("L")
    hole = mask.getchannel("A").point([255] + [0] * 255)
    nothing = Image.new("L", difference.size)
    inside = Image.composite(difference, nothing, hole)
    outside = Image.composite(nothing, difference, hole)
    return inside.getbbox() is not None, outside.getbbox() is not None
