"""`/admin/ledger` and `/admin/usage` as a client sees them, over a real ledger."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.connection import FILE
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.core.ledger import TOLD
from gateway.core.record import CacheUse, Outcome
from gateway.core.units import NanoUSD
from gateway.ports import LedgerReader
from gateway.web.admin import lists
from gateway.web.admin.ledger import routes
from tests.support.ledger import NOON, record

TOKEN = "admin-token"


class Admin:
    """A client with the token."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def get(self, path: str, status: int = 200) -> Any:
        answer = await self.client.get(path, headers={"authorization": f"Bearer {TOKEN}"})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def ids(self, query: str) -> list[str]:
        return [row["id"] for row in (await self.get(f"/admin/ledger{query}"))["data"]]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqliteLedger]:
    made = SqliteLedger.open(tmp_path, lambda: NOON)
    yield made
    await made.aclose()


def client_of(reader: LedgerReader) -> httpx2.AsyncClient:
    app = Starlette(routes=routes(reader, ZoneCalendar("Asia/Tokyo"), TOKEN))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://ops")


@pytest.fixture
async def admin(ledger: SqliteLedger) -> AsyncIterator[Admin]:
    async with client_of(ledger) as client:
        yield Admin(client)


async def test_a_record_is_shown_with_every_field_and_no_other(ledger: SqliteLedger, admin: Admin) -> None:
    await ledger.settle(record(1, at=NOON + 0.25, code="inside", upstream_status=200))
    found = await admin.get("/admin/ledger")
    assert found == {
        "object": "list",
        "data": [
            {
                "id": "igr_00000001",
                "at": "2027-01-15T12:00:00.250000Z",
                "org": "default",
                "team": "design",
                "key": "design-1",
                "tags": {"campaign": "spring"},
                "route": "images.generations",
                "model": "gpt-image-2",
                "tool_model": None,
                "stream": False,
                "status": 200,
                "outcome": "completed",
                "cache": "miss",
                "images": 1,
                "size": "1024x1024",
                "quality": "low",
                "partial_images_requested": None,
                "partial_images_delivered": 0,
                "input_text_tokens": 11,
                "input_image_tokens": 0,
                "cached_input_tokens": 0,
                "output_image_tokens": 272,
                "partial_image_tokens": 0,
                "output_text_tokens": 0,
                "tokens_from": "reported",
                "priced_as": None,
                "cost_nusd": 8_160_000,
                "saved_nusd": 0,
                "reserved_nusd": 20_000_000,
                "lines": [
                    {
                        "model": "gpt-image-2",
                        "role": "image",
                        "input_text": 11,
                        "input_image": 0,
                        "cached_text": 0,
                        "cached_image": 0,
                        "cache_write": 0,
                        "output_image": 272,
                        "output_text": 0,
                        "cost_nusd": 8_160_000,
                    }
                ],
                "upstream_request_id": None,
                "response_id": None,
                "credential": None,
                "duration_ms": 1234.5,
                "upstream_ms": None,
                "first_byte_ms": None,
                "bytes_in": 0,
                "bytes_out": 0,
                "retry_count": 0,
            }
        ],
        "next_cursor": None,
    }


async def test_the_ledger_is_read_page_by_page_newest_first(ledger: SqliteLedger, admin: Admin) -> None:
    for number in range(150):
        await ledger.settle(record(number))
    first = await admin.get("/admin/ledger")
    assert len(first["data"]) == 100
    second = await admin.get(f"/admin/ledger?cursor={first['next_cursor']}")
    assert second["next_cursor"] is None
    assert [row["id"] for row in first["data"] + second["data"]] == [
        record(number).id for number in reversed(range(150))
    ]
    assert len(await admin.ids("?limit=1000")) == 150


async def test_the_ledger_is_filtered(ledger: SqliteLedger, admin: Admin) -> None:
    await ledger.settle(record(1))
    await ledger.settle(record(2, team="web", key="web-1", model="gpt-image-1", outcome=Outcome.FAILED))
    one, two = record(1).id, record(2).id
    for query, expected in {
        "?team=web": [two],
        "?key=design-1": [one],
        "?model=gpt-image-1": [two],
        "?outcome=failed": [two],
        "?since=2027-01-15T12:00:02Z": [two],
        "?until=2027-01-15T12:00:02Z": [one],
        "?until=2027-01-16": [two, one],
        "?since=2027-01-16": [],
        "?team=design&outcome=failed": [],
    }.items():
        assert await admin.ids(query) == expected, query


async def test_usage_is_summed_by_what_is_asked(ledger: SqliteLedger, admin: Admin) -> None:
    await ledger.settle(record(1))
    await ledger.settle(record(2, at=NOON + 12 * 3600, cache=CacheUse.HIT, saved_nusd=NanoUSD(5)))
    (whole,) = (await admin.get("/admin/usage"))["data"]
    assert list(whole) == list(TOLD)
    assert (whole["requests"], whole["cost_usd"], whole["saved_usd"]) == (2, "0.01632", "0.000000005")
    found = await admin.get("/admin/usage?by=day,tag:campaign&since=2027-01-15&until=2027-01-17")
    assert found["next_cursor"] is None
    assert [(row["day"], row["tag:campaign"], row["hits"]) for row in found["data"]] == [
        ("2027-01-15", "spring", 0),
        ("2027-01-16", "spring", 1),
    ]


@pytest.mark.parametrize(
    ("path", "param", "message"),
    [
        ("/admin/ledger?limit=0", "limit", "'0' is no limit. Write a number from 1 to 1000."),
        ("/admin/ledger?limit=1001", "limit", "'1001' is no limit. Write a number from 1 to 1000."),
        ("/admin/ledger?limit=٣", "limit", "'٣' is no limit. Write a number from 1 to 1000."),
        ("/admin/ledger?cursor=x", "cursor", "This cursor is not one that we gave. Start without one."),
        ("/admin/ledger?team=a&team=b", "team", "The parameter 'team' is there twice."),
        ("/admin/usage?teams=a", "teams", "There is no parameter 'teams' here; there are by, since, until."),
    ],
)
async def test_a_parameter_that_means_nothing_is_named(
    admin: Admin, path: str, param: str, message: str
) -> None:
    assert await admin.get(path, 400) == {
        "error": {
            "message": message,
            "type": "invalid_request_error",
            "param": param,
            "code": "invalid_type",
        }
    }


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/admin/ledger?outcome=good", "'good' is no outcome. There are completed, failed, refused"),
        ("/admin/ledger?since=now", "'now' is no time."),
        ("/admin/usage?by=teams", "Usage cannot be grouped by 'teams'."),
        ("/admin/usage?until=1", "'1' is no time."),
    ],
)
async def test_a_value_that_cannot_be_read_is_told_with_what_to_write(
    admin: Admin, path: str, message: str
) -> None:
    assert (await admin.get(path, 400))["error"]["message"].startswith(message)


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong", "Basic admin-token", "admin-token", "Bearer \xe9"]
)
@pytest.mark.parametrize("path", ["/admin/ledger", "/admin/usage"])
async def test_who_has_not_the_token_sees_nothing(admin: Admin, path: str, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode("latin-1")}
    answer = await admin.client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("path", ["/admin/ledger", "/admin/usage", "/admin/usage?by=day"])
async def test_a_store_that_fails_is_a_503(tmp_path: Path, path: str) -> None:
    reader = SqliteReader(tmp_path / "gone")
    async with client_of(reader) as client:
        answer = await client.get(path, headers={"authorization": f"bearer {TOKEN}"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "store_unavailable"
    assert FILE not in answer.text, "no paths in answers"


async def test_a_long_list_comes_in_pieces_and_a_broken_one_never_ends_well() -> None:
    async def rows() -> AsyncIterator[dict[str, object]]:
        for number in range(5000):
            yield {"number": number}
        raise ConnectionError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is asked of the client")

    response = await lists.ListResponse.made(rows())
    with pytest.raises(ConnectionError):
        await response({"type": "http"}, receive, send)
    bodies = [message for message in sent if message["type"] == "http.response.body"]
    assert len(bodies) > 0
    assert all(message["more_body"] for message in bodies)
    assert b"content-length" not in dict(sent[0]["headers"])
