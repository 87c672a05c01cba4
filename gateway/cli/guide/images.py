"""The guide's calls of the Images API."""

import base64
import warnings
from typing import TYPE_CHECKING, Final

import httpx2

from gateway.cli.guide import album
from gateway.cli.guide.step import Answer, Desk, NotPossibleError, Step, Want

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai.types import (
        ImageEditStreamEvent,
        ImageGenStreamEvent,
        ImagesResponse,
    )

# Guide, input fidelity: what a square reference costs more at high fidelity with gpt-image-1.
HIGH_FIDELITY_TOKENS: Final = 4160
BASKET: Final = "A gift basket of these four pictures by a lake at sunset"


def generate(desk: Desk) -> Answer:
    """A picture from a prompt."""
    return plain(
        desk.client.images.generate(
            model="gpt-image-2",
            prompt="A lighthouse on a mountain by the sea, at sunset",
            size="1024x1024",
            quality="medium",
        )
    )


def generate_as_in_the_guide(desk: Desk) -> Answer:
    """The guide's first picture."""
    return plain(
        desk.client.images.generate(
            model="gpt-image-1",
            prompt="A children's book drawing of a veterinarian using a stethoscope to listen to the heartbeat of a "
            "baby otter in a meadow.",
            size="1024x1536",
            quality="medium",
        )
    )


def transparent(desk: Desk) -> Answer:
    """The guide's sprite, cut out."""
    return plain(
        desk.client.images.generate(
            model="gpt-image-1",
            prompt="Draw a 2D pixel art style sprite sheet of a tabby gray cat in space",
            size="1024x1024",
            background="transparent",
            quality="high",
        )
    )


def compressed(desk: Desk) -> Answer:
    """A WebP, smaller than it could be."""
    return plain(
        desk.client.images.generate(
            model="gpt-image-2",
            prompt="A stained glass window of a violet iris",
            size="1024x1024",
            quality="low",
            output_format="webp",
            output_compression=50,
        )
    )


def two_at_once(desk: Desk) -> Answer:
    """Two pictures in one call."""
    return plain(
        desk.client.images.generate(
            model="gpt-image-2",
            prompt="A forest in winter, seen from a hill",
            size="1536x1024",
            quality="low",
            n=2,
        )
    )


def four_references(desk: Desk) -> Answer:
    """An edit that puts four pictures together."""
    return plain(
        desk.client.images.edit(
            model="gpt-image-1", image=desk.earlier(4), prompt=BASKET, size="1024x1024", quality="low"
        )
    )


def masked(desk: Desk) -> Answer:
    """An edit that may paint within the mask only."""
    picture = desk.earlier(1)[0]
    mask = desk.folder / "mask.png"
    mask.write_bytes(album.mask_for(picture))
    answer = plain(
        desk.client.images.edit(
            model="gpt-image-1",
            image=picture,
            mask=mask,
            prompt="A golden planet in space",
            size="1024x1024",
            quality="low",
        )
    )
    before, hole = album.opened(picture.read_bytes()), album.opened(mask.read_bytes())
    after = album.opened(answer.pictures[0]) if answer.pictures else None
    if before is None or hole is None or after is None or after.size != before.size:
        return answer
    inside, outside = album.changed_within(before, after, hole)
    wrong = [] if inside else ["nothing was painted within the mask"]
    wrong += ["what the mask covers was painted over"] if outside else []
    return _with_faults(answer, *wrong)


def faithful(desk: Desk) -> Answer:
    """An edit that keeps close to its reference."""
    made = desk.client.images.edit(
        model="gpt-image-1",
        image=desk.earlier(1)[0],
        prompt="The same lighthouse on an autumn evening",
        size="1024x1024",
        quality="low",
        input_fidelity="high",
    )
    read = made.usage.input_tokens_details.image_tokens if made.usage else 0
    if read > HIGH_FIDELITY_TOKENS:
        return plain(made)
    return _with_faults(plain(made), f"{read} input image tokens: that is not high fidelity")


def variation(desk: Desk) -> Answer:
    """Another picture like a given one. OpenAI has retired the route; compatible servers have not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        made = desk.client.images.create_variation(
            model="dall-e-2", image=desk.earlier(1)[0], size="512x512", response_format="b64_json"
        )
    return plain(made)


def by_url(desk: Desk) -> Answer:
    """A picture that stays where it was made; the answer says where. It is fetched from there."""
    made = desk.client.images.generate(
        model="dall-e-3",
        prompt="Music as flowing waves of blue and gold",
        size="1792x1024",
        quality="standard",
        response_format="url",
    )
    pictures, wrong = [], []
    for one in made.data or []:
        if one.url is None:
            wrong.append("the answer has a picture without a URL")
            continue
        pictures.append(httpx2.get(one.url, trust_env=False).raise_for_status().content)
        if not one.revised_prompt:
            wrong.append("the answer has no revised prompt")
    return Answer(tuple(pictures), None, faults=tuple(wrong))


def streamed(desk: Desk) -> Answer:
    """A picture that is seen while it is made."""
    with desk.client.images.generate(
        model="gpt-image-1",
        prompt="A river of white owl feathers, winding its way through a winter landscape",
        size="1024x1024",
        quality="low",
        stream=True,
        partial_images=2,
    ) as stream:
        return watched(desk, stream)


def streamed_edit(desk: Desk) -> Answer:
    """An edit that is seen while it is made."""
    with desk.client.images.edit(
        model="gpt-image-2",
        image=desk.earlier(1)[0],
        prompt="The same place in a galaxy of violet stars",
        size="1024x1024",
        quality="medium",
        stream=True,
        partial_images=3,
    ) as stream:
        return watched(desk, stream)


def plain(made: "ImagesResponse") -> Answer:
    """What a whole answer says."""
    usage = made.usage
    details = usage.output_tokens_details if usage else None
    return Answer(
        pictures=tuple(base64.b64decode(one.b64_json or "") for one in made.data or []),
        tokens=details.image_tokens if details else usage.output_tokens if usage else None,
        size=made.size,
        quality=made.quality,
    )


def watched(desk: Desk, stream: "Iterable[ImageGenStreamEvent | ImageEditStreamEvent]") -> Answer:
    """
    What a stream says, read to its end.

    Raises:
        NotPossibleError: it ended without a finished picture.
    """
    partials: list[tuple[int, bytes]] = []
    last: Answer | None = None
    for event in stream:
        picture = base64.b64decode(event.b64_json)
        match event.type:
            case "image_generation.partial_image" | "image_edit.partial_image":
                desk.arrived(event.partial_image_index, picture)
                partials.append((event.partial_image_index, picture))
            case "image_generation.completed" | "image_edit.completed":
                last = Answer(
                    (picture,), event.usage.output_tokens, tuple(partials), event.size, event.quality
                )
    if last is None:
        raise NotPossibleError("the stream ended without a finished picture")
    return last


def _with_faults(answer: Answer, *wrong: str) -> Answer:
    return Answer(answer.pictures, answer.tokens, answer.partials, answer.size, answer.quality, wrong)


_SQUARE: Final = "1024x1024"

STEPS: Final = (
    Step("generate", "gpt-image-2", generate, Want(_SQUARE, "medium", "gpt-image-2")),
    Step("generate", "gpt-image-1", generate_as_in_the_guide, Want("1024x1536", "medium", "gpt-image-1")),
    Step(
        "transparent background",
        "gpt-image-1",
        transparent,
        Want(_SQUARE, "high", "gpt-image-1", transparent=True),
    ),
    Step(
        "webp, compressed", "gpt-image-2", compressed, Want(_SQUARE, "low", "gpt-image-2", file_format="WEBP")
    ),
    Step("n = 2", "gpt-image-2", two_at_once, Want("1536x1024", "low", "gpt-image-2", images=2)),
    Step("edit, four references", "gpt-image-1", four_references, Want(_SQUARE, "low", "gpt-image-1")),
    Step("edit, mask", "gpt-image-1", masked, Want(_SQUARE, "low", "gpt-image-1")),
    Step("edit, high input fidelity", "gpt-image-1", faithful, Want(_SQUARE, "low", "gpt-image-1")),
    Step("variation", "dall-e-2", variation, Want("512x512", None, None)),
    Step("generate, by URL", "dall-e-3", by_url, Want("1792x1024", None, None)),
    Step("generate, streamed", "gpt-image-1", streamed, Want(_SQUARE, "low", "gpt-image-1", partials=2)),
    Step("edit, streamed", "gpt-image-2", streamed_edit, Want(_SQUARE, "medium", "gpt-image-2", partials=3)),
)
"""In the order in which they are made: edits work on the pictures before them."""
