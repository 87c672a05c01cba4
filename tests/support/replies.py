"""Answers of the API as bytes, in OpenAI's shapes and key orders, and what a meter and a settlement make of them."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from gateway import catalog
from gateway.core.call import Call, read_json
from gateway.core.errors import Refusal
from gateway.core.estimate import Estimate, estimate
from gateway.core.meter import Meter
from gateway.core.observation import Ending, Observation
from gateway.core.pricing import AccountingRules
from gateway.core.record import Role, TokensFrom
from gateway.core.routes import match
from gateway.core.settle import Settlement, settle

CATALOG = catalog.load()
RULES = AccountingRules()
AT_S = 1_795_000_000.0  # November 2026
B64 = "iVBORw0KGgo" + "A" * 40_000
LOOK = {"background": "opaque", "output_format": "png", "quality": "low", "size": "1024x1024"}


def call_of(path: str, /, **body: object) -> Call:
    """The call that this JSON body makes to `/images/generations` or another path."""
    found = match("POST", f"/{path}")
    assert found is not None
    return read_json(found, body)


def usage(output: int, *, text: int = 14, image: int = 0, details: bool = False) -> dict[str, Any]:
    """`usage` of an image model."""
    found: dict[str, Any] = {
        "input_tokens": text + image,
        "input_tokens_details": {"image_tokens": image, "text_tokens": text},
        "output_tokens": output,
        "total_tokens": text + image + output,
    }
    if details:
        found["output_tokens_details"] = {"image_tokens": output, "text_tokens": 0}
    return found


def images_body(reported: object = None, *, pictures: int = 1, **fields: object) -> bytes:
    """A plain answer of the Images API; fields of None are left out."""
    body = {
        "created": 1,
        "background": "opaque",
        "data": [{"b64_json": B64} for _ in range(pictures)],
        **{key: LOOK[key] for key in ("output_format", "quality", "size")},
        "usage": reported,
        **fields,
    }
    return json.dumps({key: value for key, value in body.items() if value is not None}).encode()


def event(kind: str, **fields: object) -> bytes:
    """One event of a stream."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def images_stream(
    partials: int, reported: object = None, *, family: str = "image_generation", look: dict[str, str] = LOOK
) -> bytes:
    """A stream of the Images API to its end; without a report if there is none."""
    sent = [
        event(f"{family}.partial_image", b64_json=B64, created_at=1, **look, partial_image_index=index)
        for index in range(partials)
    ]
    said = {} if reported is None else {"usage": reported}
    return b"".join([*sent, event(f"{family}.completed", b64_json=B64, created_at=2, **look, **said)])


def item(number: int, **fields: object) -> dict[str, Any]:
    """A finished image call."""
    return {
        "id": f"ig_{number}",
        "type": "image_generation_call",
        "status": "completed",
        "result": B64,
        **LOOK,
        **fields,
    }


def response(
    items: Sequence[dict[str, Any]] = (),
    *,
    drawn: object = None,
    main: object = (1000, 100),
    status: str = "completed",
    tool: str | None = "gpt-image-1",
    **fields: object,
) -> dict[str, Any]:
    """A response object. `drawn`: `tool_usage.image_gen`. `main`: mainline input and output tokens."""
    shown: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "model": "gpt-5",
        "output": list(items),
        "service_tier": "default",
        "tools": [{"type": "image_generation", "model": tool, "size": "auto", "n": 1}] if tool else [],
        "usage": None,
        **fields,
    }
    if isinstance(main, tuple):
        shown["usage"] = {
            "input_tokens": main[0],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": main[1],
        }
    if drawn is not None:
        shown["tool_usage"] = {"image_gen": drawn, "web_search": {"num_requests": 0}}
    return shown


def response_stream(shown: dict[str, Any], *, partials: int = 0, ends: bool = True) -> bytes:
    """The stream of a response: each of its image calls with so many partial images, then its end."""
    sent = [
        event("response.created", response={**shown, "status": "in_progress", "output": [], "usage": None})
    ]
    for index, one in enumerate(shown["output"]):
        at = {"output_index": index, "item_id": one["id"]}
        sent.append(event("response.image_generation_call.in_progress", **at))
        sent.extend(
            event(
                "response.image_generation_call.partial_image",
                **at,
                partial_image_index=number,
                partial_image_b64=B64,
                **LOOK,
            )
            for number in range(partials)
        )
        sent.append(event("response.output_item.done", output_index=index, item=one))
    if ends:
        sent.append(event(f"response.{shown['status']}", response=shown))
    return b"".join(sent)


def observed(
    chunks: bytes | Iterable[bytes],
    *,
    status: int = 200,
    stream: bool = False,
    ending: Ending = Ending.CLEAN,
) -> Observation:
    """What the meter sees in an answer."""
    kind = b"text/event-stream; charset=utf-8" if stream else b"application/json"
    meter = Meter(status, [(b"content-type", kind)])
    for chunk in [chunks] if isinstance(chunks, bytes) else chunks:
        meter.feed(chunk)
    return meter.close(ending)


def reserved(call: Call, rules: AccountingRules = RULES) -> Estimate:
    """What is reserved for a call."""
    found = estimate(call, CATALOG, rules, at_s=AT_S)
    assert not isinstance(found, Refusal), found.message
    return found


def settled(seen: Observation, call: Call, rules: AccountingRules = RULES) -> Settlement:
    """What a call costs after this answer."""
    return settle(seen, call, reserved(call, rules), CATALOG, rules, at_s=AT_S)


LOW = {"model": "gpt-image-1", "prompt": "a fox", "size": "1024x1024", "quality": "low"}
GENERATIONS, EDITS = "images/generations", "images/edits"


def generation(partials: int | None = None, **fields: object) -> Call:
    """A call for one low 1024x1024 picture; streamed if it asks for partial images."""
    asked = {} if partials is None else {"partial_images": partials, "stream": True}
    return call_of(GENERATIONS, **LOW, **asked, **fields)


def drawing(partials: int = 0, **fields: object) -> Call:
    """A Responses call with the image tool."""
    tool = {
        "type": "image_generation",
        "model": "gpt-image-1",
        "size": "1024x1024",
        "quality": "low",
        "partial_images": partials,
    }
    return call_of(
        "responses", **{"model": "gpt-5", "input": "a fox", "stream": True, "tools": [tool], **fields}
    )


def tokens(found: Settlement) -> tuple[int, int, TokensFrom]:
    """Output image tokens, those of them that are surcharge, and where they come from."""
    return found.output_image_tokens, found.partial_image_tokens, found.tokens_from


def of_role(found: Settlement, role: Role) -> tuple[int, ...]:
    """Output tokens of each line of a role."""
    return tuple(line.output_image + line.output_text for line in found.lines if line.role is role)
