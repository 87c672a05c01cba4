"""
By the sandbox's own counting no call comes to more than was reserved for it, as far as the request bounds it.

Whatever it left open, and however its answer ends. The sandbox counts the tokens of prompts, sources and pictures with
code of its own (gateway/sandbox).
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.observation import Ending, Observation
from gateway.core.settle import Settlement
from gateway.sandbox import tariff
from gateway.sandbox.context import seen_tokens
from gateway.sandbox.tokens import prompt_tokens, source_tokens, text_tokens
from tests.support.replies import (
    CATALOG,
    EDITS,
    GENERATIONS,
    LOOK,
    call_of,
    event,
    images_body,
    images_stream,
    item,
    observed,
    reserved,
    response,
    settled,
)

# Each rule has its models: the table, the formula, a factor over it, a family, and prices by the picture.
BY_TOKEN = [
    "gpt-image-1",
    "gpt-image-1-mini",
    "gpt-image-1.5",
    "gpt-image-2",
    "gpt-image-2.5-flare",
    "gpt-image-2.6-sunburst",
    "gpt-image-99",
]
BY_PICTURE = ["dall-e-2", "dall-e-3"]
SIZES = [
    (1024, 1024),
    (1024, 1536),
    (1536, 1024),
    (1024, 640),
    (1536, 864),
    (2048, 2048),
    (2880, 2880),
    (3840, 2160),
    (1280, 3840),
]
# What `auto` gave in a recording, and nobody could ask for.
OPEN_SIZES = [*SIZES, (1254, 1254)]
REPORTS = ["full", "omitted", "zero", "of one picture", "without surcharge"]
# What the sandbox adds to the mainline input: the frame, the turn, and the image tool's description.
MAIN_FRAME = 16 + 8 + 255


@dataclass(frozen=True, slots=True)
class Scene:
    """Pictures as they are asked for, and as they come."""

    model: tariff.Model
    asked: dict[str, Any]
    quality: str
    size: tariff.Size

    @property
    def tokens(self) -> int:
        """Of one picture."""
        return tariff.image_tokens(self.model, self.quality, self.size)

    @property
    def look(self) -> dict[str, str]:
        return {**LOOK, "size": f"{self.size[0]}x{self.size[1]}", "quality": self.quality}


@st.composite
def scenes(draw: st.DrawFn, names: list[str]) -> Scene:
    model = tariff.find(draw(st.sampled_from(names)))
    assert model is not None
    asked_quality = draw(st.sampled_from([*model.qualities, "auto", None]))
    if model.sizes is None:
        known, may_be = SIZES, OPEN_SIZES
    else:
        known = may_be = [(int(one.split("x")[0]), int(one.split("x")[1])) for one in model.sizes]
    asked_size = draw(st.sampled_from([*known, "auto", None]))
    if model.kind == "per_image":
        # What they leave open is their default: their answer does not say.
        quality = asked_quality if asked_quality in model.qualities else model.usual_quality
        size = asked_size if isinstance(asked_size, tuple) else (1024, 1024)
    else:
        quality = (
            asked_quality if asked_quality in model.qualities else draw(st.sampled_from(model.qualities))
        )
        size = asked_size if isinstance(asked_size, tuple) else draw(st.sampled_from(may_be))
    written = f"{asked_size[0]}x{asked_size[1]}" if isinstance(asked_size, tuple) else asked_size
    asked = {"model": model.name, "quality": asked_quality, "size": written}
    return Scene(model, {key: value for key, value in asked.items() if value is not None}, quality, size)


def reported(kind: str, *, text: int, image: int, each: int, pictures: int, partials: int) -> object:
    """A report of that kind: `text` and `image` of input, and so many pictures with so many paid partial images."""
    written = {
        "full": each * pictures + 100 * partials,
        "of one picture": each if pictures else 0,
        "without surcharge": each * pictures,
        "zero": 0,
    }
    if kind == "omitted":
        return None
    if kind == "zero":
        text = image = 0
    return {
        "input_tokens": text + image,
        "input_tokens_details": {"text_tokens": text, "image_tokens": image},
        "output_tokens": written[kind],
    }


def seen_of(body: bytes, kept: float, ending: Ending, *, stream: bool) -> Observation:
    body = body if ending is Ending.CLEAN else body[: round(len(body) * kept)]
    return observed(body, stream=stream, ending=ending)


def within_its_estimate(seen: Observation, call: Call) -> Settlement:
    held, spent = reserved(call), settled(seen, call)
    assert not held.unbounded
    assert spent.cost_nusd <= held.cost_nusd
    assert spent.tokens <= held.tokens
    assert spent.output_image_tokens <= held.image_tokens
    assert spent.charged_images <= held.images
    assert len(seen.finished) <= held.images
    return spent


def source_of(scene: Scene, size: tariff.Size, *, fidelity: bool) -> int:
    return 0 if scene.model.kind == "per_image" else source_tokens(scene.model, size, high_fidelity=fidelity)


@given(
    scene=scenes([*BY_TOKEN, *BY_PICTURE]),
    n=st.integers(1, 10),
    partials=st.none() | st.integers(0, 3),
    delivered=st.integers(0, 4),
    prompt=st.text(max_size=200),
    sources=st.lists(st.tuples(st.integers(1, 6000), st.integers(1, 6000)), max_size=16),
    fidelity=st.booleans(),
    report=st.sampled_from(REPORTS),
    kept=st.floats(0, 1),
    ending=st.sampled_from([Ending.CLEAN, Ending.BROKEN, Ending.LEFT]),
)
def test_no_call_of_the_images_api_comes_to_more_than_was_reserved(
    *,
    scene: Scene,
    n: int,
    partials: int | None,
    delivered: int,
    prompt: str,
    sources: list[tuple[int, int]],
    fidelity: bool,
    report: str,
    kept: float,
    ending: Ending,
) -> None:
    stream = partials is not None and scene.model.kind != "per_image"
    pictures = 1 if stream else n
    fields = {**scene.asked, "prompt": prompt, "n": pictures}
    if stream:
        fields |= {"stream": True, "partial_images": partials}
    if fidelity:
        fields["input_fidelity"] = "high"
    if sources:
        fields["images"] = [{"image_url": "data:image/png;base64,AAAA"}] * len(sources)
    said = reported(
        report,
        text=prompt_tokens(prompt, pictures, "edit" if sources else "generate"),
        image=sum(source_of(scene, size, fidelity=fidelity) for size in sources),
        each=scene.tokens,
        pictures=pictures,
        partials=min(partials or 0, delivered),
    )
    if scene.model.kind == "per_image":
        body = images_body(pictures=pictures, size=None, quality=None)
    elif stream:
        body = images_stream(delivered, said, look=scene.look)
    else:
        body = images_body(said, pictures=pictures, size=scene.look["size"], quality=scene.quality)
    spent = within_its_estimate(
        seen_of(body, kept, ending, stream=stream), call_of(EDITS if sources else GENERATIONS, **fields)
    )
    assert spent.cost_nusd > 0


@given(
    scene=scenes(BY_TOKEN),
    model=st.sampled_from(["gpt-5", "gpt-5.4", "gpt-4.1", "gpt-99"]),
    calls=st.integers(0, 4),
    made=st.integers(0, 4),
    partials=st.integers(0, 3),
    delivered=st.integers(0, 4),
    prompt=st.text(max_size=200),
    sources=st.lists(st.tuples(st.integers(1, 6000), st.integers(1, 6000)), max_size=4),
    room=st.integers(16, 3000),
    tier=st.sampled_from(["default", "flex", "priority"]),
    report=st.sampled_from(REPORTS),
    kept=st.floats(0, 1),
    ending=st.sampled_from([Ending.CLEAN, Ending.BROKEN, Ending.LEFT]),
)
def test_no_response_that_bounds_its_calls_and_its_words_comes_to_more_than_was_reserved(
    *,
    scene: Scene,
    model: str,
    calls: int,
    made: int,
    partials: int,
    delivered: int,
    prompt: str,
    sources: list[tuple[int, int]],
    room: int,
    tier: str,
    report: str,
    kept: float,
    ending: Ending,
) -> None:
    """Every later picture is made from the earlier ones too, and the mainline model sees each of them."""
    made = min(made, calls)
    content: list[dict[str, object]] = [{"type": "input_text", "text": prompt}]
    content.extend({"type": "input_image", "image_url": "data:image/png;base64,AAAA"} for _ in sources)
    call = call_of(
        "responses",
        model=model,
        input=[{"role": "user", "content": content}],
        tools=[{"type": "image_generation", **scene.asked, "partial_images": partials}],
        stream=True,
        max_tool_calls=calls,
        max_output_tokens=room,
        service_tier=tier,
    )
    of_sources = sum(source_of(scene, size, fidelity=True) for size in sources)
    of_earlier = source_of(scene, scene.size, fidelity=True) * (made * (made - 1) // 2)
    said = reported(
        report,
        text=made * prompt_tokens(prompt, 1, "edit" if sources else "generate"),
        image=made * of_sources + of_earlier,
        each=scene.tokens,
        pictures=made,
        partials=made * min(partials, delivered),
    )
    read = MAIN_FRAME + text_tokens(prompt) + sum(map(seen_tokens, sources)) + made * seen_tokens(scene.size)
    items = [item(number, **scene.look) for number in range(made)]
    shown = response(
        items, drawn=said, main=(read, room), tool=scene.model.name, model=model, service_tier=tier
    )
    sent = []
    for number, one in enumerate(items):
        at = {"output_index": number, "item_id": one["id"], **scene.look}
        sent.extend([event("response.image_generation_call.partial_image", **at)] * delivered)
        sent.append(event("response.output_item.done", output_index=number, item=one))
    body = b"".join([*sent, event("response.completed", response=shown)])
    within_its_estimate(seen_of(body, kept, ending, stream=True), call)


def test_the_models_of_these_calls_follow_every_kind_of_rule() -> None:
    kinds = {type(getattr(CATALOG.find(name), "rule", None)).__name__ for name in [*BY_TOKEN, *BY_PICTURE]}
    assert kinds == {"TableRule", "FormulaRule", "FactorRule", "NoneType"}
    assert {*BY_TOKEN} - {*CATALOG.models} == {"gpt-image-99"}
