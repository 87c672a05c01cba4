"""
What an images call will cost: what of it is known before the call, and the most that it can be.

The call is read as the gateway reads it, from a JSON body, and its bound is the one that the gateway reserves: the two
cannot disagree. What is known is the output, by the model's token rule at the catalogue's prices, where the request
names size and quality and the model has a rule of its own.

Not here: how it is shown (estimate.py), tokens and prices (core/tokens.py, core/estimate.py, core/pricing.py).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, assert_never

from gateway.core import strictjson
from gateway.core.call import ImageAsk, read_json
from gateway.core.catalog import Catalog, ImageModel, PerImageModel, SizeLimits, TextModel
from gateway.core.errors import Refusal, Refused
from gateway.core.estimate import TEXT_FRAME_TOKENS, Estimate, estimate
from gateway.core.pricing import AccountingRules, Use, cost
from gateway.core.retirement import retirement_of
from gateway.core.routes import ROUTES, Match
from gateway.core.tokens import PARTIAL_IMAGE_TOKENS, FactorRule, parse_size
from gateway.core.units import NanoUSD, rounded_up
from gateway.flow.notices import sentence

AUTO: Final = "auto"
_MOST_PARTIALS: Final = 3
"""Of `partial_images` (OpenAI's API reference, images)."""
_ROUTES: Final = {route.name: route for route in ROUTES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """
    What an images call costs. Tokens are those of all its pictures.

    `route`: its name. `ask`: what is asked for. `reserved`: the most that it can cost; `use` is its only part.
    `picture_tokens`: output tokens without partial images, by the token rule; None: not known before the call, or the
    model is paid by the picture. `partial_tokens`: output tokens of all partial images that are asked for.
    `output_cost`: of pictures and partial images; None: not known before the call. `notes`: what has to be said in words.
    """

    route: str
    ask: ImageAsk
    reserved: Estimate
    at_s: float
    picture_tokens: int | None
    partial_tokens: int
    output_cost: NanoUSD | None
    notes: tuple[str, ...]

    @property
    def use(self) -> Use:
        """What the model that draws can use at most. No other works for a call of the Images API without an SVG."""
        return self.reserved.uses[0]

    @property
    def by_picture(self) -> bool:
        """Whether the model is paid by the picture, not by the token."""
        return isinstance(self.use.model, PerImageModel)

    @property
    def output_tokens(self) -> int | None:
        """Output image tokens as the ledger will count them, if every partial image comes; None: not known."""
        return None if self.picture_tokens is None else self.picture_tokens + self.partial_tokens


def quote(
    body: dict[str, object], catalog: Catalog, rules: AccountingRules, *, at_s: float
) -> Quote | Refusal:
    """
    What a call of the Images API costs.

    Args:
        body: its JSON body; with `images` it is an edit, else a generation.
        catalog: prices and rules.
        rules: the operator's.
        at_s: when, epoch seconds: prices have dates.

    Returns:
        A refusal if the gateway would refuse it: a model without a price, a body that cannot be read.
    """
    found = Match(_ROUTES["images.edits" if "images" in body else "images.generations"])
    try:
        call = read_json(found, strictjson.loads(json.dumps(body).encode("ascii")))
    except Refused as refused:
        return refused.refusal
    reserved = estimate(call, catalog, rules, at_s=at_s)
    if isinstance(reserved, Refusal):
        return reserved
    (ask,), use, pictures = call.images, reserved.uses[0], reserved.images
    each = _tokens_each(use, ask)
    partial_tokens = 0 if isinstance(use.model, PerImageModel) else _surcharge(ask) * pictures
    notes = [*_on_the_model(use, ask), *_on_the_prompt(use, call.inputs.text_bytes)]
    end = retirement_of(use.name, catalog, at_s=at_s)
    return Quote(
        route=found.route.name,
        ask=ask,
        reserved=reserved,
        at_s=at_s,
        picture_tokens=None if each is None else each * pictures,
        partial_tokens=partial_tokens,
        output_cost=_output_cost(use, ask, None if each is None else each * pictures + partial_tokens, at_s),
        notes=(*notes, *(() if end is None else (sentence(end),))),
    )


def cost_of(
    use: Use, at_s: float, *, input_text: int = 0, input_image: int = 0, output_image: int = 0
) -> NanoUSD:
    """What so many tokens of a model cost by themselves, rounded up."""
    part = Use(
        name=use.name,
        role=use.role,
        model=use.model,
        input_text=input_text,
        input_image=input_image,
        output_image=output_image,
    )
    return rounded_up([cost(part, at_s)])


def _surcharge(ask: ImageAsk) -> int:
    return PARTIAL_IMAGE_TOKENS * (ask.partial_images or 0)


def _tokens_each(use: Use, ask: ImageAsk) -> int | None:
    """Output tokens of one picture by the model's own rule, without partial images; None: not known before the call."""
    model = use.model
    if not isinstance(model, ImageModel) or use.priced_as is not None or ask.quality not in model.qualities:
        return None
    return model.tokens(ask.quality or AUTO, ask.size or AUTO)


def _output_cost(use: Use, ask: ImageAsk, tokens: int | None, at_s: float) -> NanoUSD | None:
    if isinstance(use.model, PerImageModel):
        return None if use.model.price(ask.quality, ask.size) is None else rounded_up([use.fixed])
    return None if tokens is None else cost_of(use, at_s, output_image=tokens)


def _on_the_model(use: Use, ask: ImageAsk) -> Iterator[str]:
    if use.priced_as is not None:
        yield (
            f"The catalogue does not know {use.name}: the prices and token rule of what stands in for it, "
            f"{use.priced_as}, make a bound (catalog.unpriced)."
        )
    match use.model:
        case ImageModel() as model:
            yield from _on_the_tokens(model, ask)
        case PerImageModel() as model if model.price(ask.quality, ask.size) is None:
            yield "The catalogue has no price for this quality and size: the dearest picture's is reserved."
        case PerImageModel() | TextModel() | None:
            pass
        case _:
            assert_never(use.model)


def _on_the_tokens(model: ImageModel, ask: ImageAsk) -> Iterator[str]:
    left = [name for name, value in (("size", ask.size), ("quality", ask.quality)) if value == AUTO]
    if left:
        yield f"What is auto ({', '.join(left)}) is the model's choice: the output is a bound, the most it can choose."
    if isinstance(model.rule, FactorRule):
        yield (
            "Its token rule is another model's times a factor, which is an assumption: what the upstream reports is what "
            "is charged."
        )
    if (ask.partial_images or 0) > _MOST_PARTIALS:
        yield f"OpenAI takes {_MOST_PARTIALS} partial images at most: it refuses more."
    if ask.quality != AUTO and ask.quality not in model.qualities:
        known = ", ".join(model.qualities)
        yield f"The model's qualities are {known}: of another one the output is a bound."
    size = parse_size(ask.size or AUTO)
    if size is None:
        return
    if isinstance(model.sizes, SizeLimits):
        if not model.sizes.allow(*size):
            yield "This size is outside the model's limits: OpenAI refuses it."
    elif size not in model.sizes:
        known = ", ".join(f"{width}x{height}" for width, height in model.sizes)
        yield f"The model's sizes are {known}: OpenAI refuses others, and the output is a bound."


def _on_the_prompt(use: Use, text_bytes: int) -> Iterator[str]:
    if isinstance(use.model, ImageModel) and not text_bytes:
        yield (
            f"Without --prompt its text is not counted, only the {TEXT_FRAME_TOKENS} tokens around it. Each byte of it "
            "is at most one token more for each picture."
        )
