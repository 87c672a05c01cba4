"""
The Responses API: create (plain, streamed, in the background), retrieve and resume, cancel, delete, and the rest.

What a response does is in performance.py, what it is made from in context.py and plan.py; here is who listens to it
and what is kept.
"""

import asyncio
from contextlib import aclosing

from gateway.sandbox import clock, errors
from gateway.sandbox.call import SSE, Call, GoneError
from gateway.sandbox.clock import Pace
from gateway.sandbox.context import Item, context_of
from gateway.sandbox.forms import Params
from gateway.sandbox.invoice import text_line
from gateway.sandbox.lists import page
from gateway.sandbox.performance import Event, Performance
from gateway.sandbox.plan import Plan, mainline, plan_of
from gateway.sandbox.stored import Stored
from gateway.sandbox.tasks import spawn
from gateway.sandbox.world import World

_PARTIAL = "response.image_generation_call.partial_image"
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_COMPACT_TOKENS = 96


async def create(world: World, call: Call) -> None:
    """POST responses."""
    plan = await plan_of(world, call)
    if plan.background:
        await _in_background(world, call, plan)
    elif plan.stream:
        await _streamed(world, call, plan)
    else:
        await _plain(world, call, plan)


async def _plain(world: World, call: Call, plan: Plan) -> None:
    if call.steering.fail == "error-event":
        raise errors.steering("fail=error-event needs a call with stream: true or background: true")
    performance = Performance(world, call, plan, call.pace(plan.duration_s), streamed=False)
    async for _ in performance.events():
        pass
    _keep(world, plan, performance)
    await call.json(performance.shown)


async def _streamed(world: World, call: Call, plan: Plan) -> None:
    performance = Performance(world, call, plan, call.pace(plan.duration_s), streamed=True)
    async with call.watched(), aclosing(performance.events()) as events:
        await call.head(200, SSE)
        async for event in events:
            if event["type"] in _TERMINAL:
                _keep(world, plan, performance)
            await _send(call, event, performance)
        if call.gone.is_set():
            raise GoneError
        await call.end()


async def _send(call: Call, event: Event, performance: Performance | None = None) -> None:
    """One event; with `fail=mid-stream` the line breaks after the first partial image, or within the last event."""
    breaks = call.steering.fail == "mid-stream"
    await call.event(event, half=breaks and event["type"] in _TERMINAL)
    if performance is not None:
        performance.delivered(event)
    if breaks and event["type"] == _PARTIAL:
        await call.cut()


def _keep(world: World, plan: Plan, performance: Performance) -> None:
    """Keeps a finished response, unless the call said not to, and lengthens its conversation."""
    if plan.context.conversation is not None:
        conversation = world.conversations.get(plan.context.conversation)
        if conversation is not None:
            conversation.items.extend([*plan.context.items, *performance.output])
    if plan.store and not plan.background:
        stored = Stored(performance.shown, plan.context.items, plan.context.history)
        _shelve(world, stored, performance)


def _shelve(world: World, stored: Stored, performance: Performance) -> None:
    tokens = performance.tally.main_tokens()
    stored.tokens, stored.done = tokens["input_text"] + tokens["output_text"], True
    world.responses.put(str(stored.shown["id"]), stored, stored.weight())
    for item in performance.output:
        world.items.put(str(item["id"]), item, len(str(item.get("result") or "")) + 512)


async def _in_background(world: World, call: Call, plan: Plan) -> None:
    stored = Stored(
        plan.shown, plan.context.items, plan.context.history, background=True, streamed=plan.stream
    )
    world.responses.put(str(plan.shown["id"]), stored, stored.weight())
    answer = dict(plan.shown)
    pace = Pace(call.seconds(plan.duration_s))
    performance = Performance(world, call, plan, pace, streamed=plan.stream)
    stored.task = spawn(_work(world, plan, performance, stored))
    if plan.stream:
        await _follow(call, stored, 0)
    else:
        await call.json(answer)


async def _work(world: World, plan: Plan, performance: Performance, stored: Stored) -> None:
    """Makes a background response to its end, whoever listens, unless it is cancelled."""
    try:
        async with aclosing(performance.events()) as events:
            async for event in events:
                stored.events.append(event)
                performance.delivered(event)
                stored.news()
        _keep(world, plan, performance)
        _shelve(world, stored, performance)
    except asyncio.CancelledError:
        stored.shown["status"] = "cancelled"
        raise
    finally:
        stored.done = True
        stored.news()


async def _follow(call: Call, stored: Stored, start: int) -> None:
    """Streams a background response's events from this one on, as they come."""
    stored.waiting.add(call.wake)
    try:
        async with call.watched():
            await call.head(200, SSE)
            while True:
                call.wake.clear()
                for event in stored.events[start:]:
                    await _send(call, event)
                    start += 1
                if stored.done and start >= len(stored.events):
                    break
                if call.gone.is_set():
                    raise GoneError
                await call.wake.wait()
            await call.end()
    finally:
        stored.waiting.discard(call.wake)


async def retrieve(world: World, call: Call, response_id: str) -> None:
    """GET responses/{id}, or its stream from `starting_after` on."""
    stored = _found(world, response_id)
    if call.query("stream") != "true":
        await call.json(stored.shown)
        return
    if not (stored.background and stored.streamed):
        raise errors.ApiError(
            400,
            "Only background responses created with stream=true can be streamed again.",
            param="stream",
            code="invalid_value",
        )
    after = call.query("starting_after")
    if after is not None and not after.isdigit():
        raise errors.invalid("starting_after", after, "a sequence number")
    await _follow(call, stored, 0 if after is None else int(after) + 1)


async def delete(world: World, call: Call, response_id: str) -> None:
    """DELETE responses/{id}; its items go with it."""
    stored = _found(world, response_id)
    for item in stored.output():
        world.items.take(str(item["id"]))
    world.responses.take(response_id)
    await call.json({"id": response_id, "object": "response", "deleted": True})


async def cancel(world: World, call: Call, response_id: str) -> None:
    """POST responses/{id}/cancel: for background responses only, as often as one likes."""
    stored = _found(world, response_id)
    if not stored.background:
        raise errors.ApiError(400, "Cannot cancel a synchronous response.", param="response_id")
    if not stored.done and stored.task is not None:
        stored.task.cancel()
        await asyncio.wait({stored.task})
        # A task that had not begun yet never came to say so itself.
        stored.shown["status"], stored.done = "cancelled", True
        stored.news()
    await call.json(stored.shown)


async def input_items(world: World, call: Call, response_id: str) -> None:
    """GET responses/{id}/input_items."""
    await call.json(page(call, _found(world, response_id).input_items))


async def input_tokens(world: World, call: Call) -> None:
    """POST responses/input_tokens: counted, not billed."""
    params = Params(call.payload())
    mainline(params)
    context = await context_of(world, call, params)
    counted = context.fresh_tokens + context.carried_tokens
    await call.json({"object": "response.input_tokens", "input_tokens": counted})


async def compact(world: World, call: Call) -> None:
    """POST responses/compact: the user's messages and one sealed item for the rest; billed as mainline tokens."""
    params = Params(call.payload())
    model = mainline(params)
    context = await context_of(world, call, params)
    messages = [item for item in (*context.history, *context.items) if item.get("role") == "user"]
    sealed: Item = {
        "id": world.ids.new("cmp_"),
        "type": "compaction",
        "encrypted_content": f"sandbox:{world.ids.new('')}",
    }
    tokens = {"input_text": context.fresh_tokens + context.carried_tokens, "output_text": _COMPACT_TOKENS}
    world.books.charge(call.request_id, "responses.compact", [text_line(model, tokens)])
    await call.json(
        {
            "id": world.ids.new("resp_"),
            "object": "response.compaction",
            "created_at": int(clock.now()),
            "output": [*messages, sealed],
            "usage": {
                "input_tokens": tokens["input_text"],
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": _COMPACT_TOKENS,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": tokens["input_text"] + _COMPACT_TOKENS,
            },
        }
    )


def _found(world: World, response_id: str) -> Stored:
    stored = world.responses.get(response_id)
    if stored is None:
        raise errors.not_found(f"Response with id '{response_id}' not found.")
    return stored
