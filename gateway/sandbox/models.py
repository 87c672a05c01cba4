"""The models API: every exact name in the catalogue, with the day it is retired where one is known."""

from gateway.sandbox import errors, tariff
from gateway.sandbox.call import Call
from gateway.sandbox.world import World

# OpenAI's list gives each model's own birthday; the catalogue does not know them.
_CREATED = 1_745_000_000


async def index(_world: World, call: Call) -> None:
    """GET models."""
    await call.json({"object": "list", "data": [_shown(name) for name in tariff.names()]})


async def retrieve(_world: World, call: Call, name: str) -> None:
    """
    GET models/{name}.

    Raises:
        ApiError: 404 for a name that is not in the catalogue.
    """
    if name not in tariff.names():
        raise errors.ApiError(
            404, f"The model '{name}' does not exist", param="model", code="model_not_found"
        )
    await call.json(_shown(name))


def _shown(name: str) -> dict[str, object]:
    found: dict[str, object] = {"id": name, "object": "model", "created": _CREATED, "owned_by": "system"}
    model = tariff.find(name)
    if model is not None and model.shutdown is not None:
        found["shutdown_date"] = model.shutdown.isoformat()
    return found
