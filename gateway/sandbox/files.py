"""The files API, in memory: create, list, retrieve, content, delete."""

from typing import Final

from gateway.sandbox import clock, errors
from gateway.sandbox.call import Call
from gateway.sandbox.forms import Params, params_of
from gateway.sandbox.lists import page
from gateway.sandbox.world import StoredFile, World

PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_MOST: Final = 10_000
_EXPIRES_LOW: Final = 3_600
_EXPIRES_HIGH: Final = 2_592_000


async def create(world: World, call: Call) -> None:
    """
    POST files.

    Raises:
        ApiError: 400 without a file or a known purpose.
    """
    params = await params_of(call)
    uploads = params.files("file")
    if not uploads:
        raise errors.missing("file")
    purpose = params.choice("purpose", PURPOSES, "")
    if not purpose:
        raise errors.missing("purpose")
    now = int(clock.now())
    shown: dict[str, object] = {
        "id": world.ids.new("file-"),
        "object": "file",
        "bytes": len(uploads[0].data),
        "created_at": now,
        "expires_at": _expires(params, now),
        "filename": uploads[0].filename,
        "purpose": purpose,
        "status": "processed",
        "status_details": None,
    }
    world.files.put(str(shown["id"]), StoredFile(shown, uploads[0].data), len(uploads[0].data))
    await call.json(shown)


def _expires(params: Params, now: int) -> int | None:
    seconds = params.number("expires_after[seconds]", _EXPIRES_LOW, _EXPIRES_HIGH)
    if seconds is None:
        return None
    params.choice("expires_after[anchor]", ("created_at",), "created_at")
    return now + seconds


async def index(world: World, call: Call) -> None:
    """GET files."""
    purpose = call.query("purpose")
    shown = [one.shown for one in world.files if purpose is None or one.shown["purpose"] == purpose]
    await call.json(page(call, shown, limit=_MOST, most=_MOST))


async def retrieve(world: World, call: Call, file_id: str) -> None:
    """GET files/{id}."""
    await call.json(_found(world, file_id).shown)


async def content(world: World, call: Call, file_id: str) -> None:
    """GET files/{id}/content: the bytes as they came."""
    await call.whole(_found(world, file_id).data, "application/octet-stream")


async def delete(world: World, call: Call, file_id: str) -> None:
    """DELETE files/{id}."""
    _found(world, file_id)
    world.files.take(file_id)
    await call.json({"id": file_id, "object": "file", "deleted": True})


def _found(world: World, file_id: str) -> StoredFile:
    stored = world.files.get(file_id)
    if stored is None:
        raise errors.not_found(f"No such File object: {file_id}", param="id")
    return stored
