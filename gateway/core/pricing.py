"""
Which model's prices hold for a name, and what tokens cost.

Decided here: what stands in for a model that the catalogue does not know (its family, a model named by the operator,
or nothing), and how parts become lines. A part's cost is exact pico-dollars; the sum of a call is rounded up once, and
its lines are made to add up to it.

Never zero: a name without a price is refused before the call, and settled at the dearest price that it can have after
one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final, Generic, TypeAlias, TypeVar

from gateway.core.catalog import (
    Catalog,
    ImageModel,
    Model,
    PerImageModel,
    TextModel,
    is_dated,
    price_of,
)
from gateway.core.errors import Code, Refusal, quoted
from gateway.core.names import plain
from gateway.core.record import Line, Role
from gateway.core.units import NanoUSD, PicoUSD, rounded_up
from gateway.core.usage import MOST_NAME

Painter: TypeAlias = ImageModel | PerImageModel
_M = TypeVar("_M", bound=Model)

FAMILY: Final = "family"
REFUSE: Final = "refuse"
STAND_IN: Final = "as:"

# What a request calls a tier, where the response and the price list call it something else (openai-python 3.54.0).
_TIERS: Final = {"fast": "priority"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingRules:
    """
    What the operator decided about money.

    `unpriced`: `family`, `refuse`, or `as:MODEL`, the stand-in for every model that the catalogue does not know.
    `reserve_images`: image calls of a response that does not bound them. `reserve_output_tokens`: likewise.
    `overhead_tokens`: mainline input tokens that an image call brings of its own accord.
    `bill_moderated`: pictures that moderation blocked after they were made are charged.
    """

    unpriced: str = FAMILY
    reserve_images: int = 1
    reserve_output_tokens: int = 16_384
    overhead_tokens: int = 4_096
    bill_moderated: bool = False


@dataclass(frozen=True, slots=True)
class Priced(Generic[_M]):
    """A model and its name. `priced_as`: the model whose prices stand in; None: it has its own."""

    name: str
    model: _M
    priced_as: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """
    What one model of a call used.

    `model` is None for a hosted tool that is paid by the call. `fixed`: what does not depend on tokens: pictures of a
    model paid by the picture, calls of a tool. `tier`: the service tier whose prices hold. Input counts include the
    cached and the written ones.
    """

    name: str
    role: Role
    model: Model | None = None
    priced_as: str | None = None
    tier: str | None = None
    input_text: int = 0
    input_image: int = 0
    cached_text: int = 0
    cached_image: int = 0
    cache_write: int = 0
    output_image: int = 0
    output_text: int = 0
    fixed: PicoUSD = PicoUSD(0)  # noqa: RUF009 - an int by another name

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input_text + self.input_image + self.output_image + self.output_text

    @property
    def is_empty(self) -> bool:
        """Whether nothing was used."""
        return self.tokens == 0 and self.fixed == 0


def painter(
    name: str, catalog: Catalog, rules: AccountingRules, param: str = "model"
) -> Priced[Painter] | Refusal:
    """The model of this name that draws, or 403 `not_allowed` with what to do about it. `param`: where it stood."""
    for model, priced_as in _candidates(name, catalog, rules):
        if isinstance(model, ImageModel | PerImageModel):
            return Priced(clipped(name), model, priced_as)
    return _unknown(f"{quoted(name)} as an image model", rules, param)


def author(
    name: str, catalog: Catalog, rules: AccountingRules, param: str = "model"
) -> Priced[TextModel] | Refusal:
    """The model of this name that writes, or 403 `not_allowed` with what to do about it. `param`: where it stood."""
    for model, priced_as in _candidates(name, catalog, rules):
        if isinstance(model, TextModel):
            return Priced(clipped(name), model, priced_as)
    return _unknown(f"{quoted(name)} as a text model", rules, param)


def settled_painter(
    names: Sequence[str | None], catalog: Catalog, rules: AccountingRules
) -> Priced[Painter] | None:
    """
    Whose prices hold for pictures that were made: the first name that is known or has a stand-in.

    A name that nobody knows goes before a later one that is known, for it says who drew; but a dated snapshot of a
    later name costs what that costs. What was made has to be paid: no name is refused here. None only if the catalogue
    has no model that draws.
    """
    for name, each in _in_turn(names, rules):
        found = painter(name, catalog, each)
        if isinstance(found, Priced):
            return found
    standing = catalog.find(catalog.default_tool_model)
    name = next(filter(None, names), catalog.default_tool_model)
    if isinstance(standing, ImageModel | PerImageModel):
        return Priced(clipped(name), standing, catalog.default_tool_model)
    return None


def settled_author(
    names: Sequence[str | None], catalog: Catalog, rules: AccountingRules, *, in_turn: bool = False
) -> Priced[TextModel] | None:
    """
    Likewise for a model that wrote: the first name that is known, else the first with a stand-in.

    `in_turn`: in the order of the names, as for pictures.
    """
    for name, each in (_in_turn if in_turn else _known_first)(names, rules):
        found = author(name, catalog, each)
        if isinstance(found, Priced):
            return found
    return dearest_author(next(filter(None, names), None), catalog)


def dearest_author(name: str | None, catalog: Catalog) -> Priced[TextModel] | None:
    """The text model with the dearest output among those that stand in for families: for a name that nobody knows."""
    found = [(family.priced_as, family.model) for family in catalog.families]
    found.extend((each, model) for each, model in catalog.models.items())
    texts = [(each, model) for each, model in found if isinstance(model, TextModel)]
    if not texts:
        return None
    each, model = max(texts, key=lambda one: max(tariff.price.output_text for tariff in one[1].tariffs))
    return Priced(clipped(name or each), model, each)


def cost(use: Use, at_s: float) -> PicoUSD:
    """
    What a model's use costs, exactly.

    Args:
        use: what it used.
        at_s: when, epoch seconds: prices have dates.
    """
    model = use.model
    if model is None or isinstance(model, PerImageModel):
        return use.fixed
    read = use.input_text + use.input_image
    price = price_of(model, at_s=at_s, tier=use.tier, input_tokens=read)
    plain_text = max(0, use.input_text - use.cached_text - use.cache_write)
    return PicoUSD(
        use.fixed
        + plain_text * price.input_text
        + use.cached_text * price.cached_text
        + use.cache_write * price.cache_write
        + (use.input_image - use.cached_image) * price.input_image
        + use.cached_image * price.cached_image
        + use.output_image * price.output_image
        + use.output_text * price.output_text
    )


def most_cost(use: Use, at_s: float) -> PicoUSD:
    """The most that a use can cost if its input is written to the cache, and in no cheaper tier than the standard."""
    written = use.input_text if isinstance(use.model, TextModel) else 0
    ways = [
        replace(use, tier=tier, cache_write=cache_write)
        for tier in (None, use.tier)
        for cache_write in (0, written)
    ]
    return max(cost(way, at_s) for way in ways)


def lines_of(uses: Sequence[Use], at_s: float) -> tuple[tuple[Line, ...], NanoUSD]:
    """A line for each use that is not empty, and the sum: exact, rounded up once, and that of the lines."""
    lines: list[Line] = []
    exact, billed = 0, 0
    for use in uses:
        if use.is_empty:
            continue
        exact += cost(use, at_s)
        so_far = rounded_up([PicoUSD(exact)])
        lines.append(
            Line(
                model=plain(use.name),
                role=use.role,
                input_text=use.input_text,
                input_image=use.input_image,
                cached_text=use.cached_text,
                cached_image=use.cached_image,
                cache_write=use.cache_write,
                output_image=use.output_image,
                output_text=use.output_text,
                cost_nusd=NanoUSD(so_far - billed),
            )
        )
        billed = so_far
    return tuple(lines), NanoUSD(billed)


def tier_of(asked: str | None, echoed: str | None = None) -> str | None:
    """The service tier whose prices hold: the response's word, else the request's."""
    said = echoed or asked
    return None if said is None else _TIERS.get(said, said)


def clipped(name: str) -> str:
    """A name as the ledger keeps it: short, and valid UTF-8 whatever the client sent."""
    return name[:MOST_NAME].encode("utf-8", "replace").decode("utf-8")


# Only what has a price of its own: tried for every name before anything stands in.
_KNOWN: Final = AccountingRules(unpriced=REFUSE)


def _known_first(
    names: Sequence[str | None], rules: AccountingRules
) -> Iterator[tuple[str, AccountingRules]]:
    given = [name for name in names if name]
    for each in (_KNOWN, rules, AccountingRules()):
        for name in given:
            yield name, each


def _in_turn(names: Sequence[str | None], rules: AccountingRules) -> Iterator[tuple[str, AccountingRules]]:
    given = [name for name in names if name]
    for place, name in enumerate(given):
        yield name, _KNOWN
        snapshots_of = (
            each for each in given[place + 1 :] if is_dated(name) and name.startswith(f"{each}-20")
        )
        for each in snapshots_of:
            yield each, _KNOWN
        yield name, rules
        yield name, AccountingRules()


def _candidates(name: str, catalog: Catalog, rules: AccountingRules) -> Iterator[tuple[Model, str | None]]:
    """The model of this name, then what stands in for it, in the order in which they count."""
    known = catalog.find(name)
    if known is not None:
        yield known, None  # it may be of another kind than the one that is wanted; then something stands in
    if rules.unpriced == REFUSE:
        return
    if rules.unpriced.startswith(STAND_IN):
        stand_in = rules.unpriced.removeprefix(STAND_IN)
        model = catalog.find(stand_in)
        if model is not None:
            yield model, stand_in
    for family in catalog.families:
        if fnmatchcase(name, family.match):
            yield family.model, family.priced_as


def _unknown(what: str, rules: AccountingRules, param: str) -> Refusal:
    why = (
        'models without a price are refused (catalog.unpriced = "refuse")'
        if rules.unpriced == REFUSE
        else "it belongs to no family of those that it knows"
    )
    message = (
        f"The gateway's catalogue does not know {what}, and {why}: what it costs could not be counted. The operator can "
        "add it to a catalogue file of their own (catalog.path), or name a model whose prices stand in for it "
        '(catalog.unpriced = "as:MODEL").'
    )
    return Refusal(Code.NOT_ALLOWED, message, param)
