"""The conversations API, in memory: conversations and their items."""

from typing import Final

from gateway.sandbox import clock, errors
from gateway.sandbox.call import Call
from gateway.sandbox.lists import page
from gateway.sandbox.world import Conversation, World

_ITEMS_AT_ONCE: Final = 20
_WEIGHT: Final = 4096
_PREFIXES: Final = {
    "message": "msg_",
    "image_generation_call": "ig_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
}


async def create(world: World, call: Call) -> None:
    """POST conversations, with or without first items."""
    asked = call.payload() if call.body else {}
    shown: dict[str, object] = {
        "id": world.ids.new("conv_"),
        "object": "conversation",
        "created_at": int(clock.now()),
        "metadata": asked.get("metadata") or {},
    }
    made = Conversation(shown, _items_in(world, asked.get("items") or []))
    world.conversations.put(str(shown["id"]), made, _WEIGHT)
    await call.json(shown)


async def retrieve(world: World, call: Call, conversation_id: str) -> None:
    """GET conversations/{id}."""
    await call.json(found(world, conversation_id).shown)


async def update(world: World, call: Call, conversation_id: str) -> None:
    """POST conversations/{id}: new metadata."""
    conversation = found(world, conversation_id)
    conversation.shown["metadata"] = call.payload().get("metadata") or {}
    await call.json(conversation.shown)


async def delete(world: World, call: Call, conversation_id: str) -> None:
    """DELETE conversations/{id}; its items are not deleted, as OpenAI says."""
    found(world, conversation_id)
    world.conversations.take(conversation_id)
    await call.json({"id": conversation_id, "object": "conversation.deleted", "deleted": True})


async def add_items(world: World, call: Call, conversation_id: str) -> None:
    """POST conversations/{id}/items: up to 20 at once."""
    conversation = found(world, conversation_id)
    added = _items_in(world, call.payload().get("items"))
    conversation.items.extend(added)
    await call.json(
        {
            "object": "list",
            "data": added,
            "first_id": added[0]["id"] if added else None,
            "last_id": added[-1]["id"] if added else None,
            "has_more": False,
        }
    )


async def items(world: World, call: Call, conversation_id: str) -> None:
    """GET conversations/{id}/items."""
    await call.json(page(call, found(world, conversation_id).items))


async def item(world: World, call: Call, conversation_id: str, item_id: str) -> None:
    """GET conversations/{id}/items/{item_id}."""
    for one in found(world, conversation_id).items:
        if one["id"] == item_id:
            await call.json(one)
            return
    raise errors.not_found(f"Item with id '{item_id}' not found in conversation '{conversation_id}'.")


async def drop_item(world: World, call: Call, conversation_id: str, item_id: str) -> None:
    """DELETE conversations/{id}/items/{item_id}: answers with the conversation."""
    conversation = found(world, conversation_id)
    kept = [one for one in conversation.items if one["id"] != item_id]
    if len(kept) == len(conversation.items):
        raise errors.not_found(f"Item with id '{item_id}' not found in conversation '{conversation_id}'.")
    conversation.items = kept
    await call.json(conversation.shown)


def found(world: World, conversation_id: str) -> Conversation:
    """
    The conversation of this id.

    Raises:
        ApiError: 404 in OpenAI's words.
    """
    conversation = world.conversations.get(conversation_id)
    if conversation is None:
        raise errors.not_found(f"Conversation with id '{conversation_id}' not found.")
    return conversation


def _items_in(world: World, asked: object) -> list[dict[str, object]]:
    if not isinstance(asked, list):
        raise errors.wrong_type("items", "an array", asked)
    if len(asked) > _ITEMS_AT_ONCE:
        raise errors.ApiError(400, f"At most {_ITEMS_AT_ONCE} items at a time.", param="items")
    return [as_item(world, one) for one in asked]


def as_item(world: World, asked: object) -> dict[str, object]:
    """
    An input item as the API gives it back: typed, with an id, its text as content parts.

    Raises:
        ApiError: 400 for what is no item.
    """
    if not isinstance(asked, dict):
        raise errors.wrong_type("items", "an object", asked)
    kind = asked.get("type") or "message"
    given = {key: value for key, value in asked.items() if value is not None}
    made: dict[str, object] = {"id": world.ids.new(_PREFIXES.get(kind, "item_")), "type": kind, **given}
    if kind != "message":
        return made
    content = asked.get("content")
    if isinstance(content, str):
        part = "output_text" if asked.get("role") == "assistant" else "input_text"
        text: dict[str, object] = {"type": part, "text": content}
        made["content"] = [text | {"annotations": [], "logprobs": []} if part == "output_text" else text]
    elif isinstance(content, list):
        made["content"] = [
            {"detail": "auto", **part}
            if isinstance(part, dict) and part.get("type") == "input_image"
            else part
            for part in content
        ]
    return made | {"status": "completed"}
