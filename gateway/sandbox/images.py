"""
The images API: generations, edits and variations, plain and streamed.

What is billed when (docs/sandbox.md says it for readers):
- A plain call is billed in full when its pictures are finished, whether or not anybody still waits for them.
- A streamed call is billed in full from the moment its final picture is finished. If it ends before that, because the
  client left, the line was cut or an error event came, it is billed its input and the partial images delivered by
  then, and nothing if there were none.
- A call that is refused, blocked by moderation before any partial image was delivered, or failed by steering before
  it began costs nothing.
"""

from gateway.sandbox import clock, errors, tariff
from gateway.sandbox.call import SSE, Call, GoneError
from gateway.sandbox.draw import Motif
from gateway.sandbox.forms import Params, params_of
from gateway.sandbox.invoice import Line, image_line, picture_line, text_line
from gateway.sandbox.orders import ROUTES, Order, order_of
from gateway.sandbox.sources import GALLERY, Source, mask, referenced, source
from gateway.sandbox.studio import Picture
from gateway.sandbox.tokens import prompt_tokens, source_tokens, text_tokens
from gateway.sandbox.world import World

MAX_SOURCES = 16
FORBIDDEN = "forbidden-by-sandbox"


async def generations(world: World, call: Call) -> None:
    """POST images/generations."""
    if call.is_form():
        raise errors.ApiError(400, "Unsupported content type: this endpoint takes 'application/json'.")
    await _serve(world, call, order_of(await params_of(call), "generate", call.steering))


async def edits(world: World, call: Call) -> None:
    """POST images/edits, as a form or as JSON."""
    params = await params_of(call)
    if params.is_form:
        images = [upload.data for upload in params.files("image")]
        masks = [upload.data for upload in params.files("mask")]
    else:
        images, masks = await _by_reference(world, call, params)
    if not images:
        raise errors.missing("image")
    if len(images) > MAX_SOURCES:
        raise errors.ApiError(400, f"At most {MAX_SOURCES} images; got {len(images)}.", param="image")
    found = tuple([await source(data, number) for number, data in enumerate(images, start=1)])
    hole = (await mask(masks[0], found[0])).data if masks else None
    await _serve(world, call, order_of(params, "edit", call.steering, found, hole))


async def variations(world: World, call: Call) -> None:
    """POST images/variations."""
    params = await params_of(call)
    uploads = params.files("image")
    if not uploads:
        raise errors.missing("image")
    order = order_of(params, "variation", call.steering, (await source(uploads[0].data, 1),))
    if order.by_token:
        raise errors.ApiError(
            400,
            f"The model '{order.look.model.name}' does not support variations.",
            type=errors.IMAGE_USER,
            param="model",
            code="invalid_value",
        )
    await _serve(world, call, order)


async def _by_reference(world: World, call: Call, params: Params) -> tuple[list[bytes], list[bytes]]:
    references = params.values.get("images")
    if references is None:
        return [], []
    if not isinstance(references, list):
        raise errors.wrong_type("images", "an array", references)
    images = [
        await referenced(world, call, one, f"images[{number}]") for number, one in enumerate(references)
    ]
    hole = params.values.get("mask")
    return images, [] if hole is None else [await referenced(world, call, hole, "mask")]


async def _serve(world: World, call: Call, order: Order) -> None:
    if FORBIDDEN in order.prompt or call.steering.moderate == "input":
        raise errors.blocked(call.request_id)
    if order.stream:
        await _streamed(world, call, order)
        return
    if call.steering.fail == "error-event":
        raise errors.steering("fail=error-event needs a call with stream: true")
    await _plain(world, call, order)


def motif_of(order: Order, index: int) -> Motif:
    """What the picture of this number shows."""
    return Motif(
        prompt=order.prompt,
        width=order.look.size[0],
        height=order.look.size[1],
        quality=order.look.quality,
        index=index,
        transparent=order.look.background == "transparent",
        sources=tuple(one.data for one in order.sources),
        mask=order.mask,
        salt=order.action if order.action == "variation" else "",
    )


async def _plain(world: World, call: Call, order: Order) -> None:
    pace = call.pace(order.look.duration_s)
    pictures = [
        await world.studio.picture(motif_of(order, index), order.look.film) for index in range(order.n)
    ]
    await pace.until(1)
    if call.steering.moderate == "output":
        raise errors.blocked(call.request_id, stage="output")
    tokens = usage_of(order, order.n, 0)
    world.books.charge(call.request_id, f"images.{ROUTES[order.action]}", lines_of(order, tokens))
    await call.json(_answer(world, call, order, pictures, tokens))


def _answer(
    world: World, call: Call, order: Order, pictures: list[Picture], tokens: dict[str, int]
) -> dict[str, object]:
    look = order.look
    found: dict[str, object] = {"created": int(clock.now())}
    if not order.by_token:
        return found | {"data": [_dall_e(world, call, order, picture) for picture in pictures]}
    found |= {
        "background": look.background,
        "data": [{"b64_json": picture.b64} for picture in pictures],
        "output_format": look.film.output_format,
        "quality": look.quality,
        "size": look.size_text,
    }
    if call.steering.usage != "omit":
        found["usage"] = _shown_usage(tokens, itemised=call.steering.usage != "no_details", left_out=0)
    if order.safety_identifier is not None:
        found["safety_identifier"] = order.safety_identifier
    if look.film.output_format == "svg":
        found["svg_usage"] = svg_usage(order)
    return found


def _dall_e(world: World, call: Call, order: Order, picture: Picture) -> dict[str, object]:
    found: dict[str, object] = {}
    if order.look.model.name == "dall-e-3":
        found["revised_prompt"] = f"{order.prompt}, painted in layers of light with a calm horizon"
    if not order.as_url:
        return found | {"b64_json": picture.b64}
    name = f"{world.ids.new('img-')}.png"
    world.gallery.put(name, picture.data, len(picture.data))
    return found | {"url": f"http://{call.header('host')}{GALLERY}{name}?se={clock.instant(minutes=60)}"}


async def _streamed(world: World, call: Call, order: Order) -> None:
    pace = call.pace(order.look.duration_s)
    family = "image_generation" if order.action == "generate" else "image_edit"
    asked = order.look.partial_images
    deliver = asked if call.steering.partials is None else call.steering.partials
    failing = call.steering.fail == "error-event"
    blocking = call.steering.moderate == "output"
    delivered, finished = 0, False
    motif = motif_of(order, 0)
    try:
        async with call.watched():
            await call.head(200, SSE)
            for index in range(min(1, deliver) if failing else deliver):
                part = (index + 1) / (deliver + 1)
                # A partial that nobody asked for is the final picture, as recordings show.
                picture = await world.studio.picture(motif, order.look.film, part if index < asked else 1.0)
                await pace.until(part)
                await call.event(_partial(family, order, index, picture))
                delivered += 1
                if call.steering.fail == "mid-stream":
                    await call.cut()
            if failing:
                error = errors.asked_for(500).inner()
                await call.event({"type": "error", "error": error})
                await call.end()
                return
            picture = await world.studio.picture(motif, order.look.film)
            await pace.until(1)
            if call.gone.is_set():
                return
            if blocking:
                error = errors.blocked(call.request_id, stage="output").inner()
                await call.event({"type": "error", "error": error})
                await call.end()
                return
            finished = True
            payload = _completed(call, family, order, picture, min(delivered, asked))
            await call.event(payload, half=call.steering.fail == "mid-stream")
            await call.end()
    except GoneError:
        return
    finally:
        paid = min(delivered, asked)
        if finished or paid:
            tokens = usage_of(order, int(finished), paid)
            world.books.charge(
                call.request_id, f"images.{ROUTES[order.action]}", lines_of(order, tokens, int(finished))
            )


def _partial(family: str, order: Order, index: int, picture: Picture) -> dict[str, object]:
    return {
        "type": f"{family}.partial_image",
        "b64_json": picture.b64,
        "created_at": int(clock.now()),
        **_resolved(order),
        "partial_image_index": index,
    }


def _completed(call: Call, family: str, order: Order, picture: Picture, partials: int) -> dict[str, object]:
    found: dict[str, object] = {
        "type": f"{family}.completed",
        "b64_json": picture.b64,
        "created_at": int(clock.now()),
        **_resolved(order),
    }
    if call.steering.usage != "omit":
        left_out = tariff.SURCHARGE * partials if call.steering.usage == "without_surcharge" else 0
        tokens = usage_of(order, 1, partials)
        found["usage"] = _shown_usage(tokens, itemised=False, left_out=left_out)
    if order.safety_identifier is not None:
        found["safety_identifier"] = order.safety_identifier
    return found


def _resolved(order: Order) -> dict[str, object]:
    look = order.look
    return {
        "size": look.size_text,
        "quality": look.quality,
        "background": look.background,
        "output_format": look.film.output_format,
    }


def usage_of(order: Order, pictures: int, partials: int) -> dict[str, int]:
    """What this order used: its input, so many finished pictures, and so many paid partial images."""
    model = order.look.model
    one = tariff.image_tokens(model, order.look.quality, order.look.size)
    return {
        "input_text": prompt_tokens(order.prompt, order.n, "edit" if order.sources else "generate"),
        "input_image": sum(_source_tokens(order, one) for one in order.sources),
        "output_image": pictures * one + tariff.SURCHARGE * partials,
    }


def _source_tokens(order: Order, one: Source) -> int:
    return source_tokens(order.look.model, one.size, high_fidelity=order.look.high_fidelity)


def _shown_usage(tokens: dict[str, int], *, itemised: bool, left_out: int) -> dict[str, object]:
    """`usage` as the API words it."""
    read = tokens["input_text"] + tokens["input_image"]
    written = tokens["output_image"] - left_out
    found: dict[str, object] = {
        "input_tokens": read,
        "input_tokens_details": {"image_tokens": tokens["input_image"], "text_tokens": tokens["input_text"]},
        "output_tokens": written,
        "total_tokens": read + written,
    }
    if itemised:
        found["output_tokens_details"] = {"image_tokens": written, "text_tokens": 0}
    return found


def lines_of(order: Order, tokens: dict[str, int], pictures: int | None = None) -> list[Line]:
    """The bill of this order; `pictures` where fewer or more were finished than `n` says."""
    count = order.n if pictures is None else pictures
    if not order.by_token:
        return [picture_line(order.look.model, order.look.quality, order.look.size, count)]
    if order.look.film.output_format != "svg":
        return [image_line(order.look.model, count, tokens)]
    usage = svg_usage(order)
    author = tariff.find(str(usage["model"]))
    written = {
        "input_text": count * _count(usage["input_tokens"]),
        "output_text": count * _count(usage["output_tokens"]),
    }
    drawn = [image_line(order.look.model, count, tokens)]
    return drawn if author is None else [*drawn, text_line(author, written, role="svg")]


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def svg_usage(order: Order) -> dict[str, object]:
    """The tokens of the model that wrote the SVG, apart from those of its reference image."""
    read, written = 320 + text_tokens(order.prompt), 1450
    return {
        "input_tokens": read,
        "model": order.svg_model or "gpt-5.6-terra",
        "output_tokens": written,
        "reasoning_tokens": 256,
        "total_tokens": read + written,
    }
