"""
What a call cost, from what was seen of its answer.

Three sources, surest first: what the upstream reported; what the catalogue's rule says of the pictures that came;
what was reserved. A call whose end is not known (the line broke, nobody listened any more, no answer came) is charged
what it can have cost at most, for the upstream most likely did the work; what was seen of it can only add to that.

An answer that says of itself that it failed costs what was delivered before. One that refuses the call (a 4xx, or a
whole JSON body with a 5xx) costs nothing.

The figures of each part are made in settle_images.py; here is which rule holds for which ending.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.estimate import Estimate, calls_reserved, pictures_asked
from gateway.core.names import plain
from gateway.core.observation import End, Ending, Observation
from gateway.core.pricing import AccountingRules, Use, lines_of, settled_author, tier_of
from gateway.core.record import Line, Outcome, Record, Role, TokensFrom
from gateway.core.settle_images import (
    Drawing,
    Part,
    asked_of,
    blocked,
    drawing_of,
    finished,
    interrupted,
    trusted,
    unknown,
)
from gateway.core.tokens import PARTIAL_IMAGE_TOKENS
from gateway.core.units import NanoUSD, PicoUSD
from gateway.core.usage import TextUsage

_NO_SUCCESS = 300
_SERVER_ERROR = 500
UNSURE = frozenset({408, 504, 520, 521, 522, 523, 524})
"""The upstream, or what stands before it, gave up waiting: the work may go on, and be paid (docs of Cloudflare, 520-524)."""
_SUREST = (TokensFrom.NONE, TokensFrom.REPORTED, TokensFrom.COMPUTED, TokensFrom.ESTIMATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    What a call cost. Fields have the names and meanings of the record's.

    `charged_images`: pictures that the call is charged for, delivered or not: what a limit on images counts.
    `surcharge_added`: the upstream had left the surcharge for partial images out of its report.
    """

    lines: tuple[Line, ...] = ()
    cost_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - an int by another name
    tokens_from: TokensFrom = TokensFrom.NONE
    priced_as: str | None = None
    images: int = 0
    charged_images: int = 0
    size: str | None = None
    quality: str | None = None
    partial_images_requested: int | None = None
    partial_images_delivered: int = 0
    partial_image_tokens: int = 0
    surcharge_added: bool = False
    tool_model: str | None = None
    response_id: str | None = None
    code: str | None = None
    outcome: Outcome = Outcome.COMPLETED

    @property
    def output_image_tokens(self) -> int:
        """Surcharge for partial images included."""
        return sum(line.output_image for line in self.lines)

    @property
    def tokens(self) -> int:
        """All of them."""
        return sum(
            line.input_text + line.input_image + line.output_image + line.output_text for line in self.lines
        )

    def into(self, record: Record) -> Record:
        """The record with what the call cost; what it says of the request stays where nothing better is known."""
        return replace(
            record,
            lines=self.lines,
            cost_nusd=self.cost_nusd,
            tokens_from=self.tokens_from,
            priced_as=self.priced_as,
            images=self.images,
            size=plain(self.size) or record.size,
            quality=plain(self.quality) or record.quality,
            partial_images_requested=(
                record.partial_images_requested
                if self.partial_images_requested is None
                else self.partial_images_requested
            ),
            partial_images_delivered=self.partial_images_delivered,
            input_text_tokens=sum(line.input_text for line in self.lines),
            input_image_tokens=sum(line.input_image for line in self.lines),
            cached_input_tokens=sum(line.cached_text + line.cached_image for line in self.lines),
            output_image_tokens=self.output_image_tokens,
            partial_image_tokens=self.partial_image_tokens,
            output_text_tokens=sum(line.output_text for line in self.lines),
            tool_model=plain(self.tool_model) or record.tool_model,
            response_id=self.response_id or record.response_id,
        )


def settle(
    seen: Observation,
    call: Call,
    reserved: Estimate,
    catalog: Catalog,
    rules: AccountingRules,
    *,
    at_s: float,
    watched: bool = True,
) -> Settlement:
    """
    What the call cost. It never raises: a settlement that can fail is money forgotten.

    Args:
        seen: of its answer. A pending response (`seen.pending`) is settled when it has come to its end.
        call: what was asked.
        reserved: its estimate.
        catalog: prices and rules.
        rules: the operator's.
        at_s: when the call came, epoch seconds: prices have dates.
        watched: whether the answer was seen from its beginning. The end of a response in the background can be seen by
            itself: then nobody knows which partial images were delivered before.
    """
    if not call.match.route.metered:
        return Settlement(outcome=seen.outcome, code=seen.code)
    drawing = drawing_of(seen, call, reserved, catalog, rules)
    seen = trusted(drawing, seen)
    supposed = seen if watched else _with_unseen(seen, drawing)
    parts = list(_parts(supposed, drawing))
    if supposed is not seen and _is_told(seen) and not any(part.surcharge_added for part in parts):
        # Its report has them, however many there were.
        parts = list(_parts(seen, drawing))
    elif supposed is not seen:
        most = PARTIAL_IMAGE_TOKENS * drawing.delivered(seen.images)
        parts = [
            replace(part, source=TokensFrom.ESTIMATED, surcharge=min(part.surcharge, most)) for part in parts
        ]
    lines, cost_nusd = lines_of([part.use for part in parts], at_s)
    counted = [part for part in parts if not part.use.is_empty]
    looks = sorted(seen.images, key=lambda image: not image.finished)
    seen_tool = bool(drawing.ask.where and (call.images or seen.tools or seen.images))
    return Settlement(
        lines=lines,
        cost_nusd=cost_nusd,
        tokens_from=max((part.source for part in counted), key=_SUREST.index, default=TokensFrom.NONE),
        priced_as=next((part.use.priced_as for part in counted if part.use.priced_as is not None), None),
        images=len(seen.finished),
        charged_images=max(len(seen.finished), seen.unread, sum(part.pictures for part in parts)),
        size=next((look.size for look in looks if look.size), None),
        quality=next((look.quality for look in looks if look.quality), None),
        partial_images_requested=None if asked_of(seen, call) is None else drawing.partials_each,
        partial_images_delivered=drawing.delivered(seen.images),
        partial_image_tokens=sum(part.surcharge for part in parts),
        surcharge_added=any(part.surcharge_added for part in parts),
        tool_model=drawing.found.name if drawing.found and seen_tool else None,
        response_id=seen.response_id,
        code=seen.code,
        outcome=seen.outcome,
    )


def lost(reserved: Estimate, *, at_s: float) -> Settlement:
    """A call whose process died, or whose hold ran out: it is charged what was reserved, until something better is known."""
    lines, cost_nusd = lines_of(reserved.uses, at_s)
    plain = Settlement(
        lines=lines,
        cost_nusd=cost_nusd,
        tokens_from=TokensFrom.ESTIMATED if lines else TokensFrom.NONE,
        priced_as=reserved.priced_as,
        charged_images=reserved.images,
        outcome=Outcome.LOST,
    )
    # The estimate assumes the dearest tier and a written cache of the models that write, which come last.
    return raised(plain, reserved.cost_nusd)


def raised(settled: Settlement, to: NanoUSD, model: str = "") -> Settlement:
    """
    A settlement that comes to this at least. Its last line takes what is missing, without tokens for it.

    Args:
        settled: as it is.
        to: what it has to come to.
        model: of the line, where there is none.
    """
    missing = to - settled.cost_nusd
    if missing <= 0:
        return settled
    *others, last = settled.lines or (Line(model=model, role=Role.MAIN),)
    dearer = replace(last, cost_nusd=NanoUSD(last.cost_nusd + missing))
    return replace(settled, lines=(*others, dearer), cost_nusd=to, tokens_from=TokensFrom.ESTIMATED)


def _with_unseen(seen: Observation, drawing: Drawing) -> Observation:
    """The answer as if all partial images had been delivered that can have been; itself where there were none."""
    if not drawing.call.stream:
        return seen
    each = drawing.partials_each
    images = tuple(replace(image, partials=max(image.partials, each)) for image in seen.images)
    return seen if images == seen.images else replace(seen, images=images)


def _is_told(seen: Observation) -> bool:
    """Whether the answer reports its pictures."""
    return seen.image_usage is not None and seen.image_usage.has_output


def _parts(seen: Observation, drawing: Drawing) -> Iterator[Part]:
    if seen.ending is Ending.UNSENT:
        return
    is_images = drawing.call.match.route.name.startswith("images.")
    if seen.status is not None and seen.status >= _NO_SUCCESS and not is_unsure(seen):
        if drawing.rules.bill_moderated and seen.blocked:
            yield from blocked(drawing, pictures=pictures_asked(drawing.ask))
    elif is_images:
        yield from _images(seen, drawing)
    else:
        yield from _response(seen, drawing)


def is_unsure(seen: Observation) -> bool:
    """Whether an error status leaves open what became of the call."""
    status = seen.status or 0
    return status in UNSURE or (status >= _SERVER_ERROR and not seen.whole)


def _images(seen: Observation, drawing: Drawing) -> Iterator[Part]:
    if seen.image_usage is not None or seen.finished or (seen.whole and seen.lists_images):
        yield from finished(drawing, seen, seen.images)
    elif seen.stream and seen.end is End.FAILED:
        free = bool(seen.blocked) and not drawing.rules.bill_moderated
        yield from interrupted(drawing, seen.interrupted, free=free)
        if drawing.rules.bill_moderated and seen.blocked and not seen.interrupted:
            yield from blocked(drawing, pictures=seen.blocked)
    else:
        yield from unknown(drawing, seen.images, pictures=drawing.reserved.images)


def _response(seen: Observation, drawing: Drawing) -> Iterator[Part]:
    over = seen.end in {End.COMPLETED, End.INCOMPLETE} or seen.response_status in {"completed", "incomplete"}
    failed = seen.end is End.FAILED or seen.response_status == "failed"
    compacted = drawing.call.match.route.name == "responses.compact" and seen.whole
    if over or failed or compacted or seen.text_usage is not None:
        yield from _drawn(seen, drawing)
        yield from _mainline(seen, drawing, gave_nothing=failed)
    else:
        calls = max(calls_reserved(drawing.call, drawing.rules), len(seen.finished) + len(seen.open))
        yield from unknown(drawing, seen.images, pictures=calls)
        yield from _mainline(seen, drawing, gave_nothing=False)
    yield from _hosted(seen, drawing.catalog)


def _drawn(seen: Observation, drawing: Drawing) -> Iterator[Part]:
    """The pictures of a response that came to its end: as its `tool_usage` has them, else one by one."""
    said = None if seen.image_usage is None or seen.image_usage.is_zero else seen.image_usage
    if said is not None and said.has_output:
        yield from finished(drawing, seen, seen.images)
        return
    closed = tuple(image for image in seen.images if image not in seen.interrupted)
    if said is not None or seen.finished or drawing.delivered(closed):
        yield from finished(drawing, replace(seen, image_usage=said), closed)
    yield from interrupted(drawing, seen.interrupted)
    if drawing.rules.bill_moderated:
        yield from blocked(drawing, pictures=seen.blocked)


def _mainline(seen: Observation, drawing: Drawing, *, gave_nothing: bool) -> Iterator[Part]:
    """The model that answered. `gave_nothing`: a response that failed without a report is not charged for it."""
    call = drawing.call
    found = settled_author((call.model, seen.model), drawing.catalog, drawing.rules)
    if found is None or (seen.text_usage is None and gave_nothing):
        return
    held = next((use for use in drawing.reserved.uses if use.role is Role.MAIN), Use(name="", role=Role.MAIN))
    said = seen.text_usage or TextUsage()
    read = held.input_text if said.input_tokens is None else said.input_tokens
    cached = min(said.cached_tokens or 0, read)
    guessed = said.input_tokens is None or said.output_tokens is None
    use = Use(
        name=found.name,
        role=Role.MAIN,
        model=found.model,
        priced_as=found.priced_as,
        tier=tier_of(call.service_tier, seen.service_tier),
        input_text=read,
        cached_text=cached,
        cache_write=min(said.cache_write_tokens or 0, read - cached),
        output_text=held.output_text if said.output_tokens is None else said.output_tokens,
    )
    yield Part(use, TokensFrom.ESTIMATED if guessed else TokensFrom.REPORTED)


def _hosted(seen: Observation, catalog: Catalog) -> Iterator[Part]:
    """Hosted tools that are paid by the call: a line of their own, under the tool's name."""
    for used in seen.tool_calls:
        price = catalog.tool_prices.get(used.tool)
        if price is not None:
            fixed = PicoUSD(used.calls * price)
            yield Part(Use(name=used.tool, role=Role.MAIN, fixed=fixed), TokensFrom.REPORTED)
