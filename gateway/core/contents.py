"""
Where things lie in an answer of the Images API: what its forms are made of (artefact.py).

An answer is read once, while it passes. What is noted of it is small: everything but its long strings, and where those
lie, so that no later caller reads it again.

Rules of this file:
- It looks and never touches, and never raises, whatever the bytes.
- It holds no picture. Any chunking gives the same contents.
- What cannot be read for certain is not guessed: then there are no `ends`, and the answer has the form it came in only.

Not here: what an answer cost, and whether it is complete (meter.py, observation.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

LONG_BYTES: Final = 8 * 1024
"""A longer string stays where it is. No link and no revised prompt of OpenAI's is longer."""
MOST_SKELETON_BYTES: Final = 64 * 1024
"""Of a document without its long strings, and of all that is kept of an answer. OpenAI's has less than 1 KiB."""
MOST_PARTS: Final = 256
"""Events of a stream, and long strings of a document. OpenAI sends four such events at most, and ten pictures."""

_PARTIALS: Final = frozenset({"image_generation.partial_image", "image_edit.partial_image"})
_ENDS: Final = frozenset({"image_generation.completed", "image_edit.completed"})
_BOM: Final = b"\xef\xbb\xbf"
_DATA: Final = b"data:"
_DONE: Final = b"[DONE]"
"""How some compatible servers end a stream. OpenAI's end without it."""
_BACKSLASH: Final = 0x5C


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the kept body, from `start` up to `end`."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, and what is said beside it: a JSON object in which strings that stay where they are have a number."""

    skeleton: bytes
    data: tuple[Span, ...]
    """The strings, between their quotes, by their number."""


@dataclass(frozen=True, slots=True)
class Partial:
    """One event with a partial image."""

    event: Span
    """From its first line to the blank one, inclusive."""
    index: int


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies where in an answer of the Images API."""

    size: int
    """Bytes of its body."""
    stream: bool = False
    """It is a stream of events, whatever was asked for."""
    ends: tuple[Picture, ...] = ()
    """Of a stream: its terminal events. Of a plain answer: itself. Empty where it could not be read for certain."""
    partials: tuple[Partial, ...] = ()
    links: tuple[str, ...] = ()
    """Where pictures lie that are not in it."""

    @property
    def readable(self) -> bool:
        """Whether it is known what is in it."""
        return bool(self.ends)


class Reader:
    """
    Reads one answer of the Images API while it passes, and holds no picture.

    Args:
        stream: whether it is a stream of events.
    """

    def __init__(self, *, stream: bool) -> None:
        self._events = _Events() if stream else None
        self._document = _Document()
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        """Look at a chunk, cut anywhere."""
        if self._events is not None:
            self._events.feed(chunk, self._size)
        else:
            self._document.feed(chunk, 0, len(chunk), self._size)
        self._size += len(chunk)

    def close(self) -> Contents:
        """What was in it."""
        if self._events is not None:
            return self._events.contents(self._size)
        picture = self._document.close()
        body = None if picture is None else object_of(picture.skeleton)
        if picture is None or body is None:
            return Contents(self._size)
        return Contents(self._size, ends=(picture,), links=tuple(_links(body)))


def packed(contents: Contents) -> bytes:
    """For a store."""
    return orjson.dumps(
        {
            "size": contents.size,
            "stream": contents.stream,
            "ends": [
                [one.skeleton.decode("utf-8"), [(span.start, span.end) for span in one.data]]
                for one in contents.ends
            ],
            "partials": [(one.event.start, one.event.end, one.index) for one in contents.partials],
            "links": contents.links,
        }
    )


def unpacked(data: bytes) -> Contents:
    """
    As `packed` made it.

    Raises:
        ValueError: it did not.
    """
    try:
        found = orjson.loads(data)
        return Contents(
            size=found["size"],
            stream=found["stream"],
            ends=tuple(
                Picture(skeleton.encode("utf-8"), tuple(Span(*span) for span in spans))
                for skeleton, spans in found["ends"]
            ),
            partials=tuple(Partial(Span(start, end), index) for start, end, index in found["partials"]),
            links=tuple(found["links"]),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("these are no contents of an answer") from error


def object_of(skeleton: bytes) -> dict[str, object] | None:
    """What a skeleton says; None where it is no JSON object."""
    try:
        value: object = orjson.loads(skeleton)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _links(body: Mapping[str, object]) -> Iterator[str]:
    data = body.get("data")
    for one in data if isinstance(data, list) else ():
        link = one.get("url") if isinstance(one, dict) else None
        if isinstance(link, str) and link:
            yield link


class _Document:
    """
    One JSON document on its way, without its long strings.

    It jumps from quote to quote (one-byte searches are memchr: 26 µs for 2 MB of base64).
    """

    def __init__(self) -> None:
        self._text = bytearray()
        self._spans: list[Span] = []
        self._string: bytearray | None = None
        """The string that has begun, as long as it is short; None outside of one, and inside a long one."""
        self._inside = False
        self._began = 0
        self._escaping = False
        """The last chunk ended in the middle of an escape."""
        self._given_up = False

    def feed(self, chunk: bytes, start: int, end: int, offset: int) -> None:
        """Read on in `chunk[start:end]`; `offset`: where the chunk begins in the body."""
        while start < end and not self._given_up:
            start = (self._in_string if self._inside else self._between)(chunk, start, end, offset)
            if len(self._text) > MOST_SKELETON_BYTES or len(self._spans) > MOST_PARTS:
                self._given_up = True
                self._text.clear()

    def close(self) -> Picture | None:
        """What remains of it; None where it is too much, or says what stands for a long string here."""
        if self._given_up or self._inside or not self._text.strip():
            return None
        return Picture(bytes(self._text), tuple(self._spans))

    def _between(self, chunk: bytes, start: int, end: int, offset: int) -> int:
        at = chunk.find(b'"', start, end)
        stop = end if at == -1 else at
        # One byte more than may remain is enough to see that it is too much.
        self._text += chunk[start : min(stop, start + MOST_SKELETON_BYTES + 1)]
        if at == -1:
            return end
        self._inside, self._string, self._began = True, bytearray(), offset + at + 1
        return at + 1

    def _in_string(self, chunk: bytes, start: int, end: int, offset: int) -> int:
        if self._escaping:
            self._escaping = False
            self._hold(chunk, start, start + 1)
            return start + 1
        at = chunk.find(b'"', start, end)
        stop = end if at == -1 else at
        slashes = stop
        while slashes > start and chunk[slashes - 1] == _BACKSLASH:
            slashes -= 1
        self._hold(chunk, start, stop)
        if (stop - slashes) % 2:
            self._escaping = True
            return stop
        if at == -1:
            return end
        self._end_string(offset + at)
        return at + 1

    def _hold(self, chunk: bytes, start: int, stop: int) -> None:
        if self._string is not None:
            if len(self._string) + stop - start > LONG_BYTES:
                self._string = None
            else:
                self._string += chunk[start:stop]

    def _end_string(self, at: int) -> None:
        self._inside = False
        if self._string is None:
            self._text += b'"\\u0000%d"' % len(self._spans)
            self._spans.append(Span(self._began, at))
        elif b"\\u0000" in self._string:
            self._given_up = True
        else:
            self._text += b'"%b"' % bytes(self._string)
        self._string = None


class _Events:
    """
    Splits a stream into its events, without holding their lines.

    Lines end with LF or CRLF; a lone CR is used by nobody here, and would make the answer one that is not readable.
    """

    def __init__(self) -> None:
        self._ends: list[Picture] = []
        self._partials: list[Partial] = []
        self._links: list[str] = []
        self._certain = True
        self._kept_bytes = 0
        self._event_start = 0
        self._document: _Document | None = None
        """The data of the event that has begun."""
        self._head = b""
        """The beginning of a line, until it is clear what the line is."""
        self._line_start = 0
        self._in_data = False

    def feed(self, chunk: bytes, offset: int) -> None:
        start, end = 0, len(chunk)
        while start < end:
            at = chunk.find(b"\n", start)
            self._go_on(chunk, start, end if at == -1 else at, offset)
            if at == -1:
                return
            start = at + 1
            self._end_line(offset + start)

    def contents(self, size: int) -> Contents:
        # What follows the last blank line is no event: it passes as it is, and nothing is made of it.
        ends = tuple(self._ends) if self._certain else ()
        partials = tuple(self._partials) if ends else ()
        return Contents(size, stream=True, ends=ends, partials=partials, links=tuple(self._links))

    def _go_on(self, chunk: bytes, start: int, stop: int, offset: int) -> None:
        if not self._in_data:
            before = len(self._head)
            self._head += chunk[start : min(stop, start + len(_BOM) + len(_DATA) - before)]
            head = self._head.removeprefix(_BOM) if self._line_start == 0 else self._head
            if not head.startswith(_DATA):
                return
            start += self._head.index(_DATA) + len(_DATA) - before
            self._begin_data()
        if self._document is not None:
            self._document.feed(chunk, start, stop, offset)

    def _begin_data(self) -> None:
        # The data of one event in several lines is used by nobody here either.
        self._certain = self._certain and self._document is None
        self._document = _Document()
        self._in_data = True

    def _end_line(self, after: int) -> None:
        head = self._head.removeprefix(_BOM) if self._line_start == 0 else self._head
        is_blank = not self._in_data and head in {b"", b"\r"}
        self._head, self._in_data, self._line_start = b"", False, after
        if is_blank:
            self._end_event(Span(self._event_start, after))
            self._event_start, self._document = after, None

    def _end_event(self, event: Span) -> None:
        if self._document is None:
            return
        picture = self._document.close()
        if picture is not None and picture.skeleton.strip() == _DONE:
            return
        body = None if picture is None else object_of(picture.skeleton)
        kind = None if body is None else body.get("type")
        if picture is None or body is None or not isinstance(kind, str):
            # What cannot be read could be one of those that matter.
            self._certain = False
        elif kind in _PARTIALS:
            self._partial(body.get("partial_image_index"), event)
        elif kind in _ENDS:
            self._end(picture, body)

    def _partial(self, index: object, event: Span) -> None:
        if not isinstance(index, int) or isinstance(index, bool) or len(self._partials) == MOST_PARTS:
            self._certain = False
        elif self._certain:
            self._partials.append(Partial(event, index))

    def _end(self, picture: Picture, body: Mapping[str, object]) -> None:
        self._kept_bytes += len(picture.skeleton)
        if self._kept_bytes > MOST_SKELETON_BYTES or len(self._ends) == MOST_PARTS:
            self._certain = False
        elif self._certain:
            self._ends.append(picture)
        if len(self._links) < MOST_PARTS:
            self._links += _links({"data": [body]})
