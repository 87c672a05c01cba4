"""
What the images API was asked to make, checked by OpenAI's rules and with every `auto` resolved.

`auto` becomes what recordings of the API show: quality high, 1024x1024, opaque. The image tool of the Responses API
uses the same rules for its own parameters.
"""

import re
from dataclasses import dataclass
from typing import Final, cast

from gateway.sandbox import errors, tariff
from gateway.sandbox.forms import Params
from gateway.sandbox.sources import Source
from gateway.sandbox.steer import Steering
from gateway.sandbox.studio import Film
from gateway.sandbox.tariff import Model, Size

FORMATS: Final = ("png", "jpeg", "webp", "gif", "svg")
MAX_PARTIALS: Final = 3
MAX_N: Final = 10
_SIZE: Final = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
_PROMPT_MAX: Final = 32_000
_SQUARE: Final = (1024, 1024)
# Seconds of a generation at speed 1, by quality.
DURATION_S: Final = {
    "low": 2.0,
    "standard": 2.0,
    "medium": 4.0,
    "high": 8.0,
    "hd": 8.0,
    "xhigh": 12.0,
    "max": 16.0,
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a picture is to be: everything but what is on it."""

    model: Model
    quality: str
    size: Size
    background: str
    film: Film
    partial_images: int
    high_fidelity: bool

    @property
    def size_text(self) -> str:
        """`1024x1024`."""
        return f"{self.size[0]}x{self.size[1]}"

    @property
    def duration_s(self) -> float:
        """Seconds one picture takes at speed 1."""
        return DURATION_S.get(self.quality, 8.0)


@dataclass(frozen=True, slots=True)
class Order:
    """A call of the images API."""

    action: str
    look: Look
    prompt: str
    n: int
    stream: bool
    as_url: bool
    safety_identifier: str | None
    sources: tuple[Source, ...] = ()
    mask: bytes | None = None
    svg_model: str | None = None

    @property
    def by_token(self) -> bool:
        """Whether the model is one that reports usage; DALL·E is not."""
        return self.look.model.kind == "image"


def image_model(params: Params, route: str) -> Model:
    """
    The image model that a call names, or the catalogue's default.

    Raises:
        ApiError: 400 for a name that is no image model.
    """
    name = params.text("model") or tariff.default(route)
    model = tariff.find(name)
    if model is None or model.kind == "text":
        raise errors.no_image_model(name)
    return model


def look_of(params: Params, model: Model, steering: Steering) -> Look:
    """
    How the picture is to be.

    Raises:
        ApiError: 400 for what this model does not take.
    """
    output_format = params.choice("output_format", FORMATS, "png")
    background = params.choice("background", ("auto", "transparent", "opaque"), "auto")
    if background == "transparent" and output_format not in {"png", "webp", "svg"}:
        raise errors.ApiError(
            400,
            "Transparent background is not supported for this output format; use 'png' or 'webp'.",
            param="background",
            code="invalid_value",
        )
    partials = params.number("partial_images", 0, MAX_PARTIALS) or 0
    if partials and output_format in {"gif", "svg"}:
        raise _excluded("partial_images", output_format)
    compression = params.number("output_compression", 0, 100)
    frames = (params.number("frame_count", 2, 16) or 9, params.number("frame_duration_ms", 1, 655_350) or 200)
    fidelity = params.choice("input_fidelity", ("low", "high"), "low")
    return Look(
        model=model,
        quality=steering.quality_out or _quality(params, model),
        size=_spelled(steering.size_out) if steering.size_out else _size(params, model),
        background="transparent" if background == "transparent" else "opaque",
        film=Film(output_format, 100 if compression is None else compression, frames),
        partial_images=partials,
        high_fidelity=fidelity == "high",
    )


def order_of(
    params: Params,
    action: str,
    steering: Steering,
    sources: tuple[Source, ...] = (),
    mask: bytes | None = None,
) -> Order:
    """
    The whole order.

    Raises:
        ApiError: 400 in OpenAI's words.
    """
    model = image_model(params, f"images.{ROUTES[action]}")
    by_token = model.kind == "image"
    prompt = params.text("prompt") or ""
    if not prompt and action != "variation":
        raise errors.missing("prompt")
    if len(prompt) > _PROMPT_MAX:
        raise errors.ApiError(
            400,
            f"Invalid 'prompt': string too long, at most {_PROMPT_MAX}.",
            param="prompt",
            code="string_above_max_length",
        )
    if by_token and params.values.get("response_format") is not None:
        raise errors.unknown_parameter("response_format")
    look = look_of(params, model, steering)
    order = Order(
        action=action,
        look=look,
        prompt=prompt,
        n=params.number("n", 1, MAX_N) or 1,
        stream=params.flag("stream") and by_token and action != "variation",
        as_url=not by_token and params.choice("response_format", ("url", "b64_json"), "url") == "url",
        safety_identifier=params.text("safety_identifier") or params.text("user"),
        sources=sources,
        mask=mask,
        svg_model=_svg_model(params),
    )
    _refuse_contradictions(order)
    return order


ROUTES: Final = {"generate": "generations", "edit": "edits", "variation": "variations"}


def _refuse_contradictions(order: Order) -> None:
    output_format = order.look.film.output_format
    if order.stream and order.n > 1:
        raise errors.ApiError(
            400,
            "Streaming is only supported with n=1.",
            type=errors.IMAGE_USER,
            param="n",
            code="unsupported_parameter",
        )
    if order.stream and output_format in {"gif", "svg"}:
        raise _excluded("stream", output_format)
    if order.n > 1 and output_format == "svg":
        raise _excluded("n", output_format)
    if order.n > 1 and order.look.model.name == "dall-e-3":
        raise errors.invalid("n", order.n, "1")
    if order.mask is not None and output_format == "gif":
        raise _excluded("mask", output_format)


def _excluded(param: str, output_format: str) -> errors.ApiError:
    return errors.ApiError(
        400,
        f"'{param}' is not supported with output_format '{output_format}'.",
        type=errors.IMAGE_USER,
        param=param,
        code="unsupported_parameter",
    )


def _svg_model(params: Params) -> str | None:
    """The author of an SVG, `svg.model` in JSON and `svg[model]` in a form."""
    svg = params.values.get("svg")
    named = svg.get("model") if isinstance(svg, dict) else params.values.get("svg[model]")
    if named is None or isinstance(named, str):
        return named
    raise errors.wrong_type("svg.model", "a string", named)


def _quality(params: Params, model: Model) -> str:
    asked = params.text("quality") or "auto"
    if asked == "auto":
        return model.usual_quality
    if asked not in model.qualities:
        known = ", ".join(f"'{word}'" for word in (*model.qualities, "auto"))
        raise errors.invalid("quality", asked, known)
    return asked


def _spelled(size: str) -> Size:
    width, _, height = size.partition("x")
    return int(width), int(height)


def _size(params: Params, model: Model) -> Size:
    asked = params.text("size") or "auto"
    if asked == "auto":
        return _SQUARE
    if model.sizes is not None:
        if asked not in model.sizes:
            known = ", ".join(f"'{size}'" for size in (*model.sizes, "auto"))
            raise errors.invalid("size", asked, known)
        return _spelled(asked)
    spelled = _SIZE.fullmatch(asked)
    limits = cast("dict[str, int]", model.row["sizes"])
    if spelled is None or not _within(limits, int(spelled[1]), int(spelled[2])):
        raise errors.ApiError(
            400,
            f"Invalid size '{asked}'. Width and height must be divisible by {limits['multiple_of']}, the longest edge "
            f"at most {limits['max_edge']}, the aspect ratio at most {limits['max_ratio']}:1, and the pixels between "
            f"{limits['min_pixels']} and {limits['max_pixels']}.",
            param="size",
            code="invalid_value",
        )
    return _spelled(asked)


def _within(limits: dict[str, int], width: int, height: int) -> bool:
    step = limits["multiple_of"]
    return (
        min(width, height) > 0
        and width % step == 0
        and height % step == 0
        and max(width, height) <= limits["max_edge"]
        and max(width, height) <= limits["max_ratio"] * min(width, height)
        and limits["min_pixels"] <= width * height <= limits["max_pixels"]
    )
