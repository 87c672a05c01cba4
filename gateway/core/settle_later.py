"""
What a call cost whose end is seen by itself: a response in the background, asked for later, maybe by another process.

It costs what it would have cost in the foreground, if what was asked is still known and is still estimated as it was.
Else, and where the end does not say how far the work had come (it was cancelled, or deleted), whatever is not reported
is charged as the reservation: never less for having been forgotten.
"""

from typing import Final

from gateway.core.call import Call, ImageAsk
from gateway.core.catalog import Catalog
from gateway.core.errors import Refusal
from gateway.core.estimate import Estimate, estimate
from gateway.core.ledger import OpenCall
from gateway.core.observation import End, Observation
from gateway.core.pricing import AccountingRules
from gateway.core.record import Record, TokensFrom
from gateway.core.routes import ROUTES, Match
from gateway.core.settle import Settlement, raised, settle

_CREATE: Final = next(route for route in ROUTES if route.name == "responses.create")
_ENDED: Final = frozenset({"completed", "incomplete", "failed"})
_SURE: Final = frozenset({TokensFrom.REPORTED, TokensFrom.NONE})


def settle_later(seen: Observation, call: OpenCall, catalog: Catalog, rules: AccountingRules) -> Settlement:
    """
    What the call cost. It never raises, like `settle`.

    Args:
        seen: its end.
        call: as the ledger has it. Without what was asked an older version noted it.
        catalog: prices and rules, which may have changed since the call came.
        rules: the operator's, likewise.
    """
    known = call.record
    asked = call.call or Call(match=Match(_CREATE), model=known.model, background=True)
    found = estimate(asked, catalog, rules, at_s=known.at)
    held = Estimate() if call.call is None or isinstance(found, Refusal) else found
    settled = settle(seen, asked, held, catalog, rules, at_s=known.at, watched=False)
    is_said = seen.text_usage is not None or seen.response_status == "failed"
    if is_said and settled.tokens_from in _SURE:
        return settled
    has_ended = seen.response_status in _ENDED or seen.end is not End.NONE
    if has_ended and held.cost_nusd >= known.reserved_nusd:
        return settled
    return raised(settled, known.reserved_nusd, known.model or "")


def as_recorded(known: Record) -> Call:
    """
    What was asked, as far as its record tells. Partial images that were asked for may have been streamed.

    So a report that may have left them out is no better than the guess that it would take the place of.
    """
    ask = ImageAsk(
        where="tools[0].",
        model=known.tool_model,
        size=known.size,
        quality=known.quality,
        partial_images=known.partial_images_requested,
    )
    return Call(
        match=Match(_CREATE),
        model=known.model,
        images=() if known.tool_model is None else (ask,),
        stream=bool(known.partial_images_requested),
        background=True,
    )
