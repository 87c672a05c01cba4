"""
`/admin/cache`: how full the cache is, and forgetting what it keeps.

A purge says what it is of: a body that names nothing is refused, so that no slip forgets everything.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.core.entry import EVERYTHING, CacheFilter, CacheStats
from gateway.core.errors import quoted
from gateway.web.admin.auth import guarded
from gateway.web.admin.body import read_object
from gateway.web.admin.query import Query, refused

_NONE: Final[frozenset[str]] = frozenset()
_FIELDS: Final = {"key": "key_id", "team": "team", "model": "model", "response_id": "response_id"}
"""Of a body -> of a filter."""
_ALL: Final = "all"
_ADVICE: Final = (
    'Say what to forget: {"team": "design"}, or key, model, response_id, several of them to narrow; {"all": true} '
    "for everything."
)


class Kept(Protocol):
    """What is kept."""

    async def stats(self) -> CacheStats:
        """How full the cache is."""
        ...

    async def purge(self, which: CacheFilter) -> int:
        """Forget answers. Returns how many."""
        ...


def routes(cache: Kept, token: str) -> list[Route]:
    """
    Both routes, behind the token.

    Args:
        cache: of this gateway; what one worker forgets is forgotten for all of them.
        token: the admin token.
    """

    async def show_stats(request: Request) -> Response:
        Query(request, _NONE)
        return JSONResponse(stats_json(await cache.stats()))

    async def purge(request: Request) -> Response:
        Query(request, _NONE)
        which = _asked(await read_object(request))
        return JSONResponse({"object": "cache.purge", "purged": await cache.purge(which)})

    return [
        Route("/admin/cache", guarded(show_stats, token), methods=["GET"]),
        Route("/admin/cache/purge", guarded(purge, token), methods=["POST"]),
    ]


def stats_json(stats: CacheStats) -> dict[str, object]:
    """How full a cache is; the team that takes most comes first."""
    shares = sorted(stats.teams.items(), key=lambda one: (-one[1].bytes, one[0]))
    return {
        "object": "cache",
        "entries": stats.entries,
        "bodies": stats.blobs,
        "bytes": stats.bytes,
        "max_bytes": stats.max_bytes,
        "teams": [{"team": team, "entries": share.entries, "bytes": share.bytes} for team, share in shares],
    }


def _asked(body: Mapping[str, object]) -> CacheFilter:
    for name in body:
        if name != _ALL and name not in _FIELDS:
            known = ", ".join([*_FIELDS, _ALL])
            raise refused(name, f"There is no field {quoted(name)} here; there are {known}.")
    if _ALL in body:
        if body[_ALL] is not True:
            raise refused(_ALL, "all is true, or not there.")
        if len(body) > 1:
            raise refused(_ALL, "all is everything: leave it out where something narrows, or say it alone.")
        return EVERYTHING
    if not body:
        raise refused(_ALL, f"This names nothing. {_ADVICE}")
    # null is no text either: it must not widen what is forgotten.
    return CacheFilter(**{_FIELDS[name]: _text(name, value) for name, value in body.items()})


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise refused(name, f"{name} is a text that is not empty. {_ADVICE}")
    return value
