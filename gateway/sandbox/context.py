"""
What a call of the Responses API talks about: its input, and what came before it.

The prompt of a picture is the text of the last user message. The images in context are those of the input, and if it
brings none, the newest picture of the turns before: that is how a multi-turn edit works.
"""

import base64
import binascii
from dataclasses import dataclass

from gateway.sandbox import errors
from gateway.sandbox.call import Call
from gateway.sandbox.conversations import as_item, found
from gateway.sandbox.forms import Params
from gateway.sandbox.sources import Source, by_url, referenced, source
from gateway.sandbox.tokens import text_tokens, tile_tokens
from gateway.sandbox.world import World

Item = dict[str, object]
# What each turn costs beside its words, and one image as mainline models of the tile kind count it.
_TURN_TOKENS = 8
_TILE_BASE = 85
_TILE_EACH = 170


@dataclass(frozen=True, slots=True)
class Context:
    """
    What a response is made from.

    Args:
        items: the input as items with ids.
        history: the items of earlier turns, oldest first.
        sources: the images in context.
        fresh_tokens: mainline input tokens of this call's own input and instructions.
        carried_tokens: mainline input tokens of the turns before.
    """

    items: list[Item]
    history: list[Item]
    prompt: str
    sources: tuple[Source, ...]
    fresh_tokens: int
    carried_tokens: int
    conversation: str | None
    previous: str | None


async def context_of(world: World, call: Call, params: Params) -> Context:
    """
    The context of this call.

    Raises:
        ApiError: 400 or 404 for an input that cannot be read, or names what is not there.
    """
    items = [as_item(world, one) for one in _input(params)]
    history, carried, conversation, previous = _before(world, params)
    sources = await _images(world, call, items)
    if not sources:
        for item in reversed(history):
            sources = await _images(world, call, [item])
            if sources:
                break
    texts = [_text(item) for item in items]
    asked = [
        text for text, item in zip(texts, items, strict=True) if text and item.get("role") in {"user", None}
    ]
    fresh = sum(text_tokens(text) + _TURN_TOKENS for text in texts) + text_tokens(
        params.text("instructions") or ""
    )
    if not history:
        # Pictures of earlier turns are in the carried tokens already.
        fresh += sum(seen_tokens(one.size) for one in sources)
    return Context(
        items=items,
        history=history,
        prompt=asked[-1] if asked else "",
        sources=sources,
        fresh_tokens=fresh,
        carried_tokens=carried,
        conversation=conversation,
        previous=previous,
    )


def seen_tokens(size: tuple[int, int]) -> int:
    """Mainline input tokens of an image that the model looks at."""
    return tile_tokens(size, _TILE_BASE, _TILE_EACH)


def _input(params: Params) -> list[object]:
    asked = params.values.get("input")
    if asked is None:
        if any(
            params.values.get(key) is not None for key in ("previous_response_id", "conversation", "prompt")
        ):
            return []
        raise errors.missing("input")
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}]
    if isinstance(asked, list):
        return asked
    raise errors.wrong_type("input", "a string or an array", asked)


def _before(world: World, params: Params) -> tuple[list[Item], int, str | None, str | None]:
    """Earlier items, their mainline tokens, the conversation's id and the earlier response's."""
    previous = params.text("previous_response_id")
    conversation = params.values.get("conversation")
    named = conversation.get("id") if isinstance(conversation, dict) else conversation
    if previous is not None and named is not None:
        raise errors.ApiError(
            400,
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )
    if previous is not None:
        stored = world.responses.get(previous)
        if stored is None:
            raise errors.ApiError(
                400,
                f"Previous response with id '{previous}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return stored.thread(), stored.tokens, None, previous
    if named is None:
        return [], 0, None, None
    if not isinstance(named, str):
        raise errors.wrong_type("conversation", "a string or an object with an id", conversation)
    items = list(found(world, named).items)
    return items, sum(text_tokens(_text(item)) + _TURN_TOKENS for item in items), named, None


def _text(item: Item) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))
    output = item.get("output")
    return output if isinstance(output, str) else ""


async def _images(world: World, call: Call, items: list[Item]) -> tuple[Source, ...]:
    data: list[bytes] = []
    for item in items:
        match item.get("type"):
            case "image_generation_call" | "item_reference":
                data.extend(_made_before(world, item))
            case _:
                data.extend([await _part(world, call, part) for part in _image_parts(item)])
    return tuple([await source(one, number, "input") for number, one in enumerate(data, start=1)])


def _image_parts(item: Item) -> list[dict[str, object]]:
    content = item.get("content")
    if not isinstance(content, list):
        return []
    return [part for part in content if isinstance(part, dict) and part.get("type") == "input_image"]


async def _part(world: World, call: Call, part: dict[str, object]) -> bytes:
    if isinstance(part.get("image_url"), str):
        return await by_url(world, call, str(part["image_url"]), "input")
    return await referenced(world, call, part, "input")


def _made_before(world: World, item: Item) -> list[bytes]:
    """The picture of an earlier image call, from the item itself or by its id; another item has none."""
    known: Item | None = item
    if not item.get("result"):
        known = world.items.get(str(item.get("id")))
        if known is None:
            raise errors.not_found(f"Item with id '{item.get('id')}' not found.", param="input")
    result = known.get("result") if known is not None else None
    if not isinstance(result, str):
        return []
    try:
        return [base64.b64decode(result, validate=True)]
    except binascii.Error as error:
        raise errors.ApiError(
            400, "Invalid base64 image.", param="input", code="invalid_base64_image"
        ) from error
