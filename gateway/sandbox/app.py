"""
The sandbox's front door: which call goes where, and what every call has in common.

Serves the API under `/v1` and without it, and the sandbox's own pages under `/_sandbox/`. Plain ASGI: nothing stands
between a handler and the connection.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.sandbox import backstage, conversations, errors, files, images, models, responses
from gateway.sandbox.call import Call, GoneError
from gateway.sandbox.steer import parse
from gateway.sandbox.world import World

Handler = Callable[..., Awaitable[None]]

_ID: Final = "([^/]+)"
_ROUTES: Final[list[tuple[str, re.Pattern[str], Handler]]] = [
    (method, re.compile(pattern), handler)
    for method, pattern, handler in (
        ("POST", "images/generations", images.generations),
        ("POST", "images/edits", images.edits),
        ("POST", "images/variations", images.variations),
        ("POST", "responses", responses.create),
        ("POST", "responses/input_tokens", responses.input_tokens),
        ("POST", "responses/compact", responses.compact),
        ("GET", f"responses/{_ID}", responses.retrieve),
        ("DELETE", f"responses/{_ID}", responses.delete),
        ("POST", f"responses/{_ID}/cancel", responses.cancel),
        ("GET", f"responses/{_ID}/input_items", responses.input_items),
        ("POST", "files", files.create),
        ("GET", "files", files.index),
        ("GET", f"files/{_ID}", files.retrieve),
        ("DELETE", f"files/{_ID}", files.delete),
        ("GET", f"files/{_ID}/content", files.content),
        ("POST", "conversations", conversations.create),
        ("GET", f"conversations/{_ID}", conversations.retrieve),
        ("POST", f"conversations/{_ID}", conversations.update),
        ("DELETE", f"conversations/{_ID}", conversations.delete),
        ("POST", f"conversations/{_ID}/items", conversations.add_items),
        ("GET", f"conversations/{_ID}/items", conversations.items),
        ("GET", f"conversations/{_ID}/items/{_ID}", conversations.item),
        ("DELETE", f"conversations/{_ID}/items/{_ID}", conversations.drop_item),
        ("GET", "models", models.index),
        ("GET", f"models/{_ID}", models.retrieve),
    )
]


def create(speed: float = 1.0) -> ASGIApp:
    """
    An OpenAI of our own.

    Args:
        speed: how many times faster than a real generation it works; 0 never waits.

    Raises:
        ValueError: a negative speed.
    """
    if speed < 0:
        raise ValueError(f"speed must be 0 (never wait) or more, not {speed}")
    world = World(speed)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await _http(world, scope, receive, send)
            case "lifespan":
                await _lifespan(receive, send)
            case _:
                # Without a word before it, this refuses the WebSocket's handshake with a 403.
                await send({"type": "websocket.close", "code": 1000})

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _http(world: World, scope: Scope, receive: Receive, send: Send) -> None:
    body = await _body(receive)
    if body is None:
        return
    path = scope["path"].strip("/")
    call = Call(
        scope=scope,
        receive=receive,
        send=send,
        body=body,
        path=path.removeprefix("v1/"),
        request_id=world.ids.new("req_"),
        speed=world.speed,
    )
    try:
        await _answer(world, call)
    except GoneError:
        return


async def _answer(world: World, call: Call) -> None:
    try:
        await _handle(world, call)
    except errors.ApiError as error:
        await _refuse(call, error)


async def _refuse(call: Call, error: errors.ApiError) -> None:
    data = orjson.dumps(error.body())
    await call.head(error.status, "application/json", length=len(data), headers=error.headers)
    await call.write(data, last=True)


async def _body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client left before its end."""
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _handle(world: World, call: Call) -> None:
    if call.path.startswith("_sandbox/"):
        await backstage.serve(world, call)
        return
    world.note(call)
    if not call.header("authorization").startswith("Bearer "):
        raise errors.ApiError(
            401,
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer "
            "auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    call.steering = parse(call.header("x-sandbox"))
    handler, ids = _route(call)
    await _fail_first(call)
    await handler(world, call, *ids)


def _route(call: Call) -> tuple[Handler, tuple[str, ...]]:
    method, elsewhere = call.scope["method"], False
    for wanted, pattern, handler in _ROUTES:
        found = pattern.fullmatch(call.path)
        if found is None:
            continue
        if wanted == method:
            return handler, found.groups()
        elsewhere = True
    shown = f"{method} {call.scope['path']}"
    if elsewhere:
        raise errors.ApiError(
            405,
            f"Not allowed to {method} on {call.scope['path']}. "
            "(HINT: Perhaps you meant to use a different HTTP method?)",
            code="method_not_supported",
        )
    raise errors.ApiError(404, f"Invalid URL ({shown})", code="unknown_url")


async def _fail_first(call: Call) -> None:
    """The failures of steering that come before any work."""
    match call.steering.fail:
        case "status":
            # Only an exact delay counts here: a failure has no natural duration.
            await call.pace(0).until(1)
            raise errors.asked_for(call.steering.fail_status or 500)
        case "before":
            await call.pace(0).until(1)
            await call.cut(unsent=False)
        case "hang":
            await call.left()
        case _:
            return
    raise GoneError
