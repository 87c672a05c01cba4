"""
One answer of the Images API in the forms it can be given in: plain, or streamed with so many partial images.

Rules of this file:
- The same form is the same bytes. Another form is made of the kept bytes and a few new ones around them: a picture is
  copied from where it lies, never decoded, parsed or held.
- An answer was read when it passed (contents.py); no later caller reads it again.
- What could not be read for certain is given in its own form only; nothing here raises on account of the bytes.
- A form that the upstream does not give is not made here either: a stream of several pictures, of a GIF, of an SVG,
  of a link. Such a call goes up, and is told so.

Which form is made of which: a stream becomes a plain answer by its terminal event, which has the picture and the
usage (partial images and their tokens included: they were made). A plain answer becomes a stream of one terminal
event. A stream that asked for more partial images becomes one that asked for fewer by leaving out those whose index
is too high; everything else passes as it is. Answers of the Responses API have one form only.

Field names and their order are those of OpenAI's specification: ImagesResponse, ImageGenCompletedEvent,
ImageEditCompletedEvent.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import orjson

from gateway.core.call import Call
from gateway.core.contents import Contents, Span, object_of

JSON: Final = b"application/json"
EVENT_STREAM: Final = b"text/event-stream; charset=utf-8"
PIECE_BYTES: Final = 256 * 1024
"""Of a chunk, copied at once."""

_FAMILIES: Final = {"images.generations": "image_generation", "images.edits": "image_edit"}
"""What the events of a route are called. Variations have no stream."""
_LOOK: Final = ("size", "quality", "background", "output_format")
_IN_A_PLAIN_ANSWER: Final = ("created", "background", "data", "output_format", "quality", "size", "usage")
"""The order of its fields."""
_OF_THE_EVENT: Final = frozenset({"type", "b64_json", "created_at", "sequence_number", "partial_image_index"})
_OF_THE_PICTURE: Final = frozenset({"revised_prompt", "generation_id"})
"""Fields that a plain answer says of each picture."""
_NOT_STREAMED: Final = frozenset({"gif", "svg"})
_HOLE: Final = re.compile(rb'"\\u0000([0-9]+)"')
"""What stands for a long string in a skeleton."""


@dataclass(frozen=True, slots=True)
class Form:
    """The form in which an answer is asked for."""

    stream: bool = False
    partial_images: int = 0
    """Of a stream of the Images API; 0 for any other."""

    @property
    def name(self) -> str:
        """`plain`, `stream0`, `stream2`: callers of one form get the same bytes."""
        return f"stream{self.partial_images}" if self.stream else "plain"


PLAIN: Final = Form()


def form_of(call: Call) -> Form:
    """The form that a call asks for."""
    if not call.stream:
        return PLAIN
    if not call.match.route.name.startswith("images."):
        return Form(stream=True)
    return Form(stream=True, partial_images=next((one.partial_images or 0 for one in call.images), 0))


Plan = tuple[bytes | Span, ...]
"""An answer: new bytes, and bytes of the kept body in the order in which they lie there."""


def plan(contents: Contents, asked: Form, wanted: Form, route: str) -> Plan | None:
    """
    How to answer a call from a kept body.

    Args:
        contents: of the body.
        asked: the form of the call that it answered.
        wanted: the form of this call.
        route: of both, by name.

    Returns:
        None: that form cannot be made of it; the call has to go up.
    """
    whole = (Span(0, contents.size),)
    if wanted == asked:
        return whole
    if not contents.readable or contents.links or not route.startswith("images."):
        return None
    if not wanted.stream:
        return _plain(contents) if contents.stream else whole
    if contents.stream:
        served = 0 <= wanted.partial_images < asked.partial_images
        return _fewer(contents, wanted.partial_images) if served else None
    return _streamed(contents, route) if wanted.partial_images == 0 else None


def choose(kept: Mapping[Form, Contents], wanted: Form, route: str) -> tuple[Form, Plan] | None:
    """
    The answer to give a call of those that are kept of it, each in the form it was asked for, and how to give it.

    The one of the same form comes first: who asked for a form once is given the same bytes, whatever was kept since.
    After it the stream that leaves out the least, and the plain answer.
    """
    rest = sorted(kept, key=lambda asked: (asked != wanted, not asked.stream, asked.partial_images))
    found = ((asked, plan(kept[asked], asked, wanted, route)) for asked in rest)
    return next(((asked, steps) for asked, steps in found if steps is not None), None)


def length(steps: Plan) -> int:
    """Bytes of the answer."""
    return sum(map(len, steps))


def content_type(wanted: Form) -> bytes:
    """The Content-Type of an answer that was made in another form than it was asked for."""
    return EVENT_STREAM if wanted.stream else JSON


class Cutter:
    """
    Makes an answer of a kept body that comes in chunks. It holds nothing, and copies `PIECE_BYTES` at a time.

    Args:
        steps: the plan of the answer.
    """

    def __init__(self, steps: Plan) -> None:
        self._steps = [step for step in reversed(steps) if len(step)]
        self._at = 0

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The next pieces of the answer; to be iterated to its end before another chunk is fed."""
        start, end = self._at, self._at + len(chunk)
        self._at = end
        while self._steps:
            step = self._steps[-1]
            if isinstance(step, bytes):
                yield step
            elif step.start >= end:
                return
            else:
                yield from _slices(chunk, max(step.start, start) - start, min(step.end, end) - start)
                if step.end > end:
                    return
            self._steps.pop()

    @property
    def done(self) -> bool:
        """Whether all of the answer has been handed out: no further chunk is needed."""
        return not self._steps


def pieces(chunks: Iterable[bytes], steps: Plan) -> Iterator[bytes]:
    """
    The answer, made of a body that is at hand in chunks.

    Raises:
        ValueError: the body is shorter than its plan.
    """
    cutter = Cutter(steps)
    for chunk in chunks:
        yield from cutter.feed(chunk)
        if cutter.done:
            return
    raise ValueError("the kept body is shorter than what was planned of it")


def _slices(chunk: bytes, start: int, stop: int) -> Iterator[bytes]:
    if start == 0 and stop == len(chunk):
        yield chunk
        return
    for at in range(start, stop, PIECE_BYTES):
        yield chunk[at : min(stop, at + PIECE_BYTES)]


def _plain(contents: Contents) -> Plan | None:
    """What a plain answer says once is what the last terminal event says, as it is for what the call cost."""
    if len(contents.ends) != 1:
        return None
    found: dict[str, object] = {}
    data: list[dict[str, object]] = []
    spans: list[Span] = []
    for end in contents.ends:
        event = object_of(end.skeleton)
        picture = None if event is None else event.get("b64_json")
        if event is None or event.get("created_at") is None or not isinstance(picture, str) or not picture:
            return None
        if len(end.data) != picture.startswith("\0"):
            # Something else is long: where it belongs is not known.
            return None
        beside = {key: event[key] for key in _OF_THE_PICTURE if key in event}
        data.append({"b64_json": f"\0{len(spans)}" if end.data else picture, **beside})
        spans += end.data
        found = {"created": event["created_at"], "data": data}
        found |= {key: value for key, value in event.items() if key not in _OF_THE_EVENT | _OF_THE_PICTURE}
    ordered = {key: found[key] for key in (*_IN_A_PLAIN_ANSWER, *found) if key in found}
    return _filled(_dumped(ordered), spans)


def _streamed(contents: Contents, route: str) -> Plan | None:
    """What the API does not stream is left to it to refuse."""
    family = _FAMILIES.get(route)
    body = object_of(contents.ends[0].skeleton)
    data = None if body is None else body.get("data")
    if family is None or body is None or not isinstance(data, list) or len(data) != 1:
        return None
    look = {name: body.get(name) for name in _LOOK}
    picture = data[0].get("b64_json") if isinstance(data[0], dict) else None
    if not isinstance(picture, str) or not picture or body.get("created") is None:
        return None
    if not all(isinstance(value, str) for value in look.values()) or look["output_format"] in _NOT_STREAMED:
        return None
    kind = f"{family}.completed"
    beside = {key: value for key, value in data[0].items() if key in _OF_THE_PICTURE}
    rest = {key: value for key, value in body.items() if key not in {"created", "data", *_LOOK}}
    event = {"type": kind, "b64_json": picture, "created_at": body["created"], **look, **rest, **beside}
    dumped = _dumped(event)
    frame = None if dumped is None else b"event: %b\ndata: %b\n\n" % (kind.encode("ascii"), dumped)
    return _filled(frame, contents.ends[0].data)


def _fewer(contents: Contents, partial_images: int) -> Plan:
    kept: list[bytes | Span] = []
    at = 0
    for partial in contents.partials:
        if partial.index >= partial_images:
            kept.append(Span(at, partial.event.start))
            at = partial.event.end
    return (*kept, Span(at, contents.size))


def _filled(skeleton: bytes | None, spans: Sequence[Span]) -> Plan | None:
    """The skeleton with the strings in their places; None where they would not stand in the order they lie in."""
    if skeleton is None:
        return None
    steps: list[bytes | Span] = []
    at = 0
    for hole in _HOLE.finditer(skeleton):
        steps += (skeleton[at : hole.start() + 1], spans[int(hole[1])])
        at = hole.end() - 1
    steps.append(skeleton[at:])
    ordered = [step for step in steps if isinstance(step, Span)]
    if len(ordered) != len(spans) or any(before.end > after.start for before, after in pairwise(ordered)):
        return None
    return tuple(steps)


def _dumped(value: object) -> bytes | None:
    """None where it is nested more deeply than it can be written."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return None
