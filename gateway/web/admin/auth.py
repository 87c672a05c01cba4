"""Who may use the admin API: who has its token."""

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.core.errors import Code, Refusal, Refused
from gateway.ports import StoreFailed

PATIENCE_S: Final = 4.0
"""Seconds for an answer's beginning; what is long is sent as it is made."""
Endpoint = Callable[[Request], Awaitable[Response]]
_NO_TOKEN: Final = Refusal(
    Code.INVALID_API_KEY,
    "The admin API needs its token: send Authorization: Bearer and what auth.admin_token says.",
)


def guarded(endpoint: Endpoint, token: str) -> Endpoint:
    """
    The endpoint, for those who send `Authorization: Bearer <token>`; refusals and a store that fails become answers.

    Args:
        endpoint: may raise `Refused`.
        token: the admin token, not empty.
    """

    async def behind_the_door(request: Request) -> Response:
        if not _has(request, token):
            return _answer(_NO_TOKEN)
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await endpoint(request)
        except Refused as refused:
            return _answer(refused.refusal)
        except StoreFailed as failed:
            return _store_unavailable(failed)
        except TimeoutError:
            return _store_unavailable(StoreFailed("it did not answer in time", unknown=True))

    return behind_the_door


def _answer(refusal: Refusal) -> Response:
    return JSONResponse(refusal.body(), status_code=refusal.code.status)


def _store_unavailable(failed: StoreFailed) -> Response:
    message = f"The store is not available now: {failed}. Please try again in a moment."
    error = {"message": message, "type": "server_error", "param": None, "code": "store_unavailable"}
    return JSONResponse({"error": error}, status_code=503, headers={"retry-after": "1"})


def _has(request: Request, token: str) -> bool:
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    # Digests are as long as each other: the comparison tells nothing, not even the length of the token.
    same = hmac.compare_digest(_digest(sent.strip()), _digest(token))
    return scheme.lower() == "bearer" and same


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
