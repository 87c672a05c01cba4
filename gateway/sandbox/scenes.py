"""
What the sandbox paints: four kinds of picture, each built in layers from back to front.

Every layer draws from a chance of its own, seeded by the prompt and the layer's name: so a coarse stage that leaves
layers out has the same composition as the finished picture. Coordinates are parts of the canvas (0 to 1); a stage
below 1 paints fewer strokes, not other ones.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Final

from PIL import Image, ImageDraw, ImageFilter

from gateway.sandbox.palette import Palette, Rgb, blend

# From which tone (0 to 1) a stroke or a planet takes an accent, and from which size a planet has a ring.
_ACCENT_STROKES: Final = 0.93
_ACCENT_PLANETS: Final = 0.7
_RINGED: Final = 0.036
# A window's sun reaches so far, and each of its six rays is so wide (in radians, times six).
_CORE: Final = 0.12
_RAY: Final = 1.1


@dataclass(frozen=True, slots=True)
class Canvas:
    """A picture in the making: where to paint, with which colours, seeded by what, and how far to go."""

    image: Image.Image
    palette: Palette
    seed: str
    stage: float

    def chance(self, layer: str) -> Random:
        """The layer's own chance."""
        return Random(f"{self.seed}:{layer}")

    def upto(self, count: int) -> int:
        """How many of so many strokes this stage paints: the first half at once, the rest as it goes on."""
        return round(count * (1 + self.stage) / 2)

    def x(self, part: float) -> int:
        """Pixels from the left."""
        return round(part * self.image.width)

    def y(self, part: float) -> int:
        """Pixels from the top."""
        return round(part * self.image.height)

    def r(self, part: float) -> int:
        """A length, in parts of the shorter side, in pixels."""
        return max(1, round(part * min(self.image.size)))


def landscape(canvas: Canvas) -> None:
    """Sky, sun or moon, clouds, ridges that fade into the air, and firs in front."""
    colours = canvas.palette
    rng = canvas.chance("sky")
    top, low = (colours.at(0.1), colours.at(0.75)) if colours.night else (colours.at(0.55), colours.at(0.98))
    _gradient(canvas, [top, blend(top, low, 0.6), low, blend(low, colours.accent, 0.45)])
    horizon = rng.uniform(0.5, 0.62)
    if colours.night:
        _stars(canvas, horizon)
    _sun(canvas, rng.uniform(0.2, 0.8), horizon - rng.uniform(0.08, 0.3), rng.uniform(0.05, 0.1))
    _clouds(canvas, horizon)
    layers = 6
    for layer in range(layers):
        depth = (layer + 1) / layers
        near, far = colours.at(0.05), blend(low, colours.at(0.6), 0.5)
        _ridge(
            canvas,
            f"ridge{layer}",
            horizon + 0.47 * depth**1.25,
            0.05 + 0.1 * depth,
            blend(far, near, depth**0.8),
        )
    _firs(canvas)
    if not colours.night:
        _birds(canvas, horizon)


def flow(canvas: Canvas) -> None:
    """Strokes that follow an invisible wind."""
    colours = canvas.palette
    rng = canvas.chance("wind")
    _gradient(canvas, [colours.at(0.12), colours.at(0.3), colours.at(0.08)])
    waves = [(rng.uniform(1.5, 5), rng.uniform(1.5, 5), rng.uniform(0, math.tau)) for _ in range(4)]
    draw = ImageDraw.Draw(canvas.image)
    strokes = canvas.chance("strokes")
    total = 420
    specs = [(strokes.random(), strokes.random(), strokes.random(), strokes.random()) for _ in range(total)]
    for number, (left, top, tone, width) in enumerate(specs[: canvas.upto(total)]):
        colour = (
            colours.accent
            if tone > _ACCENT_STROKES
            else colours.at(0.15 + 0.85 * tone * (0.5 + number / total / 2))
        )
        points, place = [], (left * 1.2 - 0.1, top * 1.2 - 0.1)
        for _ in range(16):
            points.append((canvas.x(place[0]), canvas.y(place[1])))
            angle = sum(math.sin(a * place[0] + b * place[1] + c) for a, b, c in waves)
            place = (place[0] + 0.017 * math.cos(angle), place[1] + 0.017 * math.sin(angle))
        draw.line(points, fill=colour, width=canvas.r(0.003 + 0.012 * width**2))


def orbits(canvas: Canvas) -> None:
    """Planets, their rings and their ways, on a dark ground."""
    colours = canvas.palette
    _gradient(canvas, [colours.at(0.02), colours.at(0.22), colours.at(0.05)])
    _stars(canvas, 1.0)
    rng = canvas.chance("orbits")
    middle = (rng.uniform(0.35, 0.65), rng.uniform(0.4, 0.6))
    _sun(canvas, *middle, rng.uniform(0.07, 0.11))
    draw = ImageDraw.Draw(canvas.image)
    planets = [
        (0.18 + 0.085 * ring, rng.uniform(0, math.tau), rng.uniform(0.016, 0.05), rng.random())
        for ring in range(7)
    ]
    for way, angle, size, tone in planets[: canvas.upto(7)]:
        reach = canvas.r(way)
        at = (canvas.x(middle[0]), canvas.y(middle[1]))
        box = (at[0] - reach, at[1] - reach * 0.62, at[0] + reach, at[1] + reach * 0.62)
        draw.ellipse(box, outline=blend(colours.at(0.2), colours.at(0.8), tone), width=canvas.r(0.002))
        spot = (at[0] + reach * math.cos(angle), at[1] + 0.62 * reach * math.sin(angle))
        colour = colours.second if tone > _ACCENT_PLANETS else colours.at(0.45 + 0.5 * tone)
        _planet(canvas, spot, canvas.r(size), colour)
        if size > _RINGED:
            wide = canvas.r(size) * 1.9
            flat = canvas.r(size) * 0.45
            ring = (spot[0] - wide, spot[1] - flat, spot[0] + wide, spot[1] + flat)
            draw.arc(ring, -20, 200, fill=colours.accent, width=canvas.r(0.005))


def glass(canvas: Canvas) -> None:
    """A window of leaded glass around a sun."""
    colours = canvas.palette
    rng = canvas.chance("panes")
    steps = 15
    sun = (rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.55))
    knots = [
        [
            (column / steps + rng.uniform(-0.028, 0.028), row / steps + rng.uniform(-0.028, 0.028))
            for column in range(-1, steps + 2)
        ]
        for row in range(-1, steps + 2)
    ]
    canvas.image.paste(colours.at(0.02), (0, 0, *canvas.image.size))
    draw = ImageDraw.Draw(canvas.image)
    tones = canvas.chance("tones")
    for above, below in pairwise(knots):
        for column in range(len(above) - 1):
            a, b, c, d = above[column], above[column + 1], below[column + 1], below[column]
            for corners in ((a, b, d), (b, c, d)) if (column + len(above)) % 2 else ((a, b, c), (a, c, d)):
                _pane(canvas, draw, corners, sun, tones.uniform(-0.1, 0.1))


def _pane(
    canvas: Canvas,
    draw: ImageDraw.ImageDraw,
    corners: tuple[tuple[float, float], ...],
    sun: tuple[float, float],
    tone: float,
) -> None:
    middle = (sum(x for x, _ in corners) / 3, sum(y for _, y in corners) / 3)
    away = math.dist(middle, sun)
    colours = canvas.palette
    colour = colours.accent if away < _CORE else colours.at(1.02 - away * 0.95 + tone)
    if away >= _CORE and (math.atan2(middle[1] - sun[1], middle[0] - sun[0]) * 6) % math.tau < _RAY:
        colour = blend(colour, colours.second, 0.4)
    shape = [(canvas.x(x), canvas.y(y)) for x, y in corners]
    draw.polygon(shape, fill=colour, outline=colours.at(0.0), width=canvas.r(0.003))


def _gradient(canvas: Canvas, stops: list[Rgb]) -> None:
    """From top to bottom through these colours."""
    strip = Image.new("RGB", (1, len(stops)))
    strip.putdata(stops)
    # A strip is first made smooth and long, because one step from 4 to 1024 rows would leave flat ends.
    tall = strip.resize((1, 64), Image.Resampling.BICUBIC)
    canvas.image.paste(tall.resize(canvas.image.size, Image.Resampling.BILINEAR))


def _sun(canvas: Canvas, left: float, top: float, size: float) -> None:
    """A disc and the light around it."""
    colours = canvas.palette
    at = (canvas.x(left), canvas.y(top))
    reach = canvas.r(size * 5)
    light = Image.radial_gradient("L").resize((reach * 2, reach * 2), Image.Resampling.BILINEAR)
    halo = light.point([max(0, 150 - value) for value in range(256)])
    tint = blend(colours.accent, (255, 255, 255), 0.35)
    canvas.image.paste(tint, (at[0] - reach, at[1] - reach), halo)
    disc = canvas.r(size)
    pale = blend(colours.accent, (255, 252, 240), 0.75 if colours.night else 0.6)
    ImageDraw.Draw(canvas.image).ellipse((at[0] - disc, at[1] - disc, at[0] + disc, at[1] + disc), fill=pale)


def _stars(canvas: Canvas, horizon: float) -> None:
    rng = canvas.chance("stars")
    draw = ImageDraw.Draw(canvas.image)
    spots = [(rng.random(), rng.random() * horizon, rng.random() ** 3) for _ in range(170)]
    for left, top, size in spots[: canvas.upto(170)]:
        at, reach = (canvas.x(left), canvas.y(top)), canvas.r(0.0008 + 0.0022 * size)
        pale = blend(canvas.palette.at(0.7), (255, 255, 255), 0.5 + size / 2)
        draw.ellipse((at[0] - reach, at[1] - reach, at[0] + reach, at[1] + reach), fill=pale)


def _clouds(canvas: Canvas, horizon: float) -> None:
    """Long soft bands, painted small and enlarged: softness for nothing."""
    rng = canvas.chance("clouds")
    small = Image.new("L", (96, 96), 0)
    draw = ImageDraw.Draw(small)
    for _ in range(canvas.upto(14)):
        left, top = rng.uniform(-10, 96), rng.uniform(0.05, horizon) * 96
        wide, tall = rng.uniform(10, 40), rng.uniform(0.8, 2.6)
        draw.ellipse((left, top, left + wide, top + tall), fill=rng.randrange(40, 120))
    soft = small.filter(ImageFilter.GaussianBlur(1.4)).resize(canvas.image.size, Image.Resampling.BICUBIC)
    canvas.image.paste(blend(canvas.palette.at(0.95), (255, 255, 255), 0.3), (0, 0), soft)


def _ridge(canvas: Canvas, name: str, height: float, swing: float, colour: Rgb) -> None:
    draw = ImageDraw.Draw(canvas.image)
    line = ridge_line(canvas.chance(name), height, swing, 97)
    shape = [(canvas.x(left), canvas.y(top)) for left, top in line]
    draw.polygon([(0, canvas.image.height), *shape, (canvas.image.width, canvas.image.height)], fill=colour)


def ridge_line(rng: Random, height: float, swing: float, points: int) -> list[tuple[float, float]]:
    """A ridge from left to right as parts of the canvas: a sum of waves, coarse ones high, fine ones low."""
    waves = [
        (rng.uniform(0.7, 1.4) * 2**octave, rng.uniform(0, math.tau), 0.5**octave) for octave in range(6)
    ]
    line = []
    for number in range(points):
        left = number / (points - 1)
        rise = sum(size * math.sin(left * math.tau * speed + phase) for speed, phase, size in waves)
        line.append((left, height - swing * 0.5 * rise))
    return line


def _firs(canvas: Canvas) -> None:
    rng = canvas.chance("firs")
    draw = ImageDraw.Draw(canvas.image)
    dark = blend(canvas.palette.at(0.0), (0, 0, 0), 0.35)
    trees = [(rng.random(), rng.uniform(0.9, 1.03), rng.uniform(0.06, 0.17)) for _ in range(38)]
    for left, foot, tall in trees[: canvas.upto(38)]:
        middle, base, high = canvas.x(left), canvas.y(foot), canvas.r(tall)
        for tier in range(4):
            top, low = base - high + high * tier // 5, base - high + high * (tier + 2) // 5
            wide = high * (tier + 2) // 16
            draw.polygon([(middle, top), (middle - wide, low), (middle + wide, low)], fill=dark)


def _birds(canvas: Canvas, horizon: float) -> None:
    rng = canvas.chance("birds")
    draw = ImageDraw.Draw(canvas.image)
    start = (rng.uniform(0.15, 0.7), rng.uniform(0.12, horizon - 0.2))
    for _ in range(canvas.upto(7)):
        left, top = canvas.x(start[0] + rng.uniform(0, 0.16)), canvas.y(start[1] + rng.uniform(0, 0.09))
        wing = canvas.r(rng.uniform(0.008, 0.016))
        for side in (-1, 1):
            tip = (left + side * wing, top - wing // 2)
            draw.line(
                [(left, top), (left + side * wing // 2, top - wing // 2), tip],
                fill=canvas.palette.at(0.1),
                width=canvas.r(0.002),
            )


def _planet(canvas: Canvas, at: tuple[float, float], reach: int, colour: Rgb) -> None:
    draw = ImageDraw.Draw(canvas.image)
    steps = canvas.upto(9)
    for step in range(steps):
        size, shift = reach * (1 - step / 12), reach * 0.28 * step / 9
        shade = blend(blend(colour, (0, 0, 0), 0.45), blend(colour, (255, 255, 255), 0.25), step / 9)
        box = (at[0] - shift - size, at[1] - shift - size, at[0] - shift + size, at[1] - shift + size)
        draw.ellipse(box, fill=shade)
