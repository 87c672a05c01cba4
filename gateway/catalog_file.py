"""
The shape of a catalogue file, and its faults in a person's words.

Decided here: which sections and keys there are and what a value may be, entry by entry. A fault names the file, the
entry, the key and what to do.

Not here: whether entries fit together and what they come to (gateway/catalog.py). The keys themselves are described
at the head of config/models.toml.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveInt,
    Tag,
    ValidationError,
)
from pydantic_core import ErrorDetails

from gateway.core import tokens, units
from gateway.core.units import PicoUSD

Table: TypeAlias = dict[str, object]

# A factor beyond it is a price that was written in the wrong place.
_LARGEST_FACTOR = 100


def _number(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"should be a number, not {value!r}")  # noqa: TRY004 - pydantic collects ValueErrors
    return Decimal(value)


def _factor(value: object) -> Decimal:
    number = _number(value)
    if not 0 < number <= _LARGEST_FACTOR:
        raise ValueError(f"should be a factor above 0 and at most {_LARGEST_FACTOR}, not {value}")
    return number


def _per_token(value: object) -> PicoUSD:
    return units.pico_per_token(_number(value))


def _dollars(value: object) -> PicoUSD:
    return units.pico(_number(value))


def _size(written: object) -> tokens.Size:
    size = tokens.parse_size(written) if isinstance(written, str) else None
    if size is None:
        raise ValueError(f'should be a size such as "1024x1536", not {written!r}')
    return size


_Size = Annotated[tokens.Size, BeforeValidator(_size)]
_Factor = Annotated[Decimal, BeforeValidator(_factor)]
_PerToken = Annotated[PicoUSD, BeforeValidator(_per_token)]
_Dollars = Annotated[PicoUSD, BeforeValidator(_dollars)]
_Name = Annotated[str, Field(min_length=1)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class TableRule(_Shape):
    """Tokens by quality and size."""

    name: _Name
    kind: Literal["table"]
    tokens: dict[str, dict[_Size, PositiveInt]]


class FormulaRule(_Shape):
    """One base number for each quality."""

    name: _Name
    kind: Literal["formula"]
    base: dict[str, PositiveInt]


class FactorRule(_Shape):
    """Another rule, times a whole number for each quality."""

    name: _Name
    kind: Literal["factor"]
    of: str
    factor: dict[str, PositiveInt]


class LargestRule(_Shape):
    """The largest of several rules."""

    name: _Name
    kind: Literal["largest"]
    of: Annotated[list[str], Field(min_length=1)]


class Price(_Shape):
    """Pico-dollars per token, as far as the file names them."""

    from_: Annotated[date | None, Field(alias="from")] = None
    tier: str | None = None
    input_text: _PerToken
    cached_text: _PerToken | None = None
    cache_write: _PerToken | None = None
    input_image: _PerToken | None = None
    cached_image: _PerToken | None = None


class ImagePrice(Price):
    """What a token of an image model costs."""

    output_image: _PerToken
    output_text: _PerToken | None = None


class TextPrice(Price):
    """What a token of a mainline model costs."""

    output_text: _PerToken


class LongInput(_Shape):
    """What a call of very many input tokens costs more."""

    over: PositiveInt
    input: _Factor
    output: _Factor


class SizeLimits(_Shape):
    """Limits of models that draw any size."""

    multiple_of: PositiveInt
    max_edge: PositiveInt
    max_ratio: PositiveInt
    min_pixels: PositiveInt
    max_pixels: PositiveInt


_Sizes = Annotated[
    Annotated[list[_Size], Field(min_length=1), Tag("list")] | Annotated[SizeLimits, Tag("limits")],
    Discriminator(lambda value: "list" if isinstance(value, list) else "limits"),
]


class Model(_Shape):
    """What all models have."""

    names: Annotated[list[_Name], Field(min_length=1)]
    moving: list[str] | None = None
    shutdown: date | None = None


class ImageModel(Model):
    """`[[model]]` of kind `image`."""

    kind: Literal["image"]
    rule: str
    auto_max_tokens: PositiveInt
    input_image_max_tokens: PositiveInt
    qualities: Annotated[list[_Name], Field(min_length=1)]
    sizes: _Sizes
    tiers: dict[str, _Factor] = {}
    price: Annotated[list[ImagePrice], Field(min_length=1)]


class PerImageModel(Model):
    """`[[model]]` of kind `per_image`."""

    kind: Literal["per_image"]
    per_image: dict[str, dict[_Size, _Dollars]]
    default_quality: str
    default_size: _Size


class TextModel(Model):
    """`[[model]]` of kind `text`."""

    kind: Literal["text"]
    input_image_max_tokens: PositiveInt
    tiers: dict[str, _Factor] = {}
    long_input: LongInput | None = None
    price: Annotated[list[TextPrice], Field(min_length=1)]


class Family(_Shape):
    """`[[family]]`."""

    match: _Name
    priced_as: str
    rule: str | None = None
    auto_max_tokens: PositiveInt | None = None
    input_image_max_tokens: PositiveInt | None = None
    qualities: Annotated[list[_Name], Field(min_length=1)] | None = None
    sizes: _Sizes | None = None


class Defaults(_Shape):
    """`[defaults]`."""

    generations: Annotated[str | None, Field(alias="images.generations")] = None
    edits: Annotated[str | None, Field(alias="images.edits")] = None
    variations: Annotated[str | None, Field(alias="images.variations")] = None
    image_tool: str | None = None


class Tiers(_Shape):
    """`[tiers]`."""

    text: dict[str, _Factor] = {}
    image: dict[str, _Factor] = {}


AnyRule: TypeAlias = TableRule | FormulaRule | FactorRule | LargestRule
AnyModel: TypeAlias = ImageModel | PerImageModel | TextModel


class File(_Shape):
    """A catalogue file. Every section may be missing: an overlay says only what differs."""

    defaults: Defaults = Defaults()
    tiers: Tiers = Tiers()
    tools: dict[str, _Dollars] = {}
    rule: list[Annotated[AnyRule, Field(discriminator="kind")]] = []
    model: list[Annotated[AnyModel, Field(discriminator="kind")]] = []
    family: list[Family] = []


def read(file: str, content: Table) -> tuple[File, list[str], set[str]]:
    """
    A parsed TOML document in its shape.

    Args:
        file: its name, for messages.
        content: with `Decimal` for fractions and every `like` replaced.

    Returns:
        What is sound of it; all faults that can be seen in one file; and the names of what was left out because of
        them, so that nobody complains of missing it.
    """
    try:
        return File.model_validate(content), [], set()
    except ValidationError as invalid:
        errors = invalid.errors()
    unsound = {error["loc"][:2] for error in errors}
    sound: Table = {}
    left_out: set[str] = set()
    for section, entries in content.items():
        if (section,) in unsound:
            continue
        if isinstance(entries, list):
            places = [(section, position) in unsound for position in range(len(entries))]
            sound[section] = [entry for entry, bad in zip(entries, places, strict=True) if not bad]
            left_out.update(*(names_of(entry) for entry, bad in zip(entries, places, strict=True) if bad))
        elif isinstance(entries, dict):
            sound[section] = {key: value for key, value in entries.items() if (section, key) not in unsound}
            left_out |= {key for key in entries if (section, key) in unsound}
    return File.model_validate(sound), [_in_words(file, content, error) for error in errors], left_out


def names_of(entry: object) -> set[str]:
    """The names by which other entries may refer to this one, whatever else is wrong with it."""
    if not isinstance(entry, dict):
        return set()
    names = entry.get("names")
    return {str(name) for name in [entry.get("name"), *(names if isinstance(names, list) else [])] if name}


def _in_words(file: str, content: Table, error: ErrorDetails) -> str:
    location = error["loc"]
    key = location[-1]
    match error["type"]:
        case "extra_forbidden":
            keys = {field.alias or name for name, field in _shape_at(location).model_fields.items()}
            hint = nearest(str(key), keys) or f"; the keys here are {', '.join(sorted(keys))}"
            return f"{file}: {_where(content, location[:-1])}unknown key {key!r}{hint}"
        case "missing":
            return f"{file}: {_where(content, location[:-1])}{key!r} is missing; add it"
        case "union_tag_not_found" | "union_tag_invalid":
            kinds = ", ".join(repr(kind) for kind in (_RULES if location[0] == "rule" else _MODELS))
            return f"{file}: {_where(content, location)}'kind' has to be one of {kinds}"
        case _:
            _, ours, words = error["msg"].rpartition("Value error, ")
            message = words if ours else words[:1].lower() + words[1:]
            return f"{file}: {_where(content, location)}{message}"


_RULES: Mapping[str, type[_Shape]] = {
    "table": TableRule,
    "formula": FormulaRule,
    "factor": FactorRule,
    "largest": LargestRule,
}
_MODELS: Mapping[str, type[_Shape]] = {"image": ImageModel, "per_image": PerImageModel, "text": TextModel}


def _shape_at(location: tuple[int | str, ...]) -> type[_Shape]:
    """The shape to which the last key of a location does not belong."""
    match location:
        case (_, _, *_, "limits", _):
            return SizeLimits
        case ("model", _, _, "long_input", _):
            return LongInput
        case ("model", _, kind, "price", _, _):
            return ImagePrice if kind == "image" else TextPrice
        case ("model", _, kind, _):
            return _MODELS[str(kind)]
        case ("rule", _, kind, _):
            return _RULES[str(kind)]
        case ("family", _, _):
            return Family
        case ("defaults", _):
            return Defaults
        case ("tiers", _):
            return Tiers
        case _:
            return File


def _where(content: Table, location: tuple[int | str, ...]) -> str:
    """A location as a person finds it: `model 'gpt-image-2': price 1: input_text: `."""
    if not location:
        return ""
    section, *rest = location
    words: list[str] = [str(section)]
    if rest and isinstance(rest[0], int):
        words = [entry_name(content, str(section), rest[0])]
        # After a model's or rule's position pydantic names the kind by which it read it.
        rest = rest[2:] if section in {"model", "rule"} else rest[1:]
    for part in rest:
        if isinstance(part, int):
            words[-1] += f" {part + 1}"
        elif part not in {"list", "limits", "[key]"}:
            words.append(part)
    return ": ".join(words) + ": "


def entry_name(content: Table, section: str, position: int) -> str:
    """An entry of a section of many as a person finds it: `model 'gpt-image-2'`, or its number if it has no name."""
    entries = content.get(section)
    entry = entries[position] if isinstance(entries, list) else None
    if isinstance(entry, dict):
        names = entry.get("names")
        first = names[0] if isinstance(names, list) and names else None
        name = first or entry.get("name") or entry.get("match")
        if name:
            return f"{section} {name!r}"
    return f"{section} number {position + 1}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean '…'?`, or nothing if no known word is like this one."""
    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
