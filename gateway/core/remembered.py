"""
What was asked, as a store keeps it: all that a settlement needs, so that a call can outlive its process.

Kept: the route, models, what was asked of each picture, tools, authors, tiers, bounds, the sizes of the inputs. No
prompt, no id, no secret has a field here, and a text that is no name (too long, with blanks, or like a key) is left out:
a request with one is not a request that was answered.

What is left out can make the estimate of the call smaller than it was. Whoever settles by it looks at that.

Not here: where it is kept (adapters), what it costs (estimate.py, settle.py).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import orjson

from gateway.core.call import Call, ImageAsk, Named
from gateway.core.inputs import Inputs
from gateway.core.routes import ROUTES, Match
from gateway.core.usage import MOST_NAME

MOST_LISTED: Final = 128
"""Pictures, tools, authors that are kept of one call: of pictures the last, of which one counts, of others the first."""
_MOST_NUMBER: Final = 1 << 53
"""Numbers are cut to this: far above every bound of an estimate, and what every reader of JSON can read."""

_NAME: Final = re.compile(rf"[!-~]{{1,{MOST_NAME}}}")
_KEY: Final = re.compile(r"(?<![A-Za-z0-9])sk-")
_ROUTES: Final = {route.name: route for route in ROUTES}


def dumps(call: Call) -> bytes:
    """The call as JSON, for a store to keep. It never raises."""
    return orjson.dumps(
        {
            "route": call.match.route.name,
            "model": _name(call.model),
            "images": [_plain(ask) for ask in call.images[-MOST_LISTED:]],
            "tools": _named(call.tools),
            "authors": _named(call.authors),
            "stream": call.stream,
            "background": call.background,
            "stored_prompt": call.stored_prompt,
            "names_ids": call.names_ids,
            "inputs": {
                "text_bytes": _number(call.inputs.text_bytes),
                "images": _number(call.inputs.images),
                "beyond": call.inputs.beyond,
            },
            "max_tool_calls": _number(call.max_tool_calls),
            "max_output_tokens": _number(call.max_output_tokens),
            "service_tier": _name(call.service_tier),
        }
    )


def loads(text: bytes | str | None) -> Call | None:
    """
    The call that `dumps` wrote, without the ids of its path.

    Args:
        text: fields that are missing have their defaults and those that are not known are left: another version wrote
            it. None: nothing was kept.

    Returns:
        None: nothing was kept, or it cannot be read, or its route is not known.
    """
    try:
        kept = orjson.loads(text or b"")
    except orjson.JSONDecodeError:
        return None
    route = _ROUTES.get(_text(kept, "route") or "") if isinstance(kept, dict) else None
    if route is None:
        return None
    sizes = next(_objects([kept.get("inputs")]), {})
    return Call(
        match=Match(route),
        model=_text(kept, "model"),
        images=tuple(_ask(one) for one in _objects(kept.get("images"))),
        tools=_names(kept, "tools"),
        authors=_names(kept, "authors"),
        stream=kept.get("stream") is True,
        background=kept.get("background") is True,
        stored_prompt=kept.get("stored_prompt") is True,
        names_ids=kept.get("names_ids") is True,
        inputs=Inputs(
            text_bytes=_integer(sizes, "text_bytes") or 0,
            images=_integer(sizes, "images") or 0,
            beyond=sizes.get("beyond") is True,
        ),
        max_tool_calls=_integer(kept, "max_tool_calls"),
        max_output_tokens=_integer(kept, "max_output_tokens"),
        service_tier=_text(kept, "service_tier"),
    )


def _plain(ask: ImageAsk) -> dict[str, str | int | None]:
    return {
        "where": ask.where,
        "model": _name(ask.model),
        "size": _name(ask.size),
        "quality": _name(ask.quality),
        "n": _number(ask.n),
        "partial_images": _number(ask.partial_images),
        "output_format": _name(ask.output_format),
        "frame_count": _number(ask.frame_count),
    }


def _ask(kept: Mapping[str, object]) -> ImageAsk:
    return ImageAsk(
        where=_text(kept, "where") or "",
        model=_text(kept, "model"),
        size=_text(kept, "size"),
        quality=_text(kept, "quality"),
        n=_integer(kept, "n"),
        partial_images=_integer(kept, "partial_images"),
        output_format=_text(kept, "output_format"),
        frame_count=_integer(kept, "frame_count"),
    )


def _named(several: tuple[Named, ...]) -> list[dict[str, str]]:
    names = ((one.param, _name(one.value)) for one in several[:MOST_LISTED])
    return [{"param": param, "value": value} for param, value in names if value is not None]


def _names(kept: Mapping[str, object], name: str) -> tuple[Named, ...]:
    found = ((_text(one, "param"), _text(one, "value")) for one in _objects(kept.get(name)))
    return tuple(Named(param, value) for param, value in found if param is not None and value is not None)


def _name(text: str | None) -> str | None:
    return text if text is not None and _NAME.fullmatch(text) and not _KEY.search(text) else None


def _number(value: int | None) -> int | None:
    return None if value is None else min(max(value, -_MOST_NUMBER), _MOST_NUMBER)


def _objects(value: object) -> Iterator[Mapping[str, object]]:
    if isinstance(value, list):
        yield from (one for one in value if isinstance(one, dict))


def _text(kept: Mapping[str, object], name: str) -> str | None:
    value = kept.get(name)
    return value if isinstance(value, str) else None


def _integer(kept: Mapping[str, object], name: str) -> int | None:
    value = kept.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
