"""
What OpenAI's price list says, worked out by the sandbox on its own.

The data is the catalogue's (`config/models.toml`, whose head explains every key); the arithmetic is not shared with
the gateway, so that a mistake in one of the two shows as a difference between ledger and invoice. Tokens are exact
fractions rounded once, money is exact pico-dollars; nothing here is a float.
"""

import fnmatch
import math
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Final, cast

from gateway import resources

Row = dict[str, object]
Size = tuple[int, int]

# One US dollar per million tokens is so many pico-dollars per token.
_PICO_PER_TOKEN: Final = 1_000_000
_PICO_PER_DOLLAR: Final = 10**12
SURCHARGE: Final = 100
TOKEN_KINDS: Final = (
    "input_text",
    "input_image",
    "cached_text",
    "cached_image",
    "cache_write",
    "output_image",
    "output_text",
)


@dataclass(frozen=True, slots=True)
class Model:
    """A model under the name it was asked by; `known` is false for one of a family that is not in the list yet."""

    name: str
    kind: str
    row: Row
    known: bool = True

    @property
    def patches(self) -> bool:
        """Whether input images are counted in 32-pixel patches (gpt-image-2 and later), not in tiles."""
        return self.row.get("rule") != "table-1"

    @property
    def qualities(self) -> tuple[str, ...]:
        """From cheapest to dearest; empty for mainline models."""
        return tuple(cast("list[str]", self.row.get("qualities", [])) or self._pictures())

    @property
    def sizes(self) -> tuple[str, ...] | None:
        """The only sizes it takes, or None where limits hold instead."""
        sizes = self.row.get("sizes")
        if isinstance(sizes, list):
            return tuple(cast("list[str]", sizes))
        return tuple(dict.fromkeys(size for row in self._pictures().values() for size in row)) or None

    @property
    def usual_quality(self) -> str:
        """What `auto` becomes: recordings of the API show high."""
        return cast("str", self.row.get("default_quality", "high"))

    def _pictures(self) -> dict[str, dict[str, Decimal]]:
        """The prices of a per-image model by quality and size; nothing for others."""
        return cast("dict[str, dict[str, Decimal]]", self.row.get("per_image", {}))

    @property
    def shutdown(self) -> date | None:
        """The day it is retired."""
        return cast("date | None", self.row.get("shutdown"))


@cache
def _data() -> Row:
    return tomllib.loads(resources.text("models.toml"), parse_float=Decimal)


def _rows(key: str) -> list[Row]:
    return cast("list[Row]", _data()[key])


def default(key: str) -> str:
    """The model that is assumed where a request names none: by route, or `image_tool`."""
    return cast("dict[str, str]", _data()["defaults"])[key]


def names() -> list[str]:
    """Every exact model name, in the catalogue's order."""
    return [name for row in _rows("model") for name in cast("list[str]", row["names"])]


@cache
def find(name: str) -> Model | None:
    """The model of this name: an exact one, else one of a family, else none."""
    for row in _rows("model"):
        if name in cast("list[str]", row["names"]):
            return Model(name, cast("str", row["kind"]), row)
    for family in _rows("family"):
        if fnmatch.fnmatchcase(name, cast("str", family["match"])):
            like = find(cast("str", family["priced_as"]))
            if like is not None:
                return Model(name, like.kind, like.row | family, known=False)
    return None


def image_tokens(model: Model, quality: str, size: Size) -> int:
    """
    Output image tokens of one picture, without partial images.

    Where the rule says nothing about this size or quality, the catalogue's largest picture is assumed.
    """
    rule = model.row.get("rule")
    tokens = _by_rule(cast("str", rule), quality, size) if rule is not None else None
    return cast("int", model.row.get("auto_max_tokens", 0)) if tokens is None else tokens


def _by_rule(name: str, quality: str, size: Size) -> int | None:
    rule = next(row for row in _rows("rule") if row["name"] == name)
    match rule["kind"]:
        case "table":
            table = cast("dict[str, dict[str, int]]", rule["tokens"])
            return table.get(quality, {}).get(f"{size[0]}x{size[1]}")
        case "formula":
            base = cast("dict[str, int]", rule["base"]).get(quality)
            return None if base is None else _formula(base, size)
        case "factor":
            factor = cast("dict[str, int]", rule["factor"]).get(quality)
            of = _by_rule(cast("str", rule["of"]), quality, size)
            return None if factor is None or of is None else factor * of
        case _:
            known = [_by_rule(other, quality, size) for other in cast("list[str]", rule["of"])]
            return max((tokens for tokens in known if tokens is not None), default=None)


def _formula(base: int, size: Size) -> int:
    # `round` of a Fraction rounds halves to the even neighbour, as OpenAI's calculator does.
    columns = round(Fraction(base * min(size), max(size)))
    return math.ceil(Fraction(base * columns * (2_000_000 + size[0] * size[1]), 4_000_000))


def picture_pico(model: Model, quality: str, size: Size) -> int:
    """The fixed price of one picture of a per-image model, in pico-dollars."""
    prices = cast("dict[str, dict[str, Decimal]]", model.row["per_image"])
    row = prices.get(quality) or prices[model.qualities[-1]]
    price = row.get(f"{size[0]}x{size[1]}", max(row.values()))
    return int(price * _PICO_PER_DOLLAR)


def cost_pico(model: Model, tokens: dict[str, int], tier: str, now: float) -> Fraction:
    """
    What these tokens cost, exactly.

    Args:
        model: whose prices count.
        tokens: by TOKEN_KINDS; `input_text` and `input_image` are those that were not cached, here only.
        tier: the service tier that the answer names.
        now: epoch seconds; decides between dated prices.
    """
    price, factor = _price(model, tier, datetime.fromtimestamp(now, UTC).date())
    long_input = cast("dict[str, int | Decimal] | None", model.row.get("long_input"))
    read = sum(count for kind, count in tokens.items() if not kind.startswith("output"))
    total = Fraction(0)
    for kind, count in tokens.items():
        part = Fraction(count) * _per_token(price, kind, model.kind) * factor
        if long_input is not None and read > int(long_input["over"]):
            part *= Fraction(long_input["output" if kind.startswith("output") else "input"])
        total += part
    return total


def _price(model: Model, tier: str, today: date) -> tuple[dict[str, Decimal], Fraction]:
    prices = cast("list[dict[str, object]]", model.row["price"])
    valid = [row for row in prices if cast("date", row.get("from", date.min)) <= today]
    valid.sort(key=lambda row: cast("date", row.get("from", date.min)))
    exact = [row for row in valid if row.get("tier") == tier]
    standard = [row for row in valid if "tier" not in row]
    if exact:
        return cast("dict[str, Decimal]", exact[-1]), Fraction(1)
    tiers = cast("dict[str, dict[str, Decimal | int]]", _data()["tiers"])[model.kind]
    own = cast("dict[str, Decimal | int]", model.row.get("tiers", {}))
    return cast("dict[str, Decimal]", standard[-1]), Fraction(own.get(tier, tiers.get(tier, 1)))


def _per_token(price: dict[str, Decimal], kind: str, model_kind: str) -> Fraction:
    """Pico-dollars of one token, with the catalogue's rules for prices it leaves out."""
    if kind in price:
        return Fraction(price[kind]) * _PICO_PER_TOKEN
    text = Fraction(price["input_text"]) * _PICO_PER_TOKEN
    match kind:
        case "cached_text" | "input_image":
            return text
        case "cached_image":
            return _per_token(price, "cached_text" if model_kind == "text" else "input_image", model_kind)
        case "cache_write":
            return text * Fraction(5, 4)
        case _:
            # An image model's text output, or a text model's image output: the dearer of what it is like.
            return _per_token(price, "output_image", model_kind) if "output_image" in price else text
