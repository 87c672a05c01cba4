"""
The sandbox's own pages under `/_sandbox/`: pictures by URL, the invoice, who called, and a fresh start.

No key is needed here: OpenAI has nothing of the kind, and signed picture URLs carry their own permission.
"""

from gateway.sandbox import clock, errors, studio
from gateway.sandbox.call import Call
from gateway.sandbox.sources import GALLERY, gallery
from gateway.sandbox.world import World

_FORBIDDEN = 403


async def serve(world: World, call: Call) -> None:
    """
    Any page of `/_sandbox/`.

    Raises:
        ApiError: 404 for what is not there, 403 for a picture URL that has expired.
    """
    page = f"/{call.path}"
    match call.scope["method"], page:
        case "GET", "/_sandbox/invoice":
            await call.json(world.books.invoice())
        case "GET", "/_sandbox/requests":
            await call.json({"object": "list", "data": list(world.visitors)})
        case "POST", "/_sandbox/reset":
            world.reset()
            await call.json({"object": "sandbox.reset", "reset": True})
        case "GET" | "HEAD", _ if page.startswith(GALLERY):
            await _show(world, call, page.removeprefix(GALLERY))
        case "PUT", _ if page.startswith(GALLERY):
            await _hang(world, call, page.removeprefix(GALLERY))
        case method, _:
            raise errors.ApiError(404, f"Invalid URL ({method} {page})", code="unknown_url")


async def _show(world: World, call: Call, name: str) -> None:
    expires = call.query("se")
    if expires is not None and expires < clock.instant():
        raise errors.ApiError(_FORBIDDEN, f"The link to this picture expired at {expires}.", code="expired")
    found = await gallery(world, name)
    if found is None:
        raise errors.not_found(f"There is no picture named '{name}'.")
    await call.whole(found[0], found[1])


async def _hang(world: World, call: Call, name: str) -> None:
    """Puts a picture of the caller's under a name, in place of what was there."""
    if studio.measured(call.body) is None:
        raise errors.ApiError(400, "The body is no image.", code="invalid_image_file")
    world.gallery.put(name, call.body, len(call.body))
    await call.json({"object": "sandbox.image", "url": f"http://{call.header('host')}{GALLERY}{name}"})
