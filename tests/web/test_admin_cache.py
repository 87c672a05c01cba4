"""`/admin/cache` as a client sees it, over a real cache."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from gateway.adapters.sqlite.cache import SqliteCache
from gateway.core.entry import CacheStats, Share
from gateway.ports import Cache
from gateway.web.admin.cache import routes, stats_json
from tests.support.cache import body_of, entry, kept, key_of
from tests.support.ledger import NOON

TOKEN = "admin-token"
MAX_BYTES = 32 << 20
SIZE = 5000
OTHERS: dict[str, Any] = {"team": "film", "key": "film-1"}


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[SqliteCache]:
    """Two entries of design, one of which a response; two of film, with one body."""
    made = SqliteCache.at(tmp_path, lambda: NOON, max_bytes=MAX_BYTES)
    await kept(made, body_of(1, SIZE), entry(1, SIZE))
    await kept(made, body_of(2, SIZE), entry(2, SIZE, model="gpt-5.4", response_id="resp_2"))
    await kept(made, body_of(3, SIZE), entry(3, SIZE, **OTHERS))
    await kept(made, body_of(3, SIZE), entry(4, SIZE, model="gpt-image-1", **OTHERS))
    yield made
    await made.aclose()


def client_of(cache: Cache) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=Starlette(routes=routes(cache, TOKEN))),
        base_url="http://ops",
        headers={"authorization": f"Bearer {TOKEN}"},
    )


async def purged(cache: Cache, body: object, status: int = 200) -> Any:
    async with client_of(cache) as client:
        answer = await client.post("/admin/cache/purge", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def left(cache: Cache) -> list[int]:
    return [name for name in range(1, 5) if await cache.find(key_of(name))]


async def test_the_stats_say_how_full_it_is_and_whose_calls_filled_it(cache: SqliteCache) -> None:
    async with client_of(cache) as client:
        answer = await client.get("/admin/cache")
    assert answer.status_code == 200
    assert answer.json() == {
        "object": "cache",
        "entries": 4,
        "bodies": 3,
        "bytes": (await cache.stats()).bytes,
        "max_bytes": MAX_BYTES,
        "teams": [
            {"team": "design", "entries": 2, "bytes": 2 * SIZE},
            {"team": "film", "entries": 2, "bytes": 2 * SIZE},
        ],
    }


def test_the_team_that_takes_most_comes_first() -> None:
    stats = CacheStats(teams={"b": Share(9, 10), "a": Share(1, 10), "c": Share(1, 11)})
    found = stats_json(stats)["teams"]
    assert isinstance(found, list)
    assert [one["team"] for one in found] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"key": "film-1"}, [1, 2]),
        ({"team": "design"}, [3, 4]),
        ({"model": "gpt-image-2"}, [2, 4]),
        ({"response_id": "resp_2"}, [1, 3, 4]),
        ({"team": "film", "model": "gpt-image-2"}, [1, 2, 4]),
        ({"team": "film", "response_id": "resp_2"}, [1, 2, 3, 4]),
        ({"team": "nobody"}, [1, 2, 3, 4]),
        ({"all": True}, []),
    ],
    ids=["key", "team", "model", "response", "narrowed", "narrowed to nothing", "of nobody", "all"],
)
async def test_a_purge_forgets_what_all_of_it_names_and_nothing_else(
    cache: SqliteCache, body: object, names: list[int]
) -> None:
    assert await purged(cache, body) == {"object": "cache.purge", "purged": 4 - len(names)}
    assert await left(cache) == names


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "all"),
        ({"all": False}, "all"),
        ({"all": 1}, "all"),
        ({"all": True, "team": "design"}, "all"),
        ({"team": None}, "team"),
        ({"team": ""}, "team"),
        ({"team": ["design"]}, "team"),
        ({"team": "design", "key_id": "design-1"}, "key_id"),
        ({"Team": "design"}, "Team"),
    ],
    ids=str,
)
async def test_a_slip_forgets_nothing(cache: SqliteCache, body: object, param: str) -> None:
    error = (await purged(cache, body, 400))["error"]
    assert (error["code"], error["param"]) == ("invalid_type", param)
    assert await left(cache) == [1, 2, 3, 4]


async def test_an_empty_object_is_told_what_can_be_said(cache: SqliteCache) -> None:
    assert (await purged(cache, {}, 400))["error"]["message"] == (
        'This names nothing. Say what to forget: {"team": "design"}, or key, model, response_id, several of them to '
        'narrow; {"all": true} for everything.'
    )


async def test_what_should_narrow_stands_in_the_body_and_not_in_the_query(cache: SqliteCache) -> None:
    async with client_of(cache) as client:
        answer = await client.post("/admin/cache/purge?team=design", json={"all": True})
        stats = await client.get("/admin/cache?team=design")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "team")
    assert (stats.status_code, stats.json()["error"]["param"]) == (400, "team")
    assert await left(cache) == [1, 2, 3, 4]


async def test_who_has_not_the_token_sees_and_forgets_nothing(cache: SqliteCache) -> None:
    wrong = {"authorization": "Bearer wrong"}
    async with client_of(cache) as client:
        answers = [
            await client.get("/admin/cache", headers=wrong),
            await client.post("/admin/cache/purge", json={"all": True}, headers=wrong),
        ]
    assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [
        (401, "invalid_api_key")
    ] * 2
    assert await left(cache) == [1, 2, 3, 4]


async def test_a_cache_that_fails_is_a_503(tmp_path: Path) -> None:
    (tmp_path / "cache.db").write_bytes(b"no database at all" * 100)
    broken = SqliteCache(tmp_path, lambda: NOON, max_bytes=MAX_BYTES)
    async with client_of(broken) as client:
        answers = [
            await client.get("/admin/cache"),
            await client.post("/admin/cache/purge", json={"all": True}),
        ]
    await broken.aclose()
    assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [
        (503, "store_unavailable")
    ] * 2
