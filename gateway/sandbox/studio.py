"""
Where pictures are made: in threads beside the event loop, and once only.

The newest are kept, as bytes and as base64, so that a test which asks for the same picture again does not wait.
"""

import asyncio
import base64
import io
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from PIL import Image, UnidentifiedImageError

from gateway.sandbox import darkroom
from gateway.sandbox.draw import Motif

_KEPT_BYTES: Final = 192 << 20
# Painting takes memory (a canvas has some 7 MB): so many at a time.
_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Film:
    """How a picture is developed."""

    output_format: str = "png"
    compression: int = 100
    frames: tuple[int, int] = (9, 200)


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture."""

    data: bytes
    b64: str


class Studio:
    """Makes pictures, and remembers the newest of them."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[Motif, Film, float], Picture] = OrderedDict()
        self._bytes = 0
        self._easels = asyncio.Semaphore(_AT_ONCE)

    async def picture(self, motif: Motif, film: Film, stage: float = 1.0) -> Picture:
        """This picture at this stage; drawn only if it is not remembered."""
        key = (motif, film, stage)
        if key not in self._held:
            async with self._easels:
                # Another call may have made it while we waited for a place.
                if key not in self._held:
                    self._keep(key, await asyncio.to_thread(_make, motif, film, stage))
        self._held.move_to_end(key)
        return self._held[key]

    def _keep(self, key: tuple[Motif, Film, float], made: Picture) -> None:
        self._held[key] = made
        self._bytes += _weight(key, made)
        while self._bytes > _KEPT_BYTES and len(self._held) > 1:
            self._bytes -= _weight(*self._held.popitem(last=False))


def _weight(key: tuple[Motif, Film, float], made: Picture) -> int:
    """Bytes that this entry keeps alive, the pictures it was made from included."""
    return len(made.data) + len(made.b64) + sum(map(len, key[0].sources))


def _make(motif: Motif, film: Film, stage: float) -> Picture:
    data = darkroom.developed(motif, film.output_format, film.compression, stage, film.frames)
    return Picture(data, base64.b64encode(data).decode())


def measured(data: bytes) -> tuple[int, int, bool] | None:
    """Width, height and whether it has an alpha channel; None if these bytes cannot be read as an image to their end."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return (
                image.width,
                image.height,
                image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info,
            )
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
