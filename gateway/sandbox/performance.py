"""
A response in the making: its events in their order, and its items. What it costs is in tally.py.

The events come from one asynchronous generator, whoever listens: a stream, a background task, or a plain call that
only wants the end. The order is the one recorded from the API; `sequence_number` counts from 0.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final

from gateway.sandbox import clock, errors
from gateway.sandbox.call import Call
from gateway.sandbox.clock import Pace
from gateway.sandbox.context import Item
from gateway.sandbox.draw import Motif
from gateway.sandbox.images import motif_of, svg_usage
from gateway.sandbox.orders import Order
from gateway.sandbox.plan import Plan
from gateway.sandbox.tally import Tally
from gateway.sandbox.words import pieces, revised
from gateway.sandbox.world import World

Event = dict[str, object]

# Pictures take this part of a response's time; the words at the end take the rest.
_PAINTING: Final = 0.96


class Performance:
    """
    One response, from its first event to its bill.

    Args:
        pace: how its time passes.
        streamed: whether partial images are delivered to anybody.
    """

    def __init__(self, world: World, call: Call, plan: Plan, pace: Pace, *, streamed: bool) -> None:
        self._world = world
        self._call = call
        self._plan = plan
        self._pace = pace
        self._streamed = streamed
        self.shown = plan.shown
        self.output: list[Item] = []
        self.tally = Tally(plan)
        self._sequence = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        """All events, in order. Closing it early ends the response where it is, and bills that."""
        try:
            yield self._life("response.created")
            if self._plan.background:
                yield self._life("response.queued")
            self.shown["status"] = "in_progress"
            yield self._life("response.in_progress")
            if self._call.steering.fail == "error-event":
                for event in self._broken():
                    yield event
                return
            for event in self._reasoning():
                yield event
            if self._plan.order is not None:
                for index in range(self._plan.pictures):
                    async with aclosing(self._picture(self._plan.order, index)) as stages:
                        async for event in stages:
                            yield event
            await self._pace.until(1)
            if self._call.gone.is_set() and not self._plan.background:
                return
            self.tally.whole = True
            for event in self._spoken():
                yield event
            yield self._end()
        finally:
            self._world.books.charge(self._call.request_id, "responses.create", self.tally.bill())

    def delivered(self, event: Event) -> None:
        """The listener's word that it handed this event on: a partial image that was asked for is paid from now."""
        order, index = self._plan.order, event.get("partial_image_index")
        if order is not None and isinstance(index, int) and index < order.look.partial_images:
            self.tally.open_partials += 1

    def _event(self, kind: str, **fields: object) -> Event:
        event: Event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

    def _life(self, kind: str) -> Event:
        return self._event(kind, response={**self.shown, "output": list(self.output)})

    def _broken(self) -> Iterator[Event]:
        """An error after the 200, in the form asked for, and the failure that follows it."""
        error = errors.asked_for(500)
        if self._call.steering.error_form == "flat":
            yield self._event("error", code=error.code, message=error.message, param=None)
        else:
            yield self._event("error", error=error.inner())
        self.shown.update(status="failed", error={"code": "server_error", "message": error.message})
        yield self._life("response.failed")

    def _reasoning(self) -> Iterator[Event]:
        if not self._plan.reasons:
            return
        item: Item = {"id": self._world.ids.new("rs_"), "type": "reasoning", "summary": []}
        yield self._event("response.output_item.added", output_index=len(self.output), item=item)
        yield self._done(item)

    def _done(self, item: Item) -> Event:
        self.output.append(item)
        return self._event("response.output_item.done", output_index=len(self.output) - 1, item=item)

    async def _picture(self, order: Order, index: int) -> AsyncGenerator[Event, None]:
        """One image call: what the tool does, stage by stage."""
        item_id, place = self._world.ids.new("ig_"), len(self.output)
        at = {"output_index": place, "item_id": item_id}
        begun: Item = {
            "id": item_id,
            "type": "image_generation_call",
            "status": "in_progress",
            "result": None,
        }
        yield self._event("response.output_item.added", output_index=place, item=begun)
        yield self._event("response.image_generation_call.in_progress", **at)
        yield self._event("response.image_generation_call.generating", **at)
        if self._plan.blocked:
            if self._call.steering.moderate == "output":
                await self._pace.until((index + 1) / self._plan.pictures * _PAINTING)
            yield self._done(self._refused(begun))
            return
        motif = motif_of(order, index)
        async with aclosing(self._stages(order, motif, index, at)) as stages:
            async for event in stages:
                yield event
        picture = await self._world.studio.picture(motif, order.look.film)
        await self._pace.until((index + 1) / self._plan.pictures * _PAINTING)
        if self._call.gone.is_set() and not self._plan.background:
            return
        self.tally.finish()
        yield self._event("response.image_generation_call.completed", **at)
        yield self._done(
            {
                **begun,
                "status": "completed",
                "result": picture.b64,
                "revised_prompt": revised(order.prompt),
                "action": order.action,
                **_resolved(order),
                **_author(order),
            }
        )

    async def _stages(
        self, order: Order, motif: Motif, index: int, at: dict[str, object]
    ) -> AsyncGenerator[Event, None]:
        """The partial images of one call, if anybody is to see them."""
        asked = order.look.partial_images
        steered = self._call.steering.partials
        deliver = (asked if steered is None else steered) if self._streamed else 0
        for number in range(deliver):
            part = (number + 1) / (deliver + 1)
            picture = await self._world.studio.picture(
                motif, order.look.film, part if number < asked else 1.0
            )
            await self._pace.until((index + part) / self._plan.pictures * _PAINTING)
            yield self._event(
                "response.image_generation_call.partial_image",
                **at,
                partial_image_index=number,
                partial_image_b64=picture.b64,
                **_resolved(order),
            )

    def _refused(self, begun: Item) -> Item:
        stage = self._call.steering.moderate or "input"
        error = errors.blocked(self._call.request_id, stage=stage)
        return {**begun, "status": "failed", "error": error.inner() | {"type": "image_tool_error"}}

    def _spoken(self) -> Iterator[Event]:
        """What the mainline model says or calls at the end."""
        if self._plan.function is not None:
            yield from self._function(self._plan.function)
            return
        text = self.tally.text()
        item_id, place = self._world.ids.new("msg_"), len(self.output)
        at = {"output_index": place, "item_id": item_id, "content_index": 0}
        begun: Item = {
            "id": item_id,
            "type": "message",
            "role": "assistant",
            "status": "in_progress",
            "content": [],
        }
        empty = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
        yield self._event("response.output_item.added", output_index=place, item=begun)
        yield self._event("response.content_part.added", **at, part=empty)
        for number, delta in enumerate(pieces(text)):
            noise = {"obfuscation": "x" * (16 - number % 16)} if self._plan.obfuscate else {}
            yield self._event("response.output_text.delta", **at, delta=delta, logprobs=[], **noise)
        yield self._event("response.output_text.done", **at, text=text, logprobs=[])
        yield self._event("response.content_part.done", **at, part=empty | {"text": text})
        status = "incomplete" if self.tally.cut_short() else "completed"
        yield self._done({**begun, "status": status, "content": [empty | {"text": text}]})

    def _function(self, name: str) -> Iterator[Event]:
        place, arguments = len(self.output), "{}"
        item: Item = {
            "id": self._world.ids.new("fc_"),
            "type": "function_call",
            "status": "in_progress",
            "arguments": "",
            "call_id": self._world.ids.new("call_"),
            "name": name,
        }
        at = {"output_index": place, "item_id": item["id"]}
        yield self._event("response.output_item.added", output_index=place, item=item)
        yield self._event("response.function_call_arguments.delta", **at, delta=arguments)
        yield self._event("response.function_call_arguments.done", **at, arguments=arguments, name=name)
        yield self._done({**item, "status": "completed", "arguments": arguments})

    def _end(self) -> Event:
        if self.tally.cut_short():
            self.shown.update(status="incomplete", incomplete_details={"reason": "max_output_tokens"})
        else:
            self.shown.update(status="completed", completed_at=int(clock.now()))
        self.shown["output"] = self.output
        if self._call.steering.usage != "omit":
            self.shown["usage"] = self.tally.shown_usage()
        if self._call.steering.tool_usage != "omit":
            self.shown["tool_usage"] = {
                "image_gen": self.tally.shown_tool(self._call.steering),
                "web_search": {"num_requests": 0},
            }
        return self._life(f"response.{self.shown['status']}")


def _resolved(order: Order) -> dict[str, object]:
    look = order.look
    return {
        "size": look.size_text,
        "quality": look.quality,
        "background": look.background,
        "output_format": look.film.output_format,
    }


def _author(order: Order) -> dict[str, object]:
    """What an SVG's author used, beside the image tokens."""
    return {"svg_usage": svg_usage(order)} if order.look.film.output_format == "svg" else {}
