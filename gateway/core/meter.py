"""
Watches one answer go by, and knows at its end what was in it.

Rules of this file:
- It looks and never touches: no byte is changed, delayed or dropped on its account.
- It never raises, whatever the bytes: what cannot be read is not known, and the call is settled by what is.
- It holds no picture: at most `HELD_BYTES`, while an answer of any length passes.
- Any chunking gives the same observation.

Lines of a stream end with LF or CRLF. A lone CR is used by nobody here; if it were, its events would not be seen, and
the call would be settled as one whose end is unknown.

Not here: what the documents say (observation.py), how pictures are left out (skim.py).
"""

from collections.abc import Iterable

from gateway.core import skim
from gateway.core.headers import Header, is_event_stream
from gateway.core.observation import End, Ending, Notes, Observation
from gateway.core.skim import Document

NAME_BYTES = 128
"""Of the value of an `event:` line."""
HELD_BYTES = skim.HELD_BYTES + NAME_BYTES
"""Bytes of an answer that are held at most. The notes about its images are bounded by observation.MOST_ITEMS."""

_ERROR_STATUS = 400
_BOM = b"\xef\xbb\xbf"
_DATA, _EVENT = b"data:", b"event:"
_FIELD_BYTES = len(_BOM) + len(_EVENT)


class Meter:
    """
    The observer of one answer.

    Args:
        status: of its head.
        headers: of its head; the Content-Type says whether it is a stream of events.
    """

    def __init__(self, status: int, headers: Iterable[Header]) -> None:
        stream = status < _ERROR_STATUS and is_event_stream(headers)
        self._notes = Notes(status, stream)
        self._events = _Events(self._notes) if stream else None
        self._document = Document()

    @property
    def stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return self._events is not None

    @property
    def end(self) -> End:
        """How a stream ended by its terminal event, as far as has been seen."""
        return self._notes.end

    @property
    def response_id(self) -> str | None:
        """The id of the response that a stream is of, as far as has been seen."""
        return self._notes.close(Ending.LEFT).response_id

    def feed(self, chunk: bytes) -> None:
        """Look at a chunk, cut anywhere."""
        if self._events is not None:
            self._events.feed(chunk)
        else:
            self._document.feed(chunk, 0, len(chunk))

    def close(self, ending: Ending) -> Observation:
        """
        What was seen.

        Args:
            ending: how the reading ended. A body that came whole before its connection broke is whole.
        """
        if self._events is not None:
            self._events.close()
        else:
            self._notes.body(self._document.value())
        return self._notes.close(ending)


class _Events:
    """Splits a stream of events into its documents, without holding their lines."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._document = Document()
        self._name = b""
        """The type of the event that has begun, as its `event:` line says."""
        self._head = b""
        """The beginning of a line, until it is long enough to tell its field."""
        self._field: bytes | None = None
        """The field of the line; None while the head is too short to tell."""
        self._first_line = True

    def feed(self, chunk: bytes) -> None:
        start, end = 0, len(chunk)
        while start < end:
            # A one-byte search is memchr: 26 µs for 2 MB of base64.
            at = chunk.find(b"\n", start)
            self._go_on(chunk, start, end if at == -1 else at)
            if at == -1:
                return
            self._end_line()
            start = at + 1

    def close(self) -> None:
        """A last line without an end is no event, but what it reports is true all the same."""
        if self._field == _DATA:
            self._notes.event(self._document.value())

    def _go_on(self, chunk: bytes, start: int, stop: int) -> None:
        if self._field is None:
            taken = min(stop - start, _FIELD_BYTES - len(self._head))
            self._head += chunk[start : start + taken]
            start += taken
            if len(self._head) < _FIELD_BYTES:
                return
            self._begin_line()
        if self._field == _DATA:
            self._document.feed(chunk, start, stop)
        elif self._field == _EVENT:
            self._name += chunk[start : min(stop, start + NAME_BYTES - len(self._name))]

    def _begin_line(self) -> None:
        """The head is long enough, or is the whole line."""
        head, self._head = self._head, b""
        if self._first_line:
            self._first_line = False
            head = head.removeprefix(_BOM)
        if head.startswith(_DATA):
            self._field = _DATA
            self._document.feed(head, len(_DATA), len(head))
        elif head.startswith(_EVENT):
            self._field = _EVENT
            self._name = head[len(_EVENT) :]
        else:
            self._field = b"" if head.rstrip(b"\r") else b"\n"

    def _end_line(self) -> None:
        if self._field is None:
            self._begin_line()
        match self._field:
            case b"data:":
                self._end_data()
            case b"\n":
                self._document.clear()
                self._name = b""
            case _:
                pass
        self._field = None

    def _end_data(self) -> None:
        """A document may go on in the next `data:` line, joined by a line end, as the grammar has it."""
        value = self._document.value()
        kind = self._notes.event(value)
        if value is None:
            self._document.feed(b"\n", 0, 1)
        else:
            self._document.clear()
        for each in (self._name.strip().decode("latin-1"), kind):
            if each:
                self._notes.ended_by(each)
