from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.web.admin.auth import guarded
from gateway.web.admin.body import MOST_BYTES, read_object


async def _echo(request: Request) -> Response:
    return JSONResponse(await read_object(request))


async def answered(body: bytes) -> tuple[int, Any]:
    app = Starlette(routes=[Route("/", guarded(_echo, "t"), methods=["POST"])])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://ops") as client:
        answer = await client.post("/", content=body, headers={"authorization": "Bearer t"})
    return answer.status_code, answer.json()


async def test_an_object_is_read_whatever_its_content_type() -> None:
    assert await answered(b'{"a": [1, null]}') == (200, {"a": [1, None]})


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_json", None),
        (b"[]", 400, "invalid_json", None),
        (b"null", 400, "invalid_json", None),
        (b"{'a': 1}", 400, "invalid_json", None),
        (b'{"a": NaN}', 400, "invalid_json", None),
        (b'{"team": "a", "team": "b"}', 400, "duplicate_field", "team"),
        (b" " * (MOST_BYTES + 1), 413, "request_too_large", None),
    ],
    ids=["nothing", "a list", "null", "no JSON", "NaN", "a key twice", "too large"],
)
async def test_what_can_be_read_in_no_way_or_in_two_is_refused(
    body: bytes, status: int, code: str, param: str | None
) -> None:
    found, told = await answered(body)
    assert (found, told["error"]["code"], told["error"]["param"]) == (status, code, param)


async def test_the_largest_body_is_read() -> None:
    assert await answered(b"{}".rjust(MOST_BYTES)) == (200, {})
