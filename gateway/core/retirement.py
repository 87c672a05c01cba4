"""
Which models OpenAI has retired or is about to, and what to use instead.

The days are the catalogue's (`shutdown`). They are worth a word to the operator and nothing more: no call is refused
for them, since compatible servers keep old models alive, and OpenAI itself says no when the day has come. Whoever
runs such a server says so in a catalogue file of their own: an entry without `shutdown` never retires.

Not here: how a day is written, who is told and how often (flow/notices.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.core.call import Call
from gateway.core.catalog import Catalog, ImageModel, PerImageModel

DAY_S: Final = 86_400
NOTICE_DAYS: Final = 60
"""How long before its last day a model is worth a word. Mainline models are announced half a year ahead, which would be
noise for months; to move to another model takes a team weeks."""


@dataclass(frozen=True, slots=True)
class Retirement:
    """
    A model's end.

    `name`: as it was asked for. `shutdown_s`: the day, epoch seconds of its first moment in UTC. `is_over`: it has come.
    `instead`: a model to use, if the catalogue knows one.
    """

    name: str
    shutdown_s: int
    is_over: bool
    instead: str | None


def retirement_of(name: str, catalog: Catalog, *, at_s: float) -> Retirement | None:
    """
    The end of the model of exactly this name, if it has come or is near.

    Args:
        name: as a request or a list has it. An unknown one has no end that we know of.
        catalog: where the day stands.
        at_s: today, epoch seconds.
    """
    shutdown_s = _shutdown_s(name, catalog)
    if shutdown_s is None or shutdown_s - at_s > NOTICE_DAYS * DAY_S:
        return None
    return Retirement(name, shutdown_s, shutdown_s <= at_s, _instead(name, catalog, at_s))


def models_of(call: Call, catalog: Catalog) -> Iterator[str]:
    """The names of the models that a call makes work: as asked, else the catalogue's default. A name may come twice."""
    if call.takes_model:
        name = call.model or catalog.default_model(call.match.route.name)
        if name is not None:
            yield name
    for ask in call.images:
        if ask.where:
            yield ask.model or catalog.default_tool_model
    for author in call.authors:
        yield author.value


def _shutdown_s(name: str, catalog: Catalog) -> int | None:
    model = catalog.find(name)
    return None if model is None else model.shutdown_s


def _instead(name: str, catalog: Catalog, at_s: float) -> str | None:
    """
    For a model that draws, the catalogue's choice for the image tool, unless its own end is near.

    Nobody says which mainline model takes another's place: that is a matter of money and taste.
    """
    default = catalog.default_tool_model
    if not isinstance(catalog.find(name), ImageModel | PerImageModel):
        return None
    shutdown_s = _shutdown_s(default, catalog)
    near = shutdown_s is not None and shutdown_s - at_s <= NOTICE_DAYS * DAY_S
    return None if near or default == name else default
