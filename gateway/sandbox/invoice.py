"""
The sandbox's own books: what OpenAI would bill for what it did, whatever the client saw of it.

A charge is what one request cost; its exact sum is rounded up once to whole nano-dollars, as the gateway's ledger
does it for a record. The invoice sums charges and lines. Nothing here knows the gateway's code.

What is billed when is decided where the work happens (images.py, production.py); docs/sandbox.md has the list.
"""

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from gateway.sandbox import clock, tariff
from gateway.sandbox.tariff import TOKEN_KINDS, Model

_PICO_PER_NANO: Final = 1000
# Charges shown one by one; the sums go on for ever.
_KEPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Line:
    """
    What one model did for one request.

    Args:
        role: `image` (the images API and the image tool), `main` (a mainline model) or `svg` (an SVG's author).
        tokens: by TOKEN_KINDS; inputs include the cached ones, as OpenAI reports them.
        pico: the exact cost in pico-dollars.
    """

    model: str
    role: str
    images: int
    tokens: dict[str, int]
    pico: Fraction


def image_line(model: Model, images: int, tokens: dict[str, int], tier: str = "default") -> Line:
    """A line of an image model that is billed by token."""
    return Line(model.name, "image", images, tokens, _cost(model, tokens, tier))


def picture_line(model: Model, quality: str, size: tariff.Size, images: int) -> Line:
    """A line of a model that is billed by picture."""
    return Line(model.name, "image", images, {}, Fraction(images * tariff.picture_pico(model, quality, size)))


def text_line(model: Model, tokens: dict[str, int], tier: str = "default", role: str = "main") -> Line:
    """A line of a mainline model, or of an SVG's author."""
    return Line(model.name, role, 0, tokens, _cost(model, tokens, tier))


def _cost(model: Model, tokens: dict[str, int], tier: str) -> Fraction:
    paid = dict(tokens)
    for kind in ("text", "image"):
        paid[f"input_{kind}"] = tokens.get(f"input_{kind}", 0) - tokens.get(f"cached_{kind}", 0)
    paid["input_text"] -= tokens.get("cache_write", 0)
    return tariff.cost_pico(model, paid, tier, clock.now())


@dataclass(slots=True)
class _Sum:
    requests: int = 0
    images: int = 0
    pico: Fraction = Fraction(0)


class Books:
    """Everything billed since the start or the last reset."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """A new page."""
        self._sums: dict[tuple[str, str], _Sum] = {}
        self._tokens: dict[tuple[str, str], dict[str, int]] = {}
        self._charges: deque[dict[str, object]] = deque(maxlen=_KEPT)
        self._requests = 0
        self._nano = 0

    def charge(self, request_id: str, route: str, lines: list[Line]) -> None:
        """Bills one request; nothing if there is nothing to bill."""
        if not lines:
            return
        for line in lines:
            key = (line.model, line.role)
            found = self._sums.setdefault(key, _Sum())
            found.requests += 1
            found.images += line.images
            found.pico += line.pico
            tokens = self._tokens.setdefault(key, dict.fromkeys(TOKEN_KINDS, 0))
            for kind, count in line.tokens.items():
                tokens[kind] += count
        nano = math.ceil(sum(line.pico for line in lines) / _PICO_PER_NANO)
        self._requests += 1
        self._nano += nano
        self._charges.append(
            {
                "request_id": request_id,
                "route": route,
                "nano_dollars": nano,
                "lines": [
                    {
                        "model": line.model,
                        "kind": line.role,
                        "images": line.images,
                        "tokens": {kind: line.tokens.get(kind, 0) for kind in TOKEN_KINDS},
                        "nano_dollars": math.ceil(line.pico / _PICO_PER_NANO),
                    }
                    for line in lines
                ],
            }
        )

    def invoice(self) -> dict[str, object]:
        """The bill: sums per model and kind, the total, and the newest charges one by one (newest last)."""
        return {
            "object": "sandbox.invoice",
            "requests": self._requests,
            "images": sum(found.images for found in self._sums.values()),
            "nano_dollars": self._nano,
            "lines": [
                {
                    "model": model,
                    "kind": role,
                    "requests": found.requests,
                    "images": found.images,
                    "tokens": self._tokens[model, role],
                    "nano_dollars": math.ceil(found.pico / _PICO_PER_NANO),
                }
                for (model, role), found in sorted(self._sums.items())
            ],
            "charges": list(self._charges),
        }
