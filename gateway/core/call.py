"""
What a request asks for, as far as we decide by it.

OpenAI judges requests; we do not. This module reads the few fields that limits and permissions speak of, and
refuses a body only where one of those cannot be read, or could be read in two ways. Everything else, known or
not, passes as it came.

Not here: reading bytes (strictjson.py, multipart.py), what is allowed (admission.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core import inputs
from gateway.core.errors import Code, Refusal, Refused, quoted
from gateway.core.inputs import Inputs
from gateway.core.multipart import Form
from gateway.core.routes import Match

IMAGE_TOOL = "image_generation"
FORM_FIELDS = frozenset(
    {
        "model",
        "n",
        "size",
        "quality",
        "partial_images",
        "stream",
        "svg[model]",
        "response_format",
        "output_format",
        "frame_count",
    }
)
"""The fields of a form that are read. `svg[model]` is how the SDKs spell a nested field."""

_ITEM_LISTS = ("input", "items")
"""Where a Responses call, and a conversation, keep their items."""
_REFERENCES = frozenset({"file_id", "previous_response_id", "conversation"})
_MAX_DIGITS = 3
LARGEST = 2**53 - 1
"""Of the integers that are read: the largest that all who read JSON agree on (RFC 8259 §6)."""


@dataclass(frozen=True, slots=True)
class ImageAsk:
    """One request for images: the Images call itself, or one image tool of a Responses call."""

    where: str = ""
    """Prefix of its fields in error messages: empty, or `tools[0].`."""
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    n: int | None = None
    partial_images: int | None = None
    output_format: str | None = None
    frame_count: int | None = None
    """Of a GIF."""


@dataclass(frozen=True, slots=True)
class Named:
    """A value and where it stood, for messages."""

    param: str
    value: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call, read."""

    match: Match
    model: str | None = None
    """As asked; None: none was named."""
    images: tuple[ImageAsk, ...] = ()
    tools: tuple[Named, ...] = ()
    """The type of each tool offered."""
    authors: tuple[Named, ...] = ()
    """Further models that the call makes work and pays for, such as the author of an SVG."""
    stream: bool = False
    background: bool = False
    stored_prompt: bool = False
    """It uses a prompt template kept by OpenAI, whose contents we do not see."""
    names_ids: bool = False
    """It refers to something kept upstream (a file, a response, a conversation), under one credential."""
    inputs: Inputs = Inputs()  # noqa: RUF009 - a frozen value
    """What it brings for the models to read."""
    max_tool_calls: int | None = None
    max_output_tokens: int | None = None
    service_tier: str | None = None
    """As asked; what is paid is the one that the response names."""

    @property
    def takes_model(self) -> bool:
        """Whether a model works for this call, named or not."""
        return self.match.route.metered or self.match.route.name == "responses.input_tokens"


def read_form(match: Match, form: Form) -> Call:
    """
    An Images call from its form fields.

    Raises:
        Refused: 400 `invalid_type`, naming the field.
    """
    fields = form.fields
    author = fields.get("svg[model]")
    return Call(
        match=match,
        model=fields.get("model") or None,
        images=(
            ImageAsk(
                model=fields.get("model") or None,
                size=fields.get("size") or None,
                quality=fields.get("quality") or None,
                n=_form_int(fields, "n"),
                partial_images=_form_int(fields, "partial_images"),
                output_format=fields.get("output_format") or None,
                frame_count=_form_int(fields, "frame_count"),
            ),
        ),
        authors=(Named("svg[model]", author),) if author else (),
        stream=fields.get("stream", "").strip().lower() in {"true", "1"},
        inputs=inputs.of_form(form.parts),
    )


def read_json(match: Match, body: object) -> Call:
    """
    An Images or Responses call from its JSON body.

    Raises:
        Refused: 400 `invalid_json` where the body is not an object, `invalid_type` naming a field.
    """
    if not isinstance(body, dict):
        raise Refused(
            Refusal(Code.INVALID_JSON, f"The body must be a JSON object; this one is {_json_type(body)}.")
        )
    fields = _Fields(body)
    if match.route.name.startswith("images."):
        return Call(
            match=match,
            model=fields.text("model"),
            images=(_image_ask(fields),),
            authors=tuple(_authors(fields)),
            stream=fields.flag("stream"),
            names_ids=_mentions_ids(body),
            inputs=inputs.of_images(body),
        )
    tools = list(_offered(fields))
    return Call(
        match=match,
        model=fields.text("model"),
        images=tuple(_image_ask(tool) for kind, tool in tools if kind.value == IMAGE_TOOL),
        tools=tuple(kind for kind, _ in tools),
        authors=tuple(author for _, tool in tools for author in _authors(tool)),
        stream=fields.flag("stream"),
        background=fields.flag("background"),
        stored_prompt=body.get("prompt") is not None,
        names_ids=True,
        inputs=inputs.of_responses(body),
        max_tool_calls=fields.integer("max_tool_calls"),
        max_output_tokens=fields.integer("max_output_tokens"),
        service_tier=fields.text("service_tier"),
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """Typed reading of one JSON object; a field that is null is as good as absent."""

    values: dict[str, object]
    where: str = ""

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value
        raise self.wrong(name, "a string", value)

    def integer(self, name: str) -> int | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) <= LARGEST:
                return value
            message = f"Integer out of range for '{self.where}{name}': the upstream takes far smaller ones."
            raise Refused(Refusal(Code.INVALID_TYPE, message, f"{self.where}{name}"))
        raise self.wrong(name, "an integer", value)

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise self.wrong(name, "a boolean", value)

    def wrong(self, name: str, wanted: str, value: object) -> Refused:
        param = f"{self.where}{name}"
        message = f"Invalid type for '{param}': expected {wanted}, but got {_json_type(value)} instead."
        return Refused(Refusal(Code.INVALID_TYPE, message, param))


def _image_ask(fields: _Fields) -> ImageAsk:
    return ImageAsk(
        where=fields.where,
        model=fields.text("model"),
        size=fields.text("size"),
        quality=fields.text("quality"),
        n=fields.integer("n"),
        partial_images=fields.integer("partial_images"),
        output_format=fields.text("output_format"),
        frame_count=fields.integer("frame_count"),
    )


def _authors(fields: _Fields) -> Iterator[Named]:
    svg = fields.values.get("svg")
    if svg is None:
        return
    if not isinstance(svg, dict):
        raise fields.wrong("svg", "an object", svg)
    model = _Fields(svg, f"{fields.where}svg.").text("model")
    if model is not None:
        yield Named(f"{fields.where}svg.model", model)


def _offered(fields: _Fields) -> Iterator[tuple[Named, _Fields]]:
    """
    Every tool that the model would be offered, wherever the call brings it in.

    Besides `tools` of the call itself, items of its input (or of a conversation) may bring tools
    (`additional_tools`, `tool_search_output`), and tools may hold tools (`namespace`).
    """
    yield from _tools(fields)
    for name in _ITEM_LISTS:
        items = fields.values.get(name)
        if isinstance(items, list):
            for index, item in enumerate(items):
                if isinstance(item, dict):
                    yield from _tools(_Fields(item, f"{fields.where}{name}[{index}]."))


def _tools(fields: _Fields) -> Iterator[tuple[Named, _Fields]]:
    tools = fields.values.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise fields.wrong("tools", "an array", tools)
    for index, tool in enumerate(tools):
        where = f"{fields.where}tools[{index}]"
        if not isinstance(tool, dict):
            raise fields.wrong(f"tools[{index}]", "an object", tool)
        one = _Fields(tool, f"{where}.")
        kind = one.text("type")
        if kind is None:
            raise one.wrong("type", "a string", None)
        yield Named(f"{where}.type", kind), one
        yield from _tools(one)


def _mentions_ids(value: object) -> bool:
    """Whether a value kept upstream is referred to anywhere in it."""
    if isinstance(value, dict):
        return any(key in _REFERENCES or _mentions_ids(one) for key, one in value.items())
    if isinstance(value, list):
        return any(map(_mentions_ids, value))
    return False


def _form_int(fields: dict[str, str], name: str) -> int | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        return int(text)
    message = f"Invalid type for '{name}': expected an integer, but got {quoted(text)} instead."
    raise Refused(Refusal(Code.INVALID_TYPE, message, name))


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"
