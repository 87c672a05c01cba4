"""
What the pictures of one answer cost: the image model's part of a settlement, and an SVG author's.

The surcharge for partial images, 100 output image tokens each (OpenAI's image generation guide), is where others go
wrong. Partial images count as delivered, per picture at most as many as were asked for: an unasked one is the final
picture once more. What the upstream reports holds them already, so nothing is added to a report, but for one case: it
equals exactly what the rule says of the pictures alone, although partial images were delivered.

A report is also not believed where it leaves pictures out: it says that nothing was put out although one came, or less
than an exact rule says of those that came. `tool_usage` may skip calls (openai-python 3.54.0), and others report one
picture of several.

Not here: which of these rules holds for an answer (settle.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, assert_never

from gateway.core.call import Call, ImageAsk
from gateway.core.catalog import Catalog, ImageModel, PerImageModel
from gateway.core.estimate import Estimate, default_painter, drawn, partials_asked
from gateway.core.observation import Image, Observation
from gateway.core.pricing import (
    AccountingRules,
    Painter,
    Priced,
    Use,
    settled_author,
    settled_painter,
)
from gateway.core.record import Role, TokensFrom
from gateway.core.tokens import PARTIAL_IMAGE_TOKENS, FormulaRule, TableRule
from gateway.core.units import PicoUSD
from gateway.core.usage import ImageUsage, sum_of

_WITHOUT_RULE: Final = frozenset({"gif", "svg"})
"""Formats whose pictures have no published count of tokens."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a settlement, and where its figures come from."""

    use: Use
    source: TokensFrom
    surcharge: int = 0
    """Of its output image tokens, those for partial images that were seen."""
    surcharge_added: bool = False
    pictures: int = 0
    """It charges for."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """Who drew for a call, and what was asked."""

    call: Call
    ask: ImageAsk
    found: Priced[Painter] | None
    """None only if the catalogue has no model that draws."""
    partials_each: int
    """Partial images asked for, of each picture."""
    reserved: Estimate
    catalog: Catalog
    rules: AccountingRules

    def delivered(self, images: Iterable[Image]) -> int:
        """Partial images of these that were delivered, of those that were asked for."""
        return sum(min(image.partials, self.partials_each) for image in images)


def drawing_of(
    seen: Observation, call: Call, reserved: Estimate, catalog: Catalog, rules: AccountingRules
) -> Drawing:
    """
    Who drew the pictures of an answer.

    On the Responses API it is the tool model that the response echoes, else the one that was asked for, else the
    catalogue's default. A tool that the request does not show (a stored prompt's) is known from the echo alone. Of
    several tools the last counts; one that an item of the input brought along is not echoed.
    """
    ask = call.images[-1] if call.images else ImageAsk(where="tools[0].")
    echoed = seen.tools[-1].model if seen.tools and ask.where.startswith("tools[") else None
    return Drawing(
        call=call,
        ask=ask,
        found=settled_painter((echoed, default_painter(call, ask, catalog)), catalog, rules),
        partials_each=asked_of(seen, call) or 0,
        reserved=reserved,
        catalog=catalog,
        rules=rules,
    )


def asked_of(seen: Observation, call: Call) -> int | None:
    """Partial images asked for, of each picture; None where nothing was said about them."""
    said = [partials_asked(ask) for ask in call.images if ask.partial_images is not None]
    return max(said or (tool.partial_images or 0 for tool in seen.tools), default=None)


def trusted(drawing: Drawing, seen: Observation) -> Observation:
    """The answer with its report of pictures as far as it can be true; what is left out is None, and is computed."""
    said, pictures = _summed(drawing, seen), seen.finished
    model = None if drawing.found is None else drawing.found.model
    if said is None:
        return seen
    if not isinstance(model, ImageModel):
        # It is paid by the picture, and how many there were cannot be told.
        return replace(seen, image_usage=None) if seen.unread else seen
    if said.is_zero and (pictures or seen.unread):
        said = None
    elif pictures and said.has_output:
        # Of one picture the report is the truth, whatever the rule says; of several it can have left some out.
        least = 1 if len(pictures) == 1 else max(1, _exactly(drawing, pictures) or 0)
        if _written(said)[0] < least:
            said = replace(said, output_tokens=None, output_image=None)
    return replace(seen, image_usage=said)


def _summed(drawing: Drawing, seen: Observation) -> ImageUsage | None:
    """The report; of several pictures with one each, the sum, unless the last is plainly that of all of them."""
    last = seen.image_usage
    if last is None or len(seen.reports) <= 1:
        return last
    exact = _exactly(drawing, seen.finished)
    over = None if exact is None else _written(last)[0] - exact
    return (
        last if over in {0, PARTIAL_IMAGE_TOKENS * drawing.delivered(seen.images)} else sum_of(seen.reports)
    )


def _exactly(drawing: Drawing, pictures: Iterable[Image]) -> int | None:
    """Output tokens of these pictures where the rule of their model is exact; None where it is a guess or a bound."""
    found, ask = drawing.found, drawing.ask
    if found is None or found.priced_as is not None or ask.output_format in _WITHOUT_RULE:
        return None
    model = found.model
    if not isinstance(model, ImageModel) or not isinstance(model.rule, TableRule | FormulaRule):
        return None
    each = [model.tokens(one.quality or ask.quality or "", one.size or ask.size or "") for one in pictures]
    known = [tokens for tokens in each if tokens is not None]
    return sum(known) if len(known) == len(each) else None


def finished(drawing: Drawing, seen: Observation, images: tuple[Image, ...]) -> Iterator[Part]:
    """
    Images that came to their end: as reported, and what the report lacks as the rule says of them.

    Args:
        drawing: who drew.
        seen: the answer; its `image_usage` is the report.
        images: those to charge for. One that failed costs the partial images that it had delivered.
    """
    if drawing.found is None:
        return
    model, pictures = drawing.found.model, [image for image in images if image.finished]
    match model:
        case PerImageModel():
            fixed = PicoUSD(sum(_price(model, drawing.ask, image) for image in pictures))
            yield Part(_use(drawing.found, fixed=fixed), TokensFrom.COMPUTED, pictures=len(pictures))
        case ImageModel():
            yield _by_token(drawing, drawing.found, model, seen.image_usage, images)
        case _:
            assert_never(model)
    yield from _authors(drawing, seen, pictures)


def interrupted(drawing: Drawing, images: tuple[Image, ...], *, free: bool = False) -> Iterator[Part]:
    """
    Images in the making when the upstream said that it had failed: their input, their partial images, and themselves.

    `free`: they themselves are not charged, for moderation blocked them.
    """
    partials = drawing.delivered(images)
    surcharge = PARTIAL_IMAGE_TOKENS * partials
    for part in _at_most(drawing, images, pictures=len(images), partials=partials, seen_partials=partials):
        yield replace(part, use=replace(part.use, output_image=surcharge, fixed=PicoUSD(0))) if free else part


def unknown(drawing: Drawing, images: tuple[Image, ...], *, pictures: int) -> Iterator[Part]:
    """
    An answer whose end is not known: the most that this many pictures can cost.

    Partial images that were asked for and not seen may have been on their way, or be made yet. They are charged, and
    not called surcharge, for nobody saw them.
    """
    partials = drawing.delivered(images)
    asked = drawing.partials_each * pictures if drawing.call.stream else 0
    yield from _at_most(
        drawing, images, pictures=pictures, partials=max(asked, partials), seen_partials=partials
    )
    svg = (use for use in drawing.reserved.uses if use.role is Role.SVG)
    yield from (Part(use, TokensFrom.ESTIMATED) for use in svg)


def blocked(drawing: Drawing, *, pictures: int) -> Iterator[Part]:
    """Pictures that moderation blocked after they were made, where the operator has them charged."""
    yield from _at_most(drawing, (), pictures=pictures, partials=0, seen_partials=0)


def _at_most(
    drawing: Drawing, images: tuple[Image, ...], *, pictures: int, partials: int, seen_partials: int
) -> Iterator[Part]:
    """So many pictures at the most they can cost, these images among them, and so many partial images."""
    found = drawing.found
    if found is None or pictures == 0:
        return
    plain = replace(drawing.ask, partial_images=None)
    inputs = drawing.call.inputs.images * (pictures if drawing.ask.where else 1)
    use = drawn(found, plain, drawing.call, pictures=pictures, inputs=inputs)
    if not isinstance(found.model, ImageModel):
        yield Part(use, TokensFrom.ESTIMATED, pictures=pictures)
        return
    each = use.output_image // pictures
    # What an image said of itself goes before what was asked for, be it more or less.
    known = [_tokens(found.model, plain, image) for image in images if image.size and image.quality]
    output = sum(known) + max(0, pictures - len(known)) * each
    yield Part(
        replace(use, output_image=output + PARTIAL_IMAGE_TOKENS * partials),
        TokensFrom.ESTIMATED,
        surcharge=PARTIAL_IMAGE_TOKENS * seen_partials,
        pictures=pictures,
    )


def _by_token(
    drawing: Drawing,
    found: Priced[Painter],
    model: ImageModel,
    report: ImageUsage | None,
    images: tuple[Image, ...],
) -> Part:
    said = report or ImageUsage()
    pictures = [image for image in images if image.finished]
    partials = drawing.delivered(images)
    by_rule = sum(_tokens(model, drawing.ask, image) for image in pictures)
    output_image, output_text, source, added = by_rule, 0, TokensFrom.COMPUTED, False
    surcharge = PARTIAL_IMAGE_TOKENS * partials
    if not said.has_output:
        output_image += surcharge
        output_text = said.output_text or 0
    else:
        output_image, output_text = _written(said)
        source = TokensFrom.REPORTED
        over = output_image - by_rule
        added = over == 0 and partials > 0 and bool(pictures)
        asked = PARTIAL_IMAGE_TOKENS * drawing.partials_each * len(pictures)
        if added:
            output_image += surcharge
        elif pictures and over % PARTIAL_IMAGE_TOKENS == 0 and 0 <= over <= asked:
            surcharge = over
        surcharge = min(surcharge, output_image)
    held = drawn(
        found, drawing.ask, drawing.call, pictures=max(1, len(pictures)), inputs=_inputs(drawing, pictures)
    )
    read = _read(said, held, sees_images=drawing.call.inputs.images > 0 or drawing.call.inputs.beyond)
    if said.input_tokens is None and said.input_text is None:
        source = TokensFrom.COMPUTED
    use = replace(read, output_image=output_image, output_text=output_text)
    return Part(use, source, surcharge, added, len(pictures))


def _inputs(drawing: Drawing, pictures: list[Image]) -> int:
    return drawing.call.inputs.images * (len(pictures) if drawing.ask.where else 1)


def _written(said: ImageUsage) -> tuple[int, int]:
    """Output tokens of pictures and of text. Without details all are of pictures; what they leave over too."""
    text = said.output_text or 0
    if said.output_image is None:
        total = said.output_tokens or 0
        return max(0, total - text), min(text, total)
    total = said.output_tokens or 0
    return max(said.output_image, total - text), text


def _read(said: ImageUsage, held: Use, *, sees_images: bool) -> Use:
    """Input tokens. What the details leave over is counted as the dearer of what was there to read."""
    if said.input_tokens is None and said.input_text is None and said.input_image is None:
        return replace(held, output_image=0)
    text, image = said.input_text or 0, said.input_image or 0
    left = max(0, (said.input_tokens or 0) - text - image)
    text, image = (text, image + left) if sees_images and said.input_image is None else (text + left, image)
    cached_text, cached_image = said.cached_text or 0, said.cached_image or 0
    if said.cached_text is None and said.cached_image is None:
        # Only the sum is known: the smaller discount first.
        cached_text = min(said.cached_tokens or 0, text)
        cached_image = (said.cached_tokens or 0) - cached_text
    return replace(
        held,
        input_text=text,
        input_image=image,
        cached_text=min(cached_text, text),
        cached_image=min(cached_image, image),
        output_image=0,
    )


def _tokens(model: ImageModel, ask: ImageAsk, image: Image) -> int:
    """Output tokens of a picture as it came; at most, where neither it nor the request says what it is."""
    quality, size = image.quality or ask.quality, image.size or ask.size
    exact = model.tokens(quality, size) if quality and size else None
    return model.max_tokens(quality, size) if exact is None else exact


def _price(model: PerImageModel, ask: ImageAsk, image: Image) -> PicoUSD:
    price = model.price(image.quality or ask.quality, image.size or ask.size)
    return model.max_price if price is None else price


def _authors(drawing: Drawing, seen: Observation, pictures: list[Image]) -> Iterator[Part]:
    """The models that wrote SVGs: of the answer as a whole, or of each item."""
    for svg in (seen.svg, *(image.svg for image in pictures)):
        if svg is None:
            continue
        named = next((each.value for each in drawing.call.authors), None)
        found = settled_author((svg.model, named), drawing.catalog, drawing.rules, in_turn=True)
        if found is not None:
            yield Part(
                Use(
                    name=found.name,
                    role=Role.SVG,
                    model=found.model,
                    priced_as=found.priced_as,
                    input_text=svg.input_tokens or 0,
                    output_text=svg.output_tokens or 0,
                ),
                TokensFrom.REPORTED,
            )


def _use(found: Priced[Painter], *, fixed: PicoUSD) -> Use:
    return Use(name=found.name, role=Role.IMAGE, model=found.model, priced_as=found.priced_as, fixed=fixed)
