"""
What a request brings along for models to read, and whether that is all they will read.

Text is counted in UTF-8 bytes, which are never fewer than its tokens; pictures are counted apart, because their
tokens follow from the model and not from their bytes. Whatever is kept upstream (an earlier response, a
conversation, a file, a stored prompt) or fetched from elsewhere can bring more than the request shows.

Not here: how many tokens that is at most (estimate.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.core.multipart import Part

IMAGE_CALL = "image_generation_call"
_REFERENCE = "item_reference"
_INPUT_IMAGE = "input_image"
# Their contents become text and pictures that the request does not show.
_INPUT_FILE = "input_file"
_KEPT_UPSTREAM = ("previous_response_id", "conversation", "prompt")
# Beside its characters a JSON value brings a quote, a comma, a colon: never more tokens than signs.
_SIGNS = 4
_NUMBER = 24


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is there to read."""

    text_bytes: int = 0
    """UTF-8 bytes of all that is read as text; of the prompt alone on the Images API."""
    images: int = 0
    """Pictures to look at. A mask is none: OpenAI does not count it."""
    beyond: bool = False
    """There is more that the request does not show: its tokens cannot be bounded."""


def of_form(parts: Iterable[Part]) -> Inputs:
    """What a form brings: `image`, `image[]` or `image[0]` for each picture, `markup` for an overlay, and a prompt."""
    text_bytes = images = 0
    for part in parts:
        if part.name == "prompt":
            text_bytes += part.size
        elif part.name in {"image", "markup"} or part.name.startswith("image["):
            images += 1
    return Inputs(text_bytes, images)


def of_images(body: Mapping[str, object]) -> Inputs:
    """What a JSON body of the Images API brings."""
    prompt, images = body.get("prompt"), body.get("images")
    count = len(images) if isinstance(images, list) else 0
    return Inputs(
        _utf8(prompt) if isinstance(prompt, str) else 0, count + (1 if body.get("markup") is not None else 0)
    )


def of_responses(body: Mapping[str, object]) -> Inputs:
    """
    What a Responses call brings: everything in it, tools and instructions included.

    Pictures are `input_image` parts and the image calls of earlier turns, by their result or by their id.
    """
    found = _Found()
    found.walk(body)
    kept = any(body.get(name) is not None for name in _KEPT_UPSTREAM)
    return Inputs(found.text_bytes, found.images, found.beyond or kept)


@dataclass(slots=True)
class _Found:
    text_bytes: int = 0
    images: int = 0
    beyond: bool = False

    def walk(self, value: object) -> None:
        """Depth is bounded by the strict reader of request bodies."""
        match value:
            case str():
                self.text_bytes += _utf8(value) + _SIGNS
            case dict():
                picture = self._notice(value)
                for key, one in value.items():
                    self.text_bytes += _utf8(key) + _SIGNS
                    if key != picture:
                        self.walk(one)
            case list():
                self.text_bytes += _SIGNS
                for one in value:
                    self.walk(one)
            case _:
                self.text_bytes += _NUMBER

    def _notice(self, value: Mapping[str, object]) -> str | None:
        """Count a picture; the name of the field that holds it, which is no text."""
        kind = value.get("type")
        if kind == _INPUT_IMAGE:
            self.images += 1
            return "image_url"
        if kind == IMAGE_CALL:
            self.images += 1
            return "result"
        if kind in {_REFERENCE, _INPUT_FILE}:
            self.images += 1
            self.beyond = True
        return None


def _utf8(text: str) -> int:
    # The first is a flag of the string, the second a pass over all of it.
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
