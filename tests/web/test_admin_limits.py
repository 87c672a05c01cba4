"""`/admin/limits` as a client sees it, over a real ledger."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.core.directory import Directory, Entry
from gateway.core.ledger import OpenCall
from gateway.core.limits import parse_limit
from gateway.core.principal import Scope
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Standing
from gateway.core.units import NanoUSD
from gateway.ports import LedgerReader
from gateway.web.admin.limits import routes
from tests.support.clock import FakeClock
from tests.support.ledger import NOON, noted, record

TOKEN = "admin-token"
CALENDAR = ZoneCalendar("Asia/Tokyo")
SAID = {
    "org": ("$500 per month", "1000 tokens total"),
    "team": ("20 images per minute", "2 concurrent", "$0.03 per day soft", "9 requests per week"),
    "key": (),
}


def scope(kind: str, name: str) -> Entry:
    return Entry(Scope(kind, name, limits=tuple(parse_limit(one) for one in SAID[kind])))


DIRECTORY = Directory(scope("org", "acme"), (scope("team", "design"),), (scope("key", "design-1"),))


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    made = SqliteLedger.open(tmp_path, lambda: NOON)
    yield made
    await made.aclose()


def client_of(reader: LedgerReader) -> httpx2.AsyncClient:
    clock = FakeClock()
    clock.seconds = NOON
    app = Starlette(routes=routes(reader, DIRECTORY, CALENDAR, clock, TOKEN))
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://ops",
        headers={"authorization": f"Bearer {TOKEN}"},
    )


async def shown(ledger: SqliteLedger, query: str, status: int = 200) -> Any:
    async with client_of(ledger) as client:
        answer = await client.get(f"/admin/limits{query}")
    assert answer.status_code == status, answer.text
    return answer.json()


async def use(ledger: SqliteLedger) -> None:
    """One call that is over and came to a cent, one that is under way and holds two."""
    asked = FIRST_DOOR + Amounts(images=1, image_tokens=660, tokens=725, cost_nusd=NanoUSD(20_000_000))
    for number in (1, 2):
        claimants = tuple(entry.claimant for entry in reversed(list(DIRECTORY)))
        one = record(number)
        claim = Claim(id=one.id, claimants=claimants, asked=asked, frames=CALENDAR.frames(NOON))
        assert isinstance(
            await ledger.reserve(OpenCall(record=noted(number), dispatched=True), claim, force=True), Standing
        )
    await ledger.settle(record(1, cost_nusd=NanoUSD(10_000_000)), 1)


async def test_limits_are_shown_in_order_with_what_is_used_and_held(ledger: SqliteLedger) -> None:
    await use(ledger)
    assert await shown(ledger, "?scope=team:design") == {
        "scope": "team:design",
        "limits": [
            {
                "limit": "20 images per minute",
                "unit": "images",
                "window": "minute",
                "max": "20",
                "used": "1",
                "held": "1",
                "remaining": "18",
                "resets_at": None,
            },
            {
                "limit": "2 concurrent",
                "unit": "concurrent",
                "window": None,
                "max": "2",
                "used": "1",
                "held": "0",
                "remaining": "1",
                "resets_at": None,
            },
            {
                "limit": "$0.03 per day soft",
                "unit": "usd",
                "window": "day",
                "max": "0.03",
                "used": "0.01",
                "held": "0.02",
                "remaining": "0",
                "resets_at": "2027-01-15T15:00:00Z",
            },
            {
                "limit": "9 requests per week",
                "unit": "requests",
                "window": "week",
                "max": "9",
                "used": "2",
                "held": "0",
                "remaining": "7",
                "resets_at": "2027-01-17T15:00:00Z",
            },
        ],
    }


async def test_each_scope_shows_its_own_limits_only(ledger: SqliteLedger) -> None:
    await use(ledger)
    org = await shown(ledger, "?scope=org")
    assert [(one["limit"], one["used"], one["held"], one["resets_at"]) for one in org["limits"]] == [
        ("$500 per month", "0.01", "0.02", "2027-01-31T15:00:00Z"),
        ("1000 tokens total", "283", "725", None),
    ]
    assert await shown(ledger, "?scope=key:design-1") == {"scope": "key:design-1", "limits": []}


async def test_what_is_over_the_limit_leaves_nothing_and_no_less(ledger: SqliteLedger) -> None:
    await use(ledger)
    (_, tokens) = (await shown(ledger, "?scope=org"))["limits"]
    assert (tokens["max"], tokens["remaining"]) == ("1000", "0")


async def test_limits_set_while_running_stand_in_their_own_order(ledger: SqliteLedger) -> None:
    await use(ledger)
    await ledger.set_limits(
        "team:design", [parse_limit("3 images total"), parse_limit("1 request per second")]
    )
    found = await shown(ledger, "?scope=team:design")
    assert [(one["limit"], one["used"]) for one in found["limits"]] == [
        ("3 images total", "1"),
        ("1 request per second", "0"),
    ]
    await ledger.set_limits("team:design", [])
    assert (await shown(ledger, "?scope=team:design"))["limits"] == []


@pytest.mark.parametrize("name", ["team:nobody", "key:design", "design", "org:acme", "", "team:"])
async def test_a_scope_that_nobody_configured_is_not_found(ledger: SqliteLedger, name: str) -> None:
    assert (await shown(ledger, f"?scope={name}", 404))["error"] == {
        "message": f"There is no scope '{name}'. Write org, team:ID or key:ID, with an id of the configuration.",
        "type": "invalid_request_error",
        "param": "scope",
        "code": "not_found",
    }


@pytest.mark.parametrize(
    ("query", "param"), [("", "scope"), ("?scope=org&scope=org", "scope"), ("?a=b", "a")]
)
async def test_one_scope_is_asked_for(ledger: SqliteLedger, query: str, param: str) -> None:
    error = (await shown(ledger, query, 400))["error"]
    assert (error["code"], error["param"]) == ("invalid_type", param)


async def test_who_has_not_the_token_sees_nothing(ledger: SqliteLedger) -> None:
    async with client_of(ledger) as client:
        answer = await client.get("/admin/limits?scope=org", headers={"authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_store_that_fails_is_a_503(tmp_path: Path) -> None:
    async with client_of(SqliteReader(tmp_path / "gone")) as client:
        answer = await client.get("/admin/limits?scope=org")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_unavailable")
