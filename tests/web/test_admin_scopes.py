"""`/admin/teams` and `/admin/org` as a client sees them, over a real ledger."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.directory import Directory, Entry
from gateway.core.limits import parse_limit
from gateway.core.principal import Allow, Scope
from gateway.core.quota import FIRST_DOOR, Claim, Exceeded, Standing
from gateway.web.admin.body import MOST_BYTES
from gateway.web.admin.scopes import MOST_LIMITS, routes
from tests.support.ledger import NOON
from tests.support.redis import TAGS, shared_ledger, shared_server

TOKEN = "admin-token"
FIVE = parse_limit("$5 per month")
DESIGN = Entry(Scope("team", "design", Allow(models=("gpt-image-*",), max_n=2), (FIVE,)), "Design")
WEB = Entry(Scope("team", "web"))
DIRECTORY = Directory(Entry(Scope("org", "acme", limits=(FIVE,))), (DESIGN, WEB))
AS_CONFIGURED = {
    "object": "team",
    "id": "design",
    "name": "Design",
    "limits": ["$5 per month"],
    "limits_from": "config",
    "allow": {"models": ["gpt-image-*"], "max_n": 2},
}


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    made = SqliteLedger.open(tmp_path, lambda: NOON)
    yield made
    await made.aclose()


class Admin:
    """A client with the token."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        answer = await self.client.request(method, path, **body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def get(self, path: str = "/admin/teams/design", status: int = 200) -> Any:
        return await self.ask("GET", path, status)

    async def put(self, body: object, path: str = "/admin/teams/design", status: int = 200) -> Any:
        return await self.ask("PUT", path, status, json=body)


@pytest.fixture
async def admin(ledger: SqliteLedger) -> AsyncIterator[Admin]:
    app = Starlette(routes=routes(ledger, DIRECTORY, TOKEN))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app),
        base_url="http://ops",
        headers={"authorization": f"Bearer {TOKEN}"},
    ) as client:
        yield Admin(client)


async def test_a_team_is_shown_as_configured(admin: Admin) -> None:
    assert await admin.get() == AS_CONFIGURED


async def test_all_teams_are_listed_in_the_order_of_the_file(admin: Admin) -> None:
    await admin.put({"limits": ["4 concurrent"]}, "/admin/teams/web")
    found = await admin.get("/admin/teams")
    assert (found["object"], found["next_cursor"]) == ("list", None)
    assert found["data"] == [
        AS_CONFIGURED,
        {
            "object": "team",
            "id": "web",
            "name": None,
            "limits": ["4 concurrent"],
            "limits_from": "admin",
            "allow": {},
        },
    ]


async def test_limits_are_set_told_in_their_canonical_form_and_taken_away_again(admin: Admin) -> None:
    changed = await admin.put({"limits": ["20 IMAGES/minute", "$1.50 per day soft"]})
    expected = AS_CONFIGURED | {
        "limits": ["20 images per minute", "$1.50 per day soft"],
        "limits_from": "admin",
    }
    assert changed == expected
    assert await admin.get() == expected
    assert await admin.ask("DELETE", "/admin/teams/design") == AS_CONFIGURED
    assert await admin.get() == AS_CONFIGURED
    assert await admin.ask("DELETE", "/admin/teams/design") == AS_CONFIGURED, "it can be said twice"


async def test_an_empty_list_is_no_limit_and_null_is_the_configured_ones(admin: Admin) -> None:
    assert (await admin.put({"limits": []}))["limits"] == []
    assert (await admin.get())["limits_from"] == "admin"
    assert await admin.put({"limits": None}) == AS_CONFIGURED


async def test_the_organisation_is_limited_likewise(admin: Admin) -> None:
    configured = await admin.get("/admin/org")
    assert configured == {
        "object": "org",
        "id": "acme",
        "name": None,
        "limits": ["$5 per month"],
        "limits_from": "config",
        "allow": {},
    }
    changed = await admin.put({"limits": ["1 image total"]}, "/admin/org")
    assert (changed["limits"], changed["limits_from"]) == (["1 image total"], "admin")
    assert await admin.put({"limits": None}, "/admin/org") == configured


async def test_what_get_told_may_be_put_back(admin: Admin) -> None:
    told = await admin.get()
    assert await admin.put(told | {"limits": ["1 image total"]}) == AS_CONFIGURED | {
        "limits": ["1 image total"],
        "limits_from": "admin",
    }


async def test_the_next_call_is_judged_by_them_in_every_worker(
    ledger: SqliteLedger, admin: Admin, tmp_path: Path
) -> None:
    other = SqliteLedger.open(tmp_path, lambda: NOON)

    async def ask(name: str) -> Standing | Exceeded:
        frames = ZoneCalendar("UTC").frames(NOON)
        return await other.admit(
            Claim(id=name, claimants=(DESIGN.claimant,), asked=FIRST_DOOR, frames=frames)
        )

    assert isinstance(await ask("igr_1"), Standing)
    await admin.put({"limits": ["1 request per day"]})
    assert isinstance(await ask("igr_2"), Exceeded), "what was used before counts"
    await admin.ask("DELETE", "/admin/teams/design")
    assert isinstance(await ask("igr_3"), Standing)
    await other.aclose()
    assert await ledger.changed_limits() == {}


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({}, "limits", 'Say the limits: "limits": ["$500 per month"], or null'),
        ({"limits": "$5 per month"}, "limits", "limits is a list of texts"),
        ({"limits": {"usd": 5}}, "limits", "limits is a list of texts"),
        ({"limits": ["$5 per month", 5]}, "limits[1]", "limits[1] is not a text."),
        ({"limits": ["$5 per moth"]}, "limits[0]", '"$5 per moth" is not a limit: it says $5'),
        ({"limits": ["0 images total"]}, "limits[0]", '"0 images total" is not a limit: a limit of 0'),
        ({"limits": ["1 concurrent"] * (MOST_LIMITS + 1)}, "limits", "These are 65 limits; a scope has 64"),
        ({"limits": [], "name": "Other"}, "name", "name comes from the configuration file"),
        ({"limits": [], "allow": {}}, "allow", "allow comes from the configuration file"),
        ({"limits": [], "allow": None}, "allow", "allow comes from the configuration file"),
        ({"limits": [], "id": "web"}, "id", "id comes from the configuration file"),
        ({"limits": [], "limit": []}, "limit", "There is no field 'limit' here; there are limits, object"),
    ],
)
async def test_what_cannot_be_set_is_refused_and_changes_nothing(
    admin: Admin, body: object, param: str, message: str
) -> None:
    error = (await admin.put(body, status=400))["error"]
    assert (error["code"], error["param"]) == ("invalid_type", param)
    assert error["message"].startswith(message)
    assert await admin.get() == AS_CONFIGURED


async def test_permissions_as_they_are_may_be_said_with_nulls(admin: Admin) -> None:
    allow = {"models": ["gpt-image-*"], "max_n": 2, "prompts": None}
    assert await admin.put({"limits": None, "allow": allow, "name": "Design"}) == AS_CONFIGURED


@pytest.mark.parametrize(
    ("content", "code", "status"),
    [
        (b"", "invalid_json", 400),
        (b"{", "invalid_json", 400),
        (b"\xff", "invalid_json", 400),
        (b"[]", "invalid_json", 400),
        (b'{"limits": [], "limits": ["$5 total"]}', "duplicate_field", 400),
        (b'{"limits": []}' + b" " * MOST_BYTES, "request_too_large", 413),
    ],
)
async def test_a_body_that_cannot_be_read_in_one_way_is_refused(
    admin: Admin, content: bytes, code: str, status: int
) -> None:
    error = (await admin.ask("PUT", "/admin/teams/design", status, content=content))["error"]
    assert error["code"] == code
    assert await admin.get() == AS_CONFIGURED


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_team_that_nobody_configured_is_not_found(admin: Admin, method: str) -> None:
    body: dict[str, Any] = {"json": {"limits": []}} if method == "PUT" else {}
    assert (await admin.ask(method, "/admin/teams/nobody", 404, **body))["error"] == {
        "message": "There is no team 'nobody'. Teams come from the configuration file.",
        "type": "invalid_request_error",
        "param": "id",
        "code": "not_found",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/admin/teams"),
        ("GET", "/admin/teams/design"),
        ("PUT", "/admin/teams/design"),
        ("DELETE", "/admin/teams/design"),
        ("GET", "/admin/org"),
        ("PUT", "/admin/org"),
    ],
)
async def test_who_has_not_the_token_sees_and_changes_nothing(admin: Admin, method: str, path: str) -> None:
    body: dict[str, Any] = {"json": {"limits": []}} if method == "PUT" else {}
    answer = await admin.client.request(method, path, headers={"authorization": "Bearer no"}, **body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert await admin.get() == AS_CONFIGURED


async def test_a_limit_that_the_store_cannot_count_against_is_the_clients_mistake() -> None:
    """A Redis counts in doubles: it says so, and the API says which limit it is."""
    address = shared_server("redis").address
    made = await asyncio.to_thread(shared_ledger, address, f"scopes-{next(TAGS)}", lambda: NOON)
    transport = httpx2.ASGITransport(app=Starlette(routes=routes(made, DIRECTORY, TOKEN)))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://ops", headers={"authorization": f"Bearer {TOKEN}"}
    ) as client:
        asked = Admin(client)
        answer = await asked.put({"limits": ["1 image per day", "$9000001 per month"]}, status=400)
        assert answer["error"]["param"] == "limits[1]"
        assert "$9000001 per month" in answer["error"]["message"]
        assert "$9,000,000" in answer["error"]["message"]
        assert await asked.get() == AS_CONFIGURED
        await asked.put({"limits": ["$9000000 per month"]})
    await made.aclose()
