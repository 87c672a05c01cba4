"""
Colours for a picture: those its prompt names, and where it names none a harmony seeded by the prompt.

A palette runs from the darkest (the ground at our feet) to the lightest (the air over the horizon), with two accents.
"""

import colorsys
import re
from dataclasses import dataclass
from random import Random
from typing import Final

Rgb = tuple[int, int, int]

# Hue in degrees, saturation and lightness in percent: what these words look like to most people.
_WORDS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (2, 72, 50), "crimson": (348, 75, 42), "ruby": (345, 72, 45), "fire": (14, 85, 52), "rose": (340, 60, 62),
    "orange": (26, 85, 55), "sunset": (18, 75, 56), "autumn": (24, 66, 45), "desert": (32, 58, 60), "fox": (20, 78, 52),
    "yellow": (48, 85, 58), "gold": (44, 78, 52), "golden": (44, 78, 52), "sun": (42, 85, 60), "honey": (38, 75, 52),
    "green": (130, 45, 42), "forest": (140, 42, 34), "meadow": (96, 48, 48), "moss": (90, 35, 38), "spring": (105, 50, 55),
    "teal": (178, 50, 42), "sea": (195, 60, 46), "ocean": (203, 65, 42), "lake": (198, 48, 50), "ice": (195, 40, 75),
    "blue": (215, 65, 52), "sky": (206, 60, 64), "winter": (210, 30, 70), "river": (200, 55, 50), "rain": (214, 25, 50),
    "night": (232, 55, 28), "moon": (228, 40, 45), "indigo": (250, 52, 42), "star": (238, 55, 35), "space": (255, 58, 28),
    "purple": (275, 50, 48), "violet": (268, 52, 52), "lavender": (262, 42, 70), "galaxy": (280, 60, 34),
    "pink": (330, 62, 68), "otter": (26, 34, 40), "cherry": (338, 64, 58), "blossom": (335, 55, 74), "dawn": (12, 60, 66),
}  # fmt: skip


# Below this lightness (percent) of its main colour, a picture is a night.
_DARK: Final = 38


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours from dark to light, two accents, and whether it is night in the picture."""

    ramp: tuple[Rgb, ...]
    accent: Rgb
    second: Rgb
    night: bool

    def at(self, part: float) -> Rgb:
        """The ramp's colour at 0 (darkest) to 1 (lightest), blended between its steps."""
        place = min(1.0, max(0.0, part)) * (len(self.ramp) - 1)
        low = min(int(place), len(self.ramp) - 2)
        return blend(self.ramp[low], self.ramp[low + 1], place - low)


def blend(one: Rgb, other: Rgb, part: float) -> Rgb:
    """`one` at part 0, `other` at part 1."""
    return (
        round(one[0] + (other[0] - one[0]) * part),
        round(one[1] + (other[1] - one[1]) * part),
        round(one[2] + (other[2] - one[2]) * part),
    )


def palette_of(prompt: str, rng: Random) -> Palette:
    """The palette of a prompt; `rng` is seeded by the prompt, so that it is always the same."""
    named = [_WORDS[word] for word in _words(prompt) if word in _WORDS]
    jitter = rng.uniform(-9, 9)
    if named:
        hue, saturation, lightness = named[0]
        other = named[1][0] if len(named) > 1 else hue + rng.choice((28, -32, 150, 185))
    else:
        hue, saturation, lightness = rng.randrange(360), rng.randrange(38, 70), rng.randrange(30, 62)
        other = hue + rng.choice((30, -38, 120, 165, 195))
    base = hue + jitter
    night = lightness < _DARK
    lights = (7, 15, 25, 38, 52, 68) if night else (16, 30, 46, 62, 77, 91)
    ramp = tuple(
        _hsl(base + (other - base) * step / 9, saturation * (0.95 - 0.07 * step), light)
        for step, light in enumerate(lights)
    )
    return Palette(
        ramp=ramp,
        accent=_hsl(other, min(92, saturation + 28), 66 if night else 60),
        second=_hsl(base + 180 + jitter, min(85, saturation + 12), 58),
        night=night,
    )


def _words(prompt: str) -> list[str]:
    found = re.findall(r"[a-z]+", prompt.lower())
    return found + [word.removesuffix("s") for word in found]


def _hsl(hue: float, saturation: float, lightness: float) -> Rgb:
    red, green, blue = colorsys.hls_to_rgb((hue % 360) / 360, lightness / 100, max(0.0, saturation) / 100)
    return round(red * 255), round(green * 255), round(blue * 255)
