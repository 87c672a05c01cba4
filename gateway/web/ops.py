"""The operator's listener."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from gateway.ports import Clock
from gateway.web import health
from gateway.web.metrics import PATH


def build(
    clock: Clock,
    look: health.Look,
    admin: Sequence[BaseRoute] = (),
    metrics: ASGIApp | None = None,
    *,
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """
    The application of the operator's listener.

    Args:
        clock: for dates.
        look: whether requests should be sent here.
        admin: the admin API's routes; none without an admin token.
        metrics: answers `/metrics`; None: nobody does.
        lifespan: opens and closes what the process holds.
    """

    async def state(request: Request) -> Response:
        status, headers, body = await health.answer(request.url.path, look, clock.now())
        return Response(body, status, {name.decode(): value.decode() for name, value in headers})

    async def not_found(request: Request, _error: Exception) -> Response:
        message = f"There is nothing at {request.method} {request.url.path} on this listener."
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "unknown_url"}
        return JSONResponse({"error": error}, status_code=404)

    scraped = [] if metrics is None else [Route(PATH, metrics, methods=["GET"])]
    return Starlette(
        routes=[*(Route(path, state) for path in sorted(health.PATHS)), *scraped, *admin],
        exception_handlers={404: not_found, 405: not_found, HTTPException: not_found},
        lifespan=lifespan,
    )
