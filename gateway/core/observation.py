"""
What was seen of one answer, as far as it matters for what it cost.

`Notes` takes the documents of an answer, one by one, whether it is one JSON body or a stream of events, and knows
the shapes of the Images and the Responses API. Nothing is required: fields may be missing, of another type, or new.
An item counts as a picture if there is one in it (`b64_json`, `url`, `result`), whatever its status says: recordings
show finished pictures under `generating`.

Not here: bytes (meter.py), tokens (settle.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from gateway.core import usage
from gateway.core.inputs import IMAGE_CALL
from gateway.core.record import Outcome
from gateway.core.routes import ID
from gateway.core.skim import LEFT_OUT
from gateway.core.usage import ImageUsage, SvgUsage, TextUsage, ToolCalls

IMAGE_TOOL = "image_generation"
MODERATION_BLOCKED = "moderation_blocked"
MOST_ITEMS = 1024
"""Pictures of one answer that are told apart: a bound for our memory, far above what an API makes."""

_ERROR_STATUS = 400
_NOWHERE = "#"
"""The place of an image of which an answer says neither id nor place."""
_IMAGES_PARTIALS = frozenset({"image_generation.partial_image", "image_edit.partial_image"})
_IMAGES_ENDS = frozenset({"image_generation.completed", "image_edit.completed"})
_CALL_EVENTS = "response.image_generation_call."
_GOOD_ENDS = _IMAGES_ENDS | {"response.completed"}
_BAD_ENDS = frozenset({"error", "response.failed"})
_SHORT_ENDS = frozenset({"response.incomplete"})
_OUTCOMES = {
    "failed": Outcome.FAILED,
    "incomplete": Outcome.INCOMPLETE,
    "cancelled": Outcome.CANCELLED,
}


class End(Enum):
    """How a stream of events ended, by its own account."""

    NONE = "none"
    """No terminal event was seen."""
    COMPLETED = "completed"
    FAILED = "failed"
    INCOMPLETE = "incomplete"


class Ending(Enum):
    """How the reading of an answer ended."""

    CLEAN = "clean"
    """The upstream ended it."""
    BROKEN = "broken"
    """It broke off, or never came although the request had gone up."""
    LEFT = "left"
    """By us, because nobody wanted the rest."""
    UNSENT = "unsent"
    """Nothing had gone up: a promise, see UpstreamFailed.sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image of an answer, in whatever state it was last seen. None: the answer does not say, or says `auto`."""

    size: str | None = None
    quality: str | None = None
    svg: SvgUsage | None = None
    partials: int = 0
    """Partial images delivered."""
    finished: bool = False
    """Its picture was delivered."""
    failed: bool = False
    """The answer says that there will be none."""
    blocked: bool = False
    """Moderation blocked it after it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """An image tool as a response echoes it: with the defaults that hold."""

    model: str | None = None
    partial_images: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One answer."""

    ending: Ending
    status: int | None = None
    """None: there was no answer."""
    stream: bool = False
    end: End = End.NONE
    """Of a stream, by its terminal event."""
    whole: bool = False
    """A JSON body that was read to its end."""
    lists_images: bool = False
    """There was a `data` list: the shape of an Images answer. It is empty, or has pictures that we know as such."""
    unread: int = 0
    """Items of one that has none that we know as a picture: most likely they are pictures in another shape."""
    images: tuple[Image, ...] = ()
    """Every image that was begun, in order."""
    blocked: int = 0
    """Pictures that moderation blocked after they were made."""
    image_usage: ImageUsage | None = None
    """Of the Images API, or of the image tool: the last that was seen."""
    reports: tuple[ImageUsage, ...] = ()
    """Of each event of the Images API that brought a picture with one; whether of it alone or of all is not written."""
    text_usage: TextUsage | None = None
    svg: SvgUsage | None = None
    """Of the answer as a whole; an image item has its own."""
    tool_calls: tuple[ToolCalls, ...] = ()
    response_id: str | None = None
    response_status: str | None = None
    model: str | None = None
    """As the answer names it."""
    service_tier: str | None = None
    tools: tuple[Tool, ...] = ()
    code: str | None = None
    """Of an error, in the body or in the stream."""

    @property
    def finished(self) -> tuple[Image, ...]:
        """The images whose pictures were delivered."""
        return tuple(image for image in self.images if image.finished)

    @property
    def open(self) -> tuple[Image, ...]:
        """Those of which nothing more was heard."""
        return tuple(image for image in self.images if not image.finished and not image.failed)

    @property
    def interrupted(self) -> tuple[Image, ...]:
        """Those of them that had delivered a partial image: their generation had begun for sure."""
        return tuple(image for image in self.open if image.partials)

    @property
    def pending(self) -> bool:
        """Whether a response goes on in the background: its cost comes later."""
        return self.response_status in {"queued", "in_progress"}

    @property
    def outcome(self) -> Outcome:
        """How the call ended, by what was seen of it."""
        match self.ending:
            case Ending.LEFT:
                return Outcome.CLIENT_GONE
            case Ending.UNSENT:
                return Outcome.FAILED
            case Ending.BROKEN:
                return Outcome.FAILED if self.status is None else Outcome.UPSTREAM_CUT
            case Ending.CLEAN:
                return self._outcome_of_clean()

    def _outcome_of_clean(self) -> Outcome:
        if self.status is None or self.status >= _ERROR_STATUS:
            return Outcome.FAILED
        if not self.stream:
            return _OUTCOMES.get(self.response_status or "", Outcome.COMPLETED)
        match self.end:
            case End.COMPLETED:
                return Outcome.COMPLETED
            case End.FAILED:
                return Outcome.FAILED
            case End.INCOMPLETE | End.NONE:
                return Outcome.INCOMPLETE


def unanswered(*, sent: bool) -> Observation:
    """A call that got no answer. `sent`: whether a byte of it may have gone up (UpstreamFailed.sent)."""
    return Observation(ending=Ending.BROKEN if sent else Ending.UNSENT)


@dataclass(slots=True)
class Notes:
    """What is known so far of one answer. `stream`: it is a stream of events."""

    status: int
    stream: bool
    _end: End = End.NONE
    _images: dict[str, Image] = field(default_factory=dict)
    _at: dict[str, str] = field(default_factory=dict)
    """The key of the image at each place of the output, where it is not the place itself."""
    _seen: Observation = field(default_factory=lambda: Observation(ending=Ending.CLEAN))

    def body(self, document: object) -> None:
        """A whole JSON body."""
        if not isinstance(document, dict):
            return
        self._know(whole=True)
        error = document.get("error")
        if error and "object" not in document:
            self._error(error, document)
        elif "output" in document or str(document.get("object")).startswith("response"):
            self._response(document)
        else:
            self._images_body(document)

    def event(self, document: object) -> str | None:
        """One event of a stream; its type, if it says."""
        if not isinstance(document, dict):
            return None
        kind = _text(document.get("type"))
        if kind in _IMAGES_PARTIALS:
            self._partial(self._next(), document)
        elif kind in _IMAGES_ENDS:
            self._finished(document)
        elif kind is not None and kind.startswith(_CALL_EVENTS):
            self._call_event(kind, document)
        elif kind == "response.output_item.done":
            self._item(document.get("item"), document.get("output_index"))
        elif isinstance(document.get("response"), dict):
            self._response(document["response"])
        if kind == "error" or document.get("error"):
            self._error(document.get("error"), document)
            return "error"
        return kind

    def ended_by(self, kind: str) -> None:
        """An event of this type came: note it if it is terminal."""
        if kind in _GOOD_ENDS:
            # An error that came before stays one: a later `completed` does not undo it.
            self._end = End.COMPLETED if self._end is End.NONE else self._end
        elif kind in _BAD_ENDS:
            self._end = End.FAILED
        elif kind in _SHORT_ENDS and self._end is End.NONE:
            self._end = End.INCOMPLETE

    @property
    def end(self) -> End:
        """How the stream ended, as far as is known."""
        return self._end

    def close(self, ending: Ending) -> Observation:
        """All of it."""
        images = tuple(self._images.values())
        return replace(
            self._seen,
            ending=ending,
            status=self.status,
            stream=self.stream,
            end=self._end,
            images=images,
            blocked=self._seen.blocked + sum(image.blocked for image in images),
        )

    def _know(self, **known: Any) -> None:  # noqa: ANN401 - each field of Observation has a type of its own
        """Later knowledge replaces earlier; what is None says nothing."""
        self._seen = replace(self._seen, **{key: value for key, value in known.items() if value is not None})

    def _next(self) -> str:
        """The image that an event of the Images API belongs to, which carries no number: the next to be finished."""
        last = next(reversed(self._images), None)
        return str(len(self._images)) if last is None or self._images[last].finished else last

    def _key(self, item_id: object, index: object) -> str:
        """
        What an image of a response is known by: its id, else its place in the output.

        An id may come later, or be missing the next time: then the place tells that it is the same image.
        """
        name, at = _text(item_id), usage.count(index)
        place = _NOWHERE if at is None else f"#{at}"
        if name is None:
            return self._at.get(place, place)
        if name not in self._images:
            nameless = next((old for old in (place, _NOWHERE) if self._is_nameless(old)), None)
            self._images = {name if key == nameless else key: image for key, image in self._images.items()}
        if place != _NOWHERE and len(self._at) < MOST_ITEMS:
            self._at.setdefault(place, name)
        return name

    def _is_nameless(self, place: str) -> bool:
        """Whether an image is known by its place alone. Of one without any, only the unfinished can still be named."""
        image = self._images.get(place)
        return image is not None and not (place == _NOWHERE and image.finished)

    def _note(self, key: str, **known: Any) -> None:  # noqa: ANN401 - likewise, of Image
        image = self._images.get(key, Image())
        if key in self._images or len(self._images) < MOST_ITEMS:
            kept = {name: value for name, value in known.items() if value is not None}
            self._images[key] = replace(image, **kept)

    def _partial(self, key: str, event: Mapping[str, object]) -> None:
        seen = self._images.get(key, Image()).partials
        self._note(key, partials=seen + 1, **_look(event))

    def _finished(self, event: Mapping[str, object]) -> None:
        """An image of the Images API, at the end of its stream."""
        said, svg = usage.image_usage(event.get("usage")), usage.svg_usage(event.get("svg_usage"))
        if event.get("b64_json") or event.get("url"):
            self._note(self._next(), finished=True, svg=svg, **_look(event))
            svg = None
            if said is not None and len(self._seen.reports) < MOST_ITEMS:
                self._know(reports=(*self._seen.reports, said))
        self._know(image_usage=said, svg=svg)

    def _images_body(self, body: Mapping[str, object]) -> None:
        data = body.get("data")
        if isinstance(data, list):
            for index, one in enumerate(data):
                if isinstance(one, dict) and (one.get("b64_json") or one.get("url")):
                    self._note(str(index), finished=True, **_look(body))
            unread = 0 if self._images else min(len(data), MOST_ITEMS)
            self._know(lists_images=not unread, unread=unread)
        self._know(
            image_usage=usage.image_usage(body.get("usage")),
            svg=usage.svg_usage(body.get("svg_usage")),
            service_tier=_text(body.get("service_tier")),
        )

    def _call_event(self, kind: str, event: Mapping[str, object]) -> None:
        key = self._key(event.get("item_id"), event.get("output_index"))
        if kind == f"{_CALL_EVENTS}partial_image":
            self._partial(key, event)
        else:
            self._note(key)

    def _item(self, item: object, index: object) -> None:
        if not isinstance(item, dict) or item.get("type") != IMAGE_CALL:
            return
        key = self._key(item.get("id"), index)
        if item.get("result"):
            self._note(key, finished=True, svg=usage.svg_usage(item.get("svg_usage")), **_look(item))
        else:
            self._note(key, failed=True, blocked=_blocked_at_output(item.get("error")))

    def _response(self, response: Mapping[str, object]) -> None:
        output, tool_usage = response.get("output"), response.get("tool_usage")
        for index, item in enumerate(output if isinstance(output, list) else ()):
            self._item(item, index)
        drawn = tool_usage.get("image_gen") if isinstance(tool_usage, dict) else None
        error = response.get("error")
        self._know(
            response_id=_id(response.get("id")),
            response_status=_text(response.get("status")),
            model=_text(response.get("model")),
            service_tier=_text(response.get("service_tier")),
            tools=tuple(_tools(response.get("tools"))) or None,
            text_usage=usage.text_usage(response.get("usage")),
            image_usage=usage.image_usage(drawn),
            tool_calls=tuple(usage.tool_calls(tool_usage)) or None,
            code=_text(error.get("code")) if isinstance(error, dict) else None,
        )

    def _error(self, error: object, around: Mapping[str, object]) -> None:
        """Nested, as recorded, or flat, as documented."""
        found = error if isinstance(error, dict) else around
        blocked = self._seen.blocked + (1 if _blocked_at_output(found) else 0)
        self._know(code=_text(found.get("code")) or _text(found.get("type")), blocked=blocked)


def _id(value: object) -> str | None:
    """An id that can be asked for; anything else pays for nothing that anybody could look at again."""
    found = _text(value)
    return found if found is not None and ID.match(found) else None


def _look(said: Mapping[str, object]) -> dict[str, str | None]:
    return {"size": _resolved(said.get("size")), "quality": _resolved(said.get("quality"))}


def _resolved(value: object) -> str | None:
    found = _text(value)
    return None if found == "auto" else found


def _tools(value: object) -> Iterator[Tool]:
    for tool in value if isinstance(value, list) else ():
        if isinstance(tool, dict) and tool.get("type") == IMAGE_TOOL:
            yield Tool(model=_text(tool.get("model")), partial_images=usage.count(tool.get("partial_images")))


def _blocked_at_output(error: object) -> bool:
    if not isinstance(error, dict) or error.get("code") != MODERATION_BLOCKED:
        return False
    details = error.get("moderation_details")
    return isinstance(details, dict) and details.get("moderation_stage") == "output"


def _text(value: object) -> str | None:
    found = usage.name(value)
    return None if found == LEFT_OUT else found
