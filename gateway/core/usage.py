"""
What the upstream reports about tokens, read without trust.

An absent count is None and never zero: an explicit zero is a statement, a missing field is not. Anything of another
shape is as good as absent; nothing here raises. The fields are those of OpenAI's specification and SDK: `usage` of the
Images API and its events, `usage` and `tool_usage` of the Responses API, `svg_usage` of either.

Not here: what to make of a report that is incomplete (settle.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

MOST_TOKENS = 10**12
"""No count of one call is larger; a larger one is no count."""
MOST_NAME = 128
"""Characters of a name that anything is decided by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUsage:
    """Tokens of an image model: `usage` of an Images answer or event, or `tool_usage.image_gen`."""

    input_tokens: int | None = None
    """Cached ones included."""
    input_text: int | None = None
    input_image: int | None = None
    cached_tokens: int | None = None
    cached_text: int | None = None
    cached_image: int | None = None
    output_tokens: int | None = None
    output_image: int | None = None
    output_text: int | None = None

    @property
    def is_zero(self) -> bool:
        """Whether it says that nothing was used: what the image tool reports when it was not called."""
        return not (self.input_tokens or self.input_text or self.input_image) and not (
            self.output_tokens or self.output_image or self.output_text
        )

    @property
    def has_output(self) -> bool:
        """Whether it says how many tokens the pictures had."""
        return self.output_tokens is not None or self.output_image is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextUsage:
    """Tokens of the mainline model: `usage` of a response. Input includes what was cached or written to the cache."""

    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    """Reasoning included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SvgUsage:
    """Tokens of the model that wrote an SVG: `svg_usage` of an Images answer or of an image item."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    """Reasoning included."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """How often a hosted tool was called that is paid by the call."""

    tool: str
    calls: int


def image_usage(value: object) -> ImageUsage | None:
    """A report about an image model; None where no count can be read in it."""
    if not isinstance(value, dict):
        return None
    read, written = _object(value, "input_tokens_details"), _object(value, "output_tokens_details")
    cached = _object(value, "cached_tokens_details")
    found = ImageUsage(
        input_tokens=count(value.get("input_tokens")),
        input_text=count(read.get("text_tokens")),
        input_image=count(read.get("image_tokens")),
        cached_tokens=_first(value.get("cached_tokens"), read.get("cached_tokens")),
        cached_text=count(cached.get("cached_text_tokens")),
        cached_image=count(cached.get("cached_image_tokens")),
        output_tokens=count(value.get("output_tokens")),
        output_image=count(written.get("image_tokens")),
        output_text=count(written.get("text_tokens")),
    )
    return None if found == ImageUsage() else found


def sum_of(reports: Sequence[ImageUsage]) -> ImageUsage:
    """Several reports as one: a count that none of them has is absent, and so it is in the sum."""
    sums: dict[str, int] = {}
    for report in reports:
        for each in fields(report):
            said = getattr(report, each.name)
            if said is not None:
                sums[each.name] = sums.get(each.name, 0) + said
    return ImageUsage(**sums)


def text_usage(value: object) -> TextUsage | None:
    """A report about a mainline model; None where no count can be read in it."""
    if not isinstance(value, dict):
        return None
    read = _object(value, "input_tokens_details")
    found = TextUsage(
        input_tokens=count(value.get("input_tokens")),
        cached_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        output_tokens=count(value.get("output_tokens")),
    )
    return None if found == TextUsage() else found


def svg_usage(value: object) -> SvgUsage | None:
    """A report about an SVG's author; None where no count can be read in it."""
    if not isinstance(value, dict):
        return None
    read, written = count(value.get("input_tokens")), count(value.get("output_tokens"))
    if read is None and written is None:
        return None
    return SvgUsage(model=name(value.get("model")), input_tokens=read, output_tokens=written)


def tool_calls(tool_usage: object) -> Iterator[ToolCalls]:
    """Every hosted tool in `tool_usage` that counts its calls, such as `web_search`, and was called."""
    if not isinstance(tool_usage, dict):
        return
    for tool, used in tool_usage.items():
        calls = count(used.get("num_requests")) if isinstance(used, dict) else None
        if calls and len(tool) <= MOST_NAME:
            yield ToolCalls(tool, calls)


def count(value: object) -> int | None:
    """A number of tokens, images or calls; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
        return value
    return None


def name(value: object) -> str | None:
    """A name, such as a model's, a size or an id; None for anything else, and for what is too long to be one."""
    return value if isinstance(value, str) and 0 < len(value) <= MOST_NAME else None


def _object(value: dict[str, object], key: str) -> dict[str, object]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _first(*values: object) -> int | None:
    return next((found for found in map(count, values) if found is not None), None)
