"""`GET /admin/ledger` and `GET /admin/usage`: what was used, request by request and in sums."""

from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.core.errors import quoted
from gateway.core.ledger import LedgerFilter, grouping, place_after
from gateway.core.record import Outcome, Record
from gateway.flow.usage import usage
from gateway.ports import Calendar, LedgerReader
from gateway.web.admin.auth import guarded
from gateway.web.admin.lists import ListResponse
from gateway.web.admin.query import Query
from gateway.web.admin.shapes import record_json

LIMIT: Final = 100
MOST: Final = 1000
_LEDGER: Final = frozenset({"team", "key", "model", "outcome", "since", "until", "limit", "cursor"})
_USAGE: Final = frozenset({"by", "since", "until"})


def routes(ledger: LedgerReader, calendar: Calendar, token: str) -> list[Route]:
    """
    Both routes, behind the token.

    Args:
        ledger: to be read.
        calendar: the organisation's days.
        token: the admin token.
    """

    async def show_ledger(request: Request) -> Response:
        asked = Query(request, _LEDGER)
        page = await ledger.page(
            LedgerFilter(
                team=asked.text("team"),
                key=asked.text("key"),
                model=asked.text("model"),
                outcome=asked.read("outcome", _outcome),
                since=asked.read("since", calendar.instant),
                until=asked.read("until", calendar.instant),
            ),
            asked.read("cursor", place_after),
            asked.read("limit", _limit) or LIMIT,
        )
        return await ListResponse.made(_shown(page.records), page.next_cursor)

    async def show_usage(request: Request) -> Response:
        asked = Query(request, _USAGE)
        by = asked.read("by", grouping) or ()
        since, until = asked.read("since", calendar.instant), asked.read("until", calendar.instant)
        rows = usage(ledger, calendar, by, since, until)
        return await ListResponse.made(row.told(by) async for row in rows)

    return [
        Route("/admin/ledger", guarded(show_ledger, token), methods=["GET"]),
        Route("/admin/usage", guarded(show_usage, token), methods=["GET"]),
    ]


def _outcome(text: str) -> Outcome:
    try:
        return Outcome(text)
    except ValueError:
        known = ", ".join(one.value for one in Outcome)
        raise ValueError(f"{quoted(text)} is no outcome. There are {known}.") from None


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST):
        raise ValueError(f"{quoted(text)} is no limit. Write a number from 1 to {MOST}.")
    return int(text)


async def _shown(records: tuple[Record, ...]) -> AsyncIterator[dict[str, object]]:
    for record in records:
        yield record_json(record)
