from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.cli.guide.ledger import Office, priced
from gateway.cli.guide.table import Row
from gateway.core.record import CacheUse, Record
from gateway.core.units import NanoUSD
from gateway.web.admin.ledger import routes
from tests.support.ledger import NOON, record
from tests.support.sandbox import serve

TOKEN = "admin-token"


@contextmanager
def office(folder: Path, *pages: list[Record]) -> Iterator[Office]:
    """An admin API; before each time it is asked, the next page is written to its ledger."""
    ledger = SqliteLedger.open(folder, lambda: NOON)
    app = Starlette(routes=routes(ledger, ZoneCalendar("UTC"), TOKEN))
    left = iter(pages)

    async def writing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for one in next(left, []):
                await ledger.settle(one)
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await ledger.aclose()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await app(scope, receive, send)

    served: ASGIApp = writing
    with serve(served) as url:
        yield Office(url, TOKEN)


def row(*numbers: int, faults: tuple[str, ...] = ()) -> Row:
    return Row("a", "gpt-image-2", 1, 0, 272, 1.0, faults, tuple(record(number).id for number in numbers))


def test_a_row_costs_what_its_answers_cost(tmp_path: Path) -> None:
    records = [record(number, cost_nusd=NanoUSD(10**number)) for number in (1, 2, 3)]
    with office(tmp_path, records) as asked:
        found = priced([row(1, 2), row(3), row()], asked, tries=1)

    assert [each.cost for each in found] == [110, 1000, 0]
    assert not any(each.faults for each in found)


def test_a_row_says_what_the_cache_had_to_do_with_its_answers(tmp_path: Path) -> None:
    records = [record(1), record(2, cache=CacheUse.HIT), record(3, cache=CacheUse.HIT)]
    with office(tmp_path, records) as asked:
        found = priced([row(1), row(2), row(2, 3), row(1, 2), row()], asked, tries=1)

    assert [each.cache for each in found] == ["miss", "hit", "hit", None, None]


def test_a_record_that_comes_a_moment_later_is_waited_for(tmp_path: Path) -> None:
    with office(tmp_path, [record(1)], [record(2)]) as asked:
        found = priced([row(1), row(2)], asked, tries=2)

    assert [each.cost for each in found] == [8_160_000, 8_160_000]


def test_patience_ends_and_the_row_says_what_is_missing(tmp_path: Path) -> None:
    with office(tmp_path, [record(1)]) as asked:
        right, wrong = priced([row(1), row(1, 2, faults=("it broke",))], asked, tries=2)

    assert (right.cost, right.faults) == (8_160_000, ())
    assert wrong.cost is None
    assert wrong.faults == ("it broke", f"the gateway's ledger has no record of {record(2).id}")


def test_a_ledger_that_may_not_be_read_is_told_to_the_caller(tmp_path: Path) -> None:
    with office(tmp_path) as asked, pytest.raises(httpx2.HTTPStatusError, match="401"):
        priced([row(1)], Office(asked.url, "wrong"))
