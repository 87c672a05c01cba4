"""
The sandbox's pictures: the same prompt, size, quality and number always give the same one.

Decided here: which kind of scene a prompt gets, what a coarse stage is, how a transparent picture is cut out, and how
a picture made from others (an edit, a variation) shows what it was made from.

Not here: the strokes (scenes.py), the colours (palette.py), file formats and film grain (darkroom.py).
"""

import hashlib
import io
from dataclasses import dataclass
from random import Random
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from gateway.sandbox import scenes
from gateway.sandbox.palette import palette_of

# A canvas is never painted larger than this and enlarged instead: 4K pictures would take seconds.
_CANVAS_MAX: Final = 1536
# Canvas pixels per picture pixel where it fits: enough that edges are smooth.
_OVERSAMPLE: Final = 1.5
_KINDS: Final = (
    (scenes.orbits, ("planet", "space", "galaxy", "orbit", "universe", "rocket", "astronaut")),
    (scenes.glass, ("glass", "mosaic", "geometric", "pattern", "icon", "logo", "window", "crystal")),
    (scenes.flow, ("abstract", "flow", "wave", "wind", "music", "smoke", "swirl", "texture")),
    (
        scenes.landscape,
        ("mountain", "hill", "landscape", "sunset", "forest", "valley", "lake", "fox", "meadow"),
    ),
)


@dataclass(frozen=True, slots=True)
class Motif:
    """
    What a picture depends on.

    Args:
        sources: the encoded images it is made from, in order; empty for a picture out of nothing.
        mask: an encoded image whose fully transparent part is to be repainted.
        salt: what else tells two calls apart; a variation's number for example.
    """

    prompt: str
    width: int
    height: int
    quality: str
    index: int = 0
    transparent: bool = False
    sources: tuple[bytes, ...] = ()
    mask: bytes | None = None
    salt: str = ""

    @property
    def seed(self) -> str:
        """One value for all chance in the picture."""
        text = f"{self.prompt}\0{self.quality}\0{self.index}\0{self.salt}"
        return hashlib.sha256(text.encode()).hexdigest()


def paint(motif: Motif, stage: float = 1.0) -> Image.Image:
    """
    The picture, at the size asked.

    Args:
        motif: what it shows.
        stage: 1 is the finished picture; below, the same composition with fewer strokes and less focus.

    Returns:
        RGB, or RGBA where the motif is transparent.

    Raises:
        OSError, ValueError: a source cannot be read as an image (Pillow's words).
    """
    scene = _scene(motif, stage)
    made = _from_sources(motif, scene) if motif.sources else scene
    if stage < 1:
        made = _out_of_focus(made, stage)
    if motif.mask is not None and motif.sources:
        made = _inpainted(motif, scene if stage >= 1 else _out_of_focus(scene, stage))
    return _cut_out(motif, made) if motif.transparent else made


def opened(data: bytes) -> Image.Image:
    """An encoded image, read fully, upright, RGBA."""
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGBA")


def _scene(motif: Motif, stage: float) -> Image.Image:
    long = max(motif.width, motif.height)
    scale = min(_OVERSAMPLE, _CANVAS_MAX / long)
    canvas_size = (max(8, round(motif.width * scale)), max(8, round(motif.height * scale)))
    rng = Random(motif.seed)
    canvas = scenes.Canvas(Image.new("RGB", canvas_size), palette_of(motif.prompt, rng), motif.seed, stage)
    words = motif.prompt.lower()
    kinds = [kind for kind, cues in _KINDS if any(cue in words for cue in cues)]
    # Without a cue the prompt's own chance chooses; a landscape twice as often as anything else.
    chosen = kinds[0] if kinds else rng.choice([kind for kind, _ in _KINDS] + [scenes.landscape])
    chosen(canvas)
    # Under a quarter of the size a smooth filter is not seen; above it the eye sees every step.
    return canvas.image.resize((motif.width, motif.height), Image.Resampling.BICUBIC)


def _out_of_focus(picture: Image.Image, stage: float) -> Image.Image:
    """A coarser stage: painted small and enlarged, the smaller the earlier."""
    part = max(0.02, stage**2 / 6)
    small = (max(4, round(picture.width * part)), max(4, round(picture.height * part)))
    return picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)


def _fitted(data: bytes, size: tuple[int, int]) -> Image.Image:
    """A source on white, cropped to the size."""
    image = opened(data)
    flat = Image.new("RGB", image.size, (255, 255, 255))
    flat.paste(image, mask=image.getchannel("A"))
    return ImageOps.fit(flat, size, Image.Resampling.BICUBIC)


def _from_sources(motif: Motif, scene: Image.Image) -> Image.Image:
    """The first source under the scene's light; the others as prints laid on it."""
    base = _fitted(motif.sources[0], scene.size)
    lit = Image.blend(base, ImageChops.soft_light(base, scene), 0.55)
    made = Image.blend(lit, scene, 0.28)
    prints = motif.sources[1:]
    if not prints:
        return made
    columns = min(5, len(prints))
    rows = -(-len(prints) // columns)
    side = max(8, min(made.width // (columns + 1), made.height // (2 * rows + 1)))
    rng = Random(motif.seed + ":prints")
    for number, data in enumerate(prints):
        row, column = divmod(number, columns)
        left = round((column + 0.5) * made.width / columns - side / 2)
        top = made.height - (rows - row) * round(side * 1.18)
        _lay(made, _fitted(data, (side, side)), (left, top), rng.uniform(-6, 6))
    return made


def _lay(ground: Image.Image, picture: Image.Image, at: tuple[int, int], angle: float) -> None:
    """A print with a white border, a little askew, with its shadow."""
    framed = ImageOps.expand(picture, max(2, picture.width // 20), (250, 248, 242))
    sheet = framed.convert("RGBA").rotate(angle, Image.Resampling.BICUBIC, expand=True)
    alpha = sheet.getchannel("A")
    shade = alpha.filter(ImageFilter.GaussianBlur(max(1, picture.width // 30))).point(
        [v // 2 for v in range(256)]
    )
    shift = max(2, picture.width // 40)
    ground.paste((10, 10, 14), (at[0] + shift, at[1] + shift), shade)
    ground.paste(sheet.convert("RGB"), at, alpha)


def _inpainted(motif: Motif, scene: Image.Image) -> Image.Image:
    """The first source, with the scene where the mask is fully transparent, and untouched elsewhere."""
    base = _fitted(motif.sources[0], scene.size)
    mask = opened(motif.mask or b"").getchannel("A").resize(scene.size, Image.Resampling.NEAREST)
    base.paste(scene, mask=mask.point([255] + [0] * 255))
    return base


def _cut_out(motif: Motif, picture: Image.Image) -> Image.Image:
    """The picture as a sticker: a soft-edged round shape, nothing at all around it."""
    rng = Random(motif.seed + ":sticker")
    small = Image.new("L", (256, 256), 0)
    draw = ImageDraw.Draw(small)
    draw.ellipse((26, 26, 230, 230), fill=255)
    for _ in range(5):
        left, top, reach = rng.randrange(60, 196), rng.randrange(60, 196), rng.randrange(30, 58)
        draw.ellipse((left - reach, top - reach, left + reach, top + reach), fill=255)
    soft = small.filter(ImageFilter.GaussianBlur(2)).resize(picture.size, Image.Resampling.BICUBIC)
    made = picture.convert("RGBA")
    made.putalpha(soft)
    return made
