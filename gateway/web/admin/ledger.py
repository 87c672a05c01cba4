"""`GET /admin/ledger` and `GET /admin/usage`: what was used, request by request and in sums."""

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.core.errors import Code, Refusal, Refused, quoted
from gateway.core.ledger import LedgerFilter, grouping, place_after
from gateway.core.record import Outcome, Record
from gateway.flow.usage import usage
from gateway.ports import Calendar, LedgerReader
from gateway.web.admin.auth import guarded
from gateway.web.admin.lists import ListResponse
from gateway.web.admin.shapes import record_json

T = TypeVar("T")
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
        asked = _Query(request, _LEDGER)
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
        asked = _Query(request, _USAGE)
        by = asked.read("by", grouping) or ()
        since, until = asked.read("since", calendar.instant), asked.read("until", calendar.instant)
        rows = usage(ledger, calendar, by, since, until)
        return await ListResponse.made(row.told(by) async for row in rows)

    return [
        Route("/admin/ledger", guarded(show_ledger, token), methods=["GET"]),
        Route("/admin/usage", guarded(show_usage, token), methods=["GET"]),
    ]


class _Query:
    """The parameters of a request, each of them once."""

    def __init__(self, request: Request, known: frozenset[str]) -> None:
        self._params = request.query_params
        for name in self._params:
            if name not in known:
                raise _refused(
                    name, f"There is no parameter {quoted(name)} here; there are {', '.join(sorted(known))}."
                )
            if len(self._params.getlist(name)) > 1:
                raise _refused(name, f"The parameter {quoted(name)} is there twice.")

    def text(self, name: str) -> str | None:
        """As it was sent; None: it was not."""
        return self._params.get(name)

    def read(self, name: str, reader: Callable[[str], T]) -> T | None:
        """As the reader understands it; what it raises as ValueError becomes a refusal."""
        text = self._params.get(name)
        if text is None:
            return None
        try:
            return reader(text)
        except ValueError as error:
            raise _refused(name, str(error)) from None


def _refused(name: str, message: str) -> Refused:
    return Refused(Refusal(Code.INVALID_TYPE, message, param=name[:80]))


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
