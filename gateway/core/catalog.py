"""
What is known about models: their names, limits, token rules and prices, and how to look them up.

Values only. Where they come from is the loader's business (gateway/catalog.py); what a call costs is pricing's.
A name that the catalogue does not know has a family or is refused by the caller; it never has a price of zero.

Instants are epoch seconds and come in as an argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import isqrt
from re import compile as pattern
from typing import TypeAlias, assert_never

from gateway.core.tokens import Size, TokenRule, image_tokens, most_image_tokens, parse_size
from gateway.core.units import PicoUSD

STANDARD_TIER = "standard"

# What says nothing about the picture: the field is missing, empty, or leaves the choice to the model.
_OPEN = (None, "", "auto")

# OpenAI's snapshots end in the day they were made.
_DATED = pattern(r".*-[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Pico-dollars per token, by what the token is. None is missing: the loader fills in what a file leaves out."""

    input_text: PicoUSD
    cached_text: PicoUSD
    cache_write: PicoUSD
    input_image: PicoUSD
    cached_image: PicoUSD
    output_image: PicoUSD
    output_text: PicoUSD


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """
    A price and when it holds.

    `from_s`: epoch seconds, 0 for always. `tier`: the service tier that the response names, or `standard`.
    `over_tokens`: it holds for calls with more input tokens than this; 0 for all of them.
    """

    from_s: int
    tier: str
    over_tokens: int
    price: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimits:
    """The rule for models that draw any size: edges and pixels as OpenAI's image generation guide has them."""

    multiple_of: int
    max_edge: int
    max_ratio: int
    min_pixels: int
    max_pixels: int

    def allow(self, width: int, height: int) -> bool:
        """Whether a request may ask for this size. What `auto` resolves to need not be one of these."""
        short, long = sorted((width, height))
        return (
            width % self.multiple_of == 0
            and height % self.multiple_of == 0
            and long <= self.max_edge
            and long <= short * self.max_ratio
            and self.min_pixels <= width * height <= self.max_pixels
        )

    @property
    def square_edge(self) -> int:
        """The edge of a square in pixels that is no smaller in area than any size within the limits."""
        root = isqrt(self.max_pixels)
        return min(self.max_edge, root if root * root == self.max_pixels else root + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """
    What all models have.

    `names` are exact. `moving`: those behind which the model may change. `shutdown_s`: when OpenAI retires it, in
    epoch seconds; for information only, since compatible servers keep old models alive.
    """

    names: tuple[str, ...]
    moving: frozenset[str]
    shutdown_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageModel(_Named):
    """A model that draws and is paid by the token."""

    rule: TokenRule
    auto_max_tokens: int
    input_image_max_tokens: int
    qualities: tuple[str, ...]
    sizes: tuple[Size, ...] | SizeLimits
    tariffs: tuple[Tariff, ...]

    def tokens(self, quality: str, size: str) -> int | None:
        """Output tokens of one picture of a resolved quality and size; None where the rule says nothing."""
        dimensions = parse_size(size)
        return image_tokens(self.rule, quality, *dimensions) if dimensions else None

    def max_tokens(self, quality: str | None, size: str | None) -> int:
        """
        The most output tokens that one picture can have, without partial images: what to reserve.

        Args:
            quality: as the request has it; missing or `auto` means any of the model's.
            size: as the request has it; missing, `auto` or unreadable means any of the model's.

        Returns:
            An upper bound, and the exact number where both are named and known. `auto_max_tokens` where the
            rule knows nothing about one of them.
        """
        named, dimensions = _said(quality), _dimensions(size)
        known = named is None or named in self.qualities
        qualities = self.qualities if named is None or not known else (named,)
        most = self._most(qualities, dimensions)
        if not known:
            # Of a quality that we do not know, at a size that may be larger than any we know.
            return max(self.auto_max_tokens, most)
        return most if dimensions else min(self.auto_max_tokens, most)

    def _most(self, qualities: tuple[str, ...], size: Size | None) -> int:
        if size is not None:
            said = [image_tokens(self.rule, quality, *size) for quality in qualities]
        elif isinstance(self.sizes, SizeLimits):
            said = [most_image_tokens(self.rule, quality, self.sizes.square_edge) for quality in qualities]
        else:
            said = [image_tokens(self.rule, quality, *each) for quality in qualities for each in self.sizes]
        return max(self.auto_max_tokens if tokens is None else tokens for tokens in said)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerImageModel(_Named):
    """A model whose pictures have a fixed price: `prices` in pico-dollars by quality and size."""

    prices: Mapping[tuple[str, Size], PicoUSD]
    default_quality: str
    default_size: Size

    def price(self, quality: str | None, size: str | None) -> PicoUSD | None:
        """
        The price of one picture; what is missing or `auto` is the default, for the answer does not tell.

        Returns:
            None for a quality or size that has no price; the caller takes `max_price`.
        """
        dimensions = self.default_size if _said(size) is None else _dimensions(size)
        return (
            None
            if dimensions is None
            else self.prices.get((_said(quality) or self.default_quality, dimensions))
        )

    @property
    def max_price(self) -> PicoUSD:
        """The price of the dearest picture."""
        return max(self.prices.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TextModel(_Named):
    """A mainline model of the Responses API: it reads, writes, and calls the image tool."""

    input_image_max_tokens: int
    tariffs: tuple[Tariff, ...]


Model: TypeAlias = ImageModel | PerImageModel | TextModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """
    What stands in for models that the catalogue does not know yet.

    `match` is a glob over names. `model` has the prices of the known model `priced_as`, which the ledger records.
    """

    match: str
    priced_as: str
    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """
    All of it.

    `models` by exact name. `families` in the order in which they are tried. `defaults` by route.
    `tool_prices`: pico-dollars for one call of a hosted tool, by its name in `tool_usage`.
    """

    models: Mapping[str, Model]
    families: tuple[Family, ...]
    defaults: Mapping[str, str]
    default_tool_model: str
    tool_prices: Mapping[str, PicoUSD]

    def find(self, name: str) -> Model | None:
        """The model of exactly this name."""
        return self.models.get(name)

    def family_of(self, name: str) -> Family | None:
        """The first family whose glob matches; case counts. For names that `find` does not know."""
        return next((family for family in self.families if fnmatchcase(name, family.match)), None)

    def default_model(self, route: str) -> str | None:
        """The model meant by a request that names none: `images.generations`, `images.edits`, `images.variations`."""
        return self.defaults.get(route)

    def may_move(self, name: str) -> bool:
        """Whether the model behind a name may change. An unknown name may, unless it ends in a date."""
        model = self.find(name)
        return not is_dated(name) if model is None else name in model.moving


def is_dated(name: str) -> bool:
    """Whether a name ends in a day, as OpenAI's snapshots do: `gpt-image-2-2026-04-21`."""
    return _DATED.fullmatch(name) is not None


def price_of(model: ImageModel | TextModel, *, at_s: float, tier: str | None, input_tokens: int) -> Price:
    """
    The price that holds for one call.

    Args:
        model: from the catalogue, or a family's stand-in.
        at_s: when the call came, epoch seconds.
        tier: the `service_tier` of the response. One without a price of its own (`default`, `auto`, `scale`, none)
            costs the standard price.
        input_tokens: all input tokens of the call, cached ones included.

    Returns:
        The price of the latest day that has come; before the first, the first.
    """
    of_tier = [each for each in model.tariffs if each.tier == tier]
    rows = of_tier or [each for each in model.tariffs if each.tier == STANDARD_TIER]
    first_s = min(each.from_s for each in rows)
    from_s = max((each.from_s for each in rows if each.from_s <= at_s), default=first_s)
    fitting = [
        each
        for each in rows
        if each.from_s == from_s and (each.over_tokens == 0 or each.over_tokens < input_tokens)
    ]
    return max(fitting, key=lambda each: each.over_tokens).price


def _said(field: str | None) -> str | None:
    return None if field in _OPEN else field


def _dimensions(size: str | None) -> Size | None:
    said = _said(size)
    return None if said is None else parse_size(said)


def input_image_max_tokens(model: Model) -> int:
    """The most input tokens of one input image; a model paid by the picture is not paid for its input."""
    match model:
        case ImageModel() | TextModel():
            return model.input_image_max_tokens
        case PerImageModel():
            return 0
        case _:
            assert_never(model)
