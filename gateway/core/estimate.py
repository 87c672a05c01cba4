"""
What a call can cost at most: what is reserved for it before it goes up.

For everything that the request bounds, the actual cost is never more. What it does not bound (what is kept upstream, a
mainline model's output without `max_output_tokens`, image calls without `max_tool_calls`) is reserved at the operator's
figure, and `unbounded` says so: it can cost more, and then the difference is a debt.

The rules, part by part:
- Output of a picture: the catalogue's bound for its size and quality, and 100 for each partial image asked for,
  streamed or not; a GIF's for each of its frames, since nothing is published about them.
- Input text: its UTF-8 bytes and 64 more, for each picture. Input images: the model's maximum for each.
- A response: that, for each image call; and its mainline model's input and output.

Not here: what it did cost (settle.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.call import Call, ImageAsk
from gateway.core.catalog import Catalog, ImageModel, PerImageModel, TextModel
from gateway.core.errors import Code, Refusal, quoted
from gateway.core.pricing import (
    AccountingRules,
    Painter,
    Priced,
    Use,
    author,
    dearest_author,
    most_cost,
    painter,
    tier_of,
)
from gateway.core.record import Role
from gateway.core.tokens import PARTIAL_IMAGE_TOKENS
from gateway.core.units import NanoUSD, PicoUSD, rounded_up

TEXT_FRAME_TOKENS = 64
"""What the API adds to a prompt. Measured: 6 on generations, up to 28 on edits."""
RESPONSE_FRAME_TOKENS = 1_024
"""What it adds to the input of a response; the image tool's description alone is about 255."""
DEFAULT_FRAMES = 9
"""Of a GIF whose request does not say (openai-python 3.54.0)."""
MOST_IMAGES = 1_000
MOST_PARTIALS = 100
MOST_OUTPUT_TOKENS = 10_000_000
"""Larger numbers are refused by the upstream; ours only have to stay within what a store can add up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """
    What to reserve.

    `image_tokens`: output image tokens, surcharge included. `tokens`: all of them. `priced_as`: the model whose prices
    stand in for one that the catalogue does not know. `unbounded`: the call can cost more. `uses`: the parts.
    """

    requests: int = 1
    images: int = 0
    image_tokens: int = 0
    tokens: int = 0
    cost_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - an int by another name
    priced_as: str | None = None
    unbounded: bool = False
    uses: tuple[Use, ...] = ()


def estimate(call: Call, catalog: Catalog, rules: AccountingRules, *, at_s: float) -> Estimate | Refusal:
    """
    What a call can cost at most.

    Args:
        call: what is asked.
        catalog: prices and rules.
        rules: the operator's.
        at_s: when, epoch seconds: prices have dates.

    Returns:
        Nothing to reserve for a route that is not metered. A refusal (403 `not_allowed`, naming the field) for a model
        without a price.
    """
    if not call.match.route.metered:
        return Estimate(requests=0)
    if call.match.route.name.startswith("images."):
        return _images(call, catalog, rules, at_s)
    return _response(call, catalog, rules, at_s)


def partials_asked(ask: ImageAsk) -> int:
    """Partial images asked for, of one picture."""
    return min(max(ask.partial_images or 0, 0), MOST_PARTIALS)


def pictures_asked(ask: ImageAsk) -> int:
    """Pictures asked for; what is no number of pictures is judged by the upstream."""
    return min(max(1 if ask.n is None else ask.n, 1), MOST_IMAGES)


def calls_reserved(call: Call, rules: AccountingRules) -> int:
    """How many image calls of a response are reserved."""
    if not call.images:
        return 0
    bound = rules.reserve_images if call.max_tool_calls is None else call.max_tool_calls
    return min(max(bound, 0), MOST_IMAGES)


def drawn(found: Priced[Painter], ask: ImageAsk, call: Call, *, pictures: int, inputs: int) -> Use:
    """The most that pictures of one ask can use: `pictures` of them, made from `inputs` input images each time."""
    model = found.model
    match model:
        case PerImageModel():
            price = model.price(ask.quality, ask.size)
            each = model.max_price if price is None else price
            return _painted(found, fixed=PicoUSD(pictures * each))
        case ImageModel():
            surcharge = PARTIAL_IMAGE_TOKENS * partials_asked(ask)
            each_tokens = frames(ask) * model.max_tokens(ask.quality, ask.size) + surcharge
            return _painted(
                found,
                input_text=pictures * (call.inputs.text_bytes + TEXT_FRAME_TOKENS),
                input_image=inputs * model.input_image_max_tokens,
                output_image=pictures * each_tokens,
            )


def frames(ask: ImageAsk) -> int:
    """Of a picture: one, or as many as a GIF has."""
    if ask.output_format != "gif":
        return 1
    return min(max(ask.frame_count or DEFAULT_FRAMES, 1), MOST_IMAGES)


def default_painter(call: Call, ask: ImageAsk, catalog: Catalog) -> str | None:
    """The name of the model that draws: as asked, else the catalogue's default for the route or the tool."""
    if ask.model:
        return ask.model
    return catalog.default_tool_model if ask.where else catalog.default_model(call.match.route.name)


def _painted(
    found: Priced[Painter],
    *,
    input_text: int = 0,
    input_image: int = 0,
    output_image: int = 0,
    fixed: PicoUSD = PicoUSD(0),  # noqa: B008 - an int by another name
) -> Use:
    return Use(
        name=found.name,
        role=Role.IMAGE,
        model=found.model,
        priced_as=found.priced_as,
        input_text=input_text,
        input_image=input_image,
        output_image=output_image,
        fixed=fixed,
    )


def _images(call: Call, catalog: Catalog, rules: AccountingRules, at_s: float) -> Estimate | Refusal:
    ask = call.images[0] if call.images else ImageAsk()
    found = _painter_of(call, ask, catalog, rules)
    if isinstance(found, Refusal):
        return found
    pictures = pictures_asked(ask)
    uses = [drawn(found, ask, call, pictures=pictures, inputs=call.inputs.images)]
    svg = _svg(call, ask, catalog, rules, pictures)
    if isinstance(svg, Refusal):
        return svg
    uses.extend(svg)
    return _sum(uses, pictures, at_s, unbounded=call.inputs.beyond or bool(svg))


def _painter_of(
    call: Call, ask: ImageAsk, catalog: Catalog, rules: AccountingRules
) -> Priced[Painter] | Refusal:
    name = default_painter(call, ask, catalog)
    if name is not None:
        return painter(name, catalog, rules, f"{ask.where}model")
    message = (
        f"No model is named, and the gateway's catalogue has no default for {quoted(call.match.route.name)}. "
        "Name a model; or the operator can set a default in a catalogue file of their own (catalog.path)."
    )
    return Refusal(Code.NOT_ALLOWED, message, "model")


def _response(call: Call, catalog: Catalog, rules: AccountingRules, at_s: float) -> Estimate | Refusal:
    tier = tier_of(call.service_tier)
    calls = calls_reserved(call, rules)
    uses: list[Use] = []
    for ask in call.images:
        found = _painter_of(call, ask, catalog, rules)
        if isinstance(found, Refusal):
            return found
        svg = _svg(call, ask, catalog, rules, calls)
        if isinstance(svg, Refusal):
            return svg
        # A later call may look at what the earlier ones made.
        inputs = calls * call.inputs.images + calls * max(calls - 1, 0) // 2
        one = [drawn(found, ask, call, pictures=calls, inputs=inputs), *svg]
        # Usually there is one image tool; of several, any may be called, so the dearest is reserved.
        if not uses or _total(one, at_s) > _total(uses, at_s):
            uses = one
    main = _mainline(call, catalog, rules)
    if isinstance(main, Refusal):
        return main
    read = call.inputs.text_bytes + calls * rules.overhead_tokens + RESPONSE_FRAME_TOKENS
    asked = call.max_output_tokens
    written = rules.reserve_output_tokens if asked is None else min(max(asked, 0), MOST_OUTPUT_TOKENS)
    if main is not None:
        uses.append(
            Use(
                name=main.name,
                role=Role.MAIN,
                model=main.model,
                priced_as=main.priced_as,
                tier=tier,
                input_text=read + call.inputs.images * main.model.input_image_max_tokens,
                output_text=written,
            )
        )
    return _sum(uses, calls, at_s, unbounded=_is_unbounded(call))


def _is_unbounded(call: Call) -> bool:
    hosted = {tool.value for tool in call.tools} - {"function", "custom"}
    return (
        call.inputs.beyond
        or call.stored_prompt
        or call.max_output_tokens is None
        or (bool(hosted) and call.max_tool_calls is None)
        or bool(hosted - {"image_generation"})
    )


def _mainline(call: Call, catalog: Catalog, rules: AccountingRules) -> Priced[TextModel] | Refusal | None:
    name = call.model or catalog.default_model(call.match.route.name)
    if name is not None:
        return author(name, catalog, rules)
    # Only a stored prompt can bring a model that the request does not name: without one the upstream refuses.
    return dearest_author(None, catalog)


def _svg(
    call: Call, ask: ImageAsk, catalog: Catalog, rules: AccountingRules, pictures: int
) -> list[Use] | Refusal:
    """The model that writes an SVG; the dearest there is, where the request does not name it."""
    if ask.output_format != "svg" and not any(
        each.param.startswith(f"{ask.where}svg") for each in call.authors
    ):
        return []
    named = next((each for each in call.authors if each.param.startswith(f"{ask.where}svg")), None)
    found = (
        dearest_author(call.model if ask.where else None, catalog)
        if named is None
        else author(named.value, catalog, rules, named.param)
    )
    if found is None or isinstance(found, Refusal):
        return [] if found is None else found
    return [
        Use(
            name=found.name,
            role=Role.SVG,
            model=found.model,
            priced_as=found.priced_as,
            input_text=pictures * (call.inputs.text_bytes + rules.overhead_tokens),
            output_text=pictures * rules.reserve_output_tokens,
        )
    ]


def _sum(uses: list[Use], images: int, at_s: float, *, unbounded: bool) -> Estimate:
    return Estimate(
        images=images,
        image_tokens=sum(use.output_image for use in uses),
        tokens=sum(use.tokens for use in uses),
        cost_nusd=rounded_up(_costs(uses, at_s)),
        priced_as=next((use.priced_as for use in uses if use.priced_as is not None), None),
        unbounded=unbounded,
        uses=tuple(uses),
    )


def _total(uses: list[Use], at_s: float) -> int:
    return sum(_costs(uses, at_s))


def _costs(uses: list[Use], at_s: float) -> Iterator[PicoUSD]:
    return (most_cost(use, at_s) for use in uses)
