"""
How many tokens go in: the text of a prompt, and the images it comes with.

The text count is an approximation of OpenAI's tokenizer, which the sandbox does not ship: a word is one token for
every six letters begun, and every other sign one. It never exceeds the bytes of the text in UTF-8. The image counts
follow OpenAI's published rules.
"""

import math
import re
from typing import Final

from gateway.sandbox.tariff import Model, Size

_PIECES: Final = re.compile(r"\w{1,6}|[^\w\s]")
# Measured on the API: a prompt costs 6 tokens more than its text on generations and 15 on edits.
_FRAME: Final = {"generate": 6, "edit": 15}

_TILE: Final = 512
_TILES_WITHIN: Final = 2048
_TILE_BASE: Final = 65
_TILE_EACH: Final = 129
_FIDELITY_SQUARE: Final = 4160
_FIDELITY_OTHER: Final = 6240

_PATCH: Final = 32
_PATCHES: Final = 1536
_ENLARGED_TO: Final = 1024
_ENLARGED_BY: Final = 2.0
_ASPECT: Final = 3.0


def text_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return len(_PIECES.findall(text))


def prompt_tokens(prompt: str, pictures: int, action: str) -> int:
    """Input text tokens of an image request: the prompt is read once for each picture."""
    return pictures * text_tokens(prompt) + _FRAME[action]


def source_tokens(model: Model, size: Size, *, high_fidelity: bool) -> int:
    """Input image tokens of one reference image; a mask has none."""
    if model.patches:
        return _patch_tokens(size)
    extra = (_FIDELITY_SQUARE if size[0] == size[1] else _FIDELITY_OTHER) if high_fidelity else 0
    return tile_tokens(size, _TILE_BASE, _TILE_EACH) + extra


def tile_tokens(size: Size, base: int, each: int) -> int:
    """
    Tokens of an image that is cut into 512-pixel tiles.

    It is first made to fit 2048 x 2048, then its shorter side 512, never enlarged: 1024 x 1024 is one tile. The
    gpt-image-1 family counts 65 + 129 a tile.
    """
    width, height = size
    fit = min(1.0, _TILES_WITHIN / max(width, height))
    fit *= min(1.0, _TILE / (min(width, height) * fit))
    return base + each * _pieces(width * fit, _TILE) * _pieces(height * fit, _TILE)


def _patch_tokens(size: Size) -> int:
    """Patches of 32 pixels, at most 1536; a small image is enlarged up to twice, the aspect is at most 3 to 1."""
    width, height = float(size[0]), float(size[1])
    width, height = max(width, height / _ASPECT), max(height, width / _ASPECT)
    grow = min(_ENLARGED_BY, max(1.0, _ENLARGED_TO / max(width, height)))
    width, height = width * grow, height * grow
    if _pieces(width, _PATCH) * _pieces(height, _PATCH) > _PATCHES:
        shrink = math.sqrt(_PATCH * _PATCH * _PATCHES / (width * height))
        across, down = width * shrink / _PATCH, height * shrink / _PATCH
        shrink *= min(math.floor(across) / across, math.floor(down) / down)
        width, height = width * shrink, height * shrink
    return min(_PATCHES, _pieces(width, _PATCH) * _pieces(height, _PATCH))


def _pieces(length: float, piece: int) -> int:
    # What shrinking left over by rounding is no further piece.
    return max(1, math.ceil(length / piece - 1e-9))
