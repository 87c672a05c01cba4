"""The operator's listener."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.ports import Clock
from gateway.web import health


def build(
    clock: Clock,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]],
    admin: Sequence[BaseRoute] = (),
) -> Starlette:
    """
    The application of the operator's listener.

    Args:
        clock: for dates.
        lifespan: opens and closes what the process holds.
        admin: the admin API's routes; none without an admin token.
    """

    async def alive(_request: Request) -> Response:
        headers, body = health.answer(clock.now())
        return Response(body, headers={name.decode(): value.decode() for name, value in headers})

    async def not_found(request: Request, _error: Exception) -> Response:
        message = f"There is nothing at {request.method} {request.url.path} on this listener."
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "unknown_url"}
        return JSONResponse({"error": error}, status_code=404)

    return Starlette(
        routes=[*(Route(path, alive) for path in sorted(health.PATHS)), *admin],
        exception_handlers={404: not_found, 405: not_found, HTTPException: not_found},
        lifespan=lifespan,
    )
