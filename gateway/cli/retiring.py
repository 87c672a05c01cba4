"""
Models that the operator relies on and that OpenAI has retired, or soon will.

None of it is a fault: a server that is not OpenAI's may keep a model alive. Globs are left alone, since they hold for
what comes after, too.
"""

from collections.abc import Iterator

from gateway.core.catalog import Catalog
from gateway.core.retirement import retirement_of
from gateway.flow.notices import sentence
from gateway.settings import Settings


def notes(settings: Settings, catalog: Catalog, now: float) -> tuple[str, ...]:
    """
    A sentence for each place that names such a model.

    Args:
        settings: whose allow-lists are looked through.
        catalog: the models, their days, and what a request means that names none.
        now: epoch seconds.
    """
    places = (*_listed(settings), *_defaults(catalog))
    ends = ((place, retirement_of(name, catalog, at_s=now)) for place, name in places)
    return tuple(f"{place}: {sentence(end)}" for place, end in ends if end is not None)


def _listed(settings: Settings) -> Iterator[tuple[str, str]]:
    scopes = [("org", settings.org.allow)]
    scopes += [(f"team[{team.id}]", team.allow) for team in settings.teams]
    scopes += [(f"key[{key.id}]", key.allow) for key in settings.keys]
    for scope, allow in scopes:
        for name in dict.fromkeys(allow.models or ()):
            yield f"{scope}.allow.models", name


def _defaults(catalog: Catalog) -> Iterator[tuple[str, str]]:
    for route, name in catalog.defaults.items():
        yield f"{route} without a model", name
    yield "the image tool without a model", catalog.default_tool_model
