"""`GET /admin/limits`: how far the limits of one scope are used."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.core.allowance import instant
from gateway.core.directory import Directory, Entry
from gateway.core.errors import Code, Refusal, Refused, quoted
from gateway.core.limits import Unit
from gateway.core.quota import Reading
from gateway.core.units import NanoUSD, usd_text
from gateway.ports import Calendar, Clock, LedgerReader
from gateway.web.admin.auth import guarded
from gateway.web.admin.query import Query, refused

_KNOWN = frozenset({"scope"})


def routes(
    ledger: LedgerReader, directory: Directory, calendar: Calendar, clock: Clock, token: str
) -> list[Route]:
    """
    The route, behind the token.

    Args:
        ledger: knows what was used, and what was set while running.
        directory: the scopes.
        calendar: the organisation's days.
        clock: for the windows of now.
        token: the admin token.
    """

    async def show_limits(request: Request) -> Response:
        entry = _entry(directory, Query(request, _KNOWN).text("scope"))
        now = clock.now()
        readings = await ledger.limits([entry.claimant], calendar.frames(now), now)
        return JSONResponse(limits_json(entry.counted_as, readings))

    return [Route("/admin/limits", guarded(show_limits, token), methods=["GET"])]


def limits_json(scope: str, readings: Sequence[Reading]) -> dict[str, object]:
    """The limits of a scope: amounts as decimal texts, money in USD, instants in RFC 3339."""
    return {"scope": scope, "limits": [_limit_json(one) for one in readings]}


def _limit_json(reading: Reading) -> dict[str, object]:
    limit = reading.limit
    return {
        "limit": limit.text,
        "unit": limit.unit.value,
        "window": None if limit.window is None else limit.window.value,
        "max": amount_text(limit.unit, limit.amount),
        "used": amount_text(limit.unit, reading.used),
        "held": amount_text(limit.unit, reading.held),
        "remaining": amount_text(limit.unit, reading.remaining),
        "resets_at": None if reading.resets_us is None else instant(reading.resets_us),
    }


def amount_text(unit: Unit, amount: int) -> str:
    """An amount as a decimal text: USD for money, else a count."""
    return usd_text(NanoUSD(amount)) if unit is Unit.USD else str(amount)


def _entry(directory: Directory, scope: str | None) -> Entry:
    if scope is None:
        raise refused("scope", "Say whose limits: scope=org, scope=team:ID or scope=key:ID.")
    entry = directory.find(scope)
    if entry is None:
        message = f"There is no scope {quoted(scope)}. Write org, team:ID or key:ID, with an id of the configuration."
        raise Refused(Refusal(Code.NOT_FOUND, message, param="scope"))
    return entry
