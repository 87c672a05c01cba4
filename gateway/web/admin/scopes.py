"""
`/admin/teams` and `/admin/org`: who there is, and limits that are set while running.

Teams, names and permissions come from the configuration file; limits too, until somebody sets others here. Those hold
from the next call on, in every worker on the store, and through restarts, until they are taken away again: then what
is configured holds.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Never

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.core.directory import Directory, Entry
from gateway.core.errors import Code, Refusal, Refused, quoted
from gateway.core.limits import Limit, parse_limit
from gateway.ports import LargeLimitError, Ledger
from gateway.web.admin.auth import guarded
from gateway.web.admin.body import read_object
from gateway.web.admin.lists import ListResponse
from gateway.web.admin.query import Query, refused

MOST_LIMITS: Final = 64
"""Of one scope: every call looks at all of them."""
_NONE: Final[frozenset[str]] = frozenset()


def routes(ledger: Ledger, directory: Directory, token: str) -> list[Route]:
    """
    All routes, behind the token.

    Args:
        ledger: keeps the limits that are set while running.
        directory: the scopes as configured.
        token: the admin token.
    """
    scopes = _Scopes(ledger, directory)
    team, org = "/admin/teams/{id}", "/admin/org"
    return [
        Route("/admin/teams", guarded(scopes.list_teams, token), methods=["GET"]),
        Route(team, guarded(scopes.show_team, token), methods=["GET"]),
        Route(team, guarded(scopes.change_team, token), methods=["PUT"]),
        Route(team, guarded(scopes.reset_team, token), methods=["DELETE"]),
        Route(org, guarded(scopes.show_org, token), methods=["GET"]),
        Route(org, guarded(scopes.change_org, token), methods=["PUT"]),
    ]


@dataclass(frozen=True, slots=True)
class _Scopes:
    ledger: Ledger
    directory: Directory

    async def list_teams(self, request: Request) -> Response:
        Query(request, _NONE)
        changed = await self.ledger.changed_limits()

        async def shown() -> AsyncIterator[dict[str, object]]:
            for entry in self.directory.teams:
                yield _shown(entry, changed)

        return await ListResponse.made(shown())

    async def show_team(self, request: Request) -> Response:
        return await self._show(self._team(request))

    async def change_team(self, request: Request) -> Response:
        return await self._change(request, self._team(request))

    async def reset_team(self, request: Request) -> Response:
        entry = self._team(request)
        await self.ledger.set_limits(entry.counted_as, None)
        return await self._show(entry)

    async def show_org(self, _request: Request) -> Response:
        return await self._show(self.directory.org)

    async def change_org(self, request: Request) -> Response:
        return await self._change(request, self.directory.org)

    async def _show(self, entry: Entry) -> Response:
        return JSONResponse(_shown(entry, await self.ledger.changed_limits()))

    async def _change(self, request: Request, entry: Entry) -> Response:
        limits = _asked(await read_object(request), entry)
        try:
            await self.ledger.set_limits(entry.counted_as, limits)
        except LargeLimitError as error:
            _fail(f"limits[{(limits or ()).index(error.limit)}]", str(error))
        return await self._show(entry)

    def _team(self, request: Request) -> Entry:
        team_id = request.path_params["id"]
        entry = self.directory.team(team_id)
        if entry is None:
            message = f"There is no team {quoted(team_id)}. Teams come from the configuration file."
            raise Refused(Refusal(Code.NOT_FOUND, message, param="id"))
        return entry


def _shown(entry: Entry, changed: Mapping[str, tuple[Limit, ...]]) -> dict[str, object]:
    own = changed.get(entry.counted_as)
    limits = entry.limits if own is None else own
    return {
        "object": entry.scope.kind,
        "id": entry.scope.id,
        "name": entry.name,
        "limits": [one.text for one in limits],
        "limits_from": "config" if own is None else "admin",
        "allow": entry.allowed(),
    }


def _asked(body: Mapping[str, object], entry: Entry) -> tuple[Limit, ...] | None:
    """
    The limits that a body asks for; None: those configured. What else it says must be as it is.

    An answer of GET may come back as a body: what it says of `limits_from` is not asked for, and left.
    """
    fixed: dict[str, Callable[[object], bool]] = {
        "object": lambda value: value == entry.scope.kind,
        "id": lambda value: value == entry.scope.id,
        "name": lambda value: value == entry.name,
        "allow": lambda value: _narrowed(value) == entry.allowed(),
        "limits_from": lambda value: value in {"config", "admin"} if isinstance(value, str) else False,
    }
    for name, value in body.items():
        if name == "limits":
            continue
        if name not in fixed:
            known = ", ".join(["limits", *fixed])
            raise refused(name, f"There is no field {quoted(name)} here; there are {known}.")
        if not fixed[name](value):
            raise refused(
                name, f"{name} comes from the configuration file: change it there, or leave it out here."
            )
    if "limits" not in body:
        raise refused("limits", 'Say the limits: "limits": ["$500 per month"], or null for those configured.')
    return _limits(body["limits"])


def _narrowed(value: object) -> object:
    """What is null is not narrowed."""
    if isinstance(value, dict):
        return {name: one for name, one in value.items() if one is not None}
    return value


def _limits(value: object) -> tuple[Limit, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise refused("limits", 'limits is a list of texts, such as ["$500 per month"], or null.')
    if len(value) > MOST_LIMITS:
        raise refused("limits", f"These are {len(value)} limits; a scope has {MOST_LIMITS} at most.")
    return tuple(_limit(number, one) for number, one in enumerate(value))


def _limit(number: int, value: object) -> Limit:
    place = f"limits[{number}]"
    if not isinstance(value, str):
        _fail(place, f'{place} is not a text. Write limits as "$500 per month" or "4 concurrent".')
    try:
        return parse_limit(value)
    except ValueError as error:
        _fail(place, str(error))


def _fail(place: str, message: str) -> Never:
    raise refused(place, message) from None
