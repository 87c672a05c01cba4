"""
JSON with pictures in it, read without the pictures.

A picture is one string of megabytes. The reader jumps from quote to quote (one-byte searches are memchr: 26 µs for
2 MB of base64), leaves out what a long string says, and empties what is nested too deeply to matter; what remains is
small, and is parsed once.

Rules of this file:
- It never raises, whatever the bytes: what cannot be read has no value.
- It holds at most `HELD_BYTES`, whatever the length of the document.
- Any chunking gives the same value: what is left out depends on the document alone.
"""

import re

import orjson

RAW_BYTES = 16 * 1024
"""Documents up to this size are kept and parsed as they are: that is quicker than leaving things out."""
SKIMMED_BYTES = 256 * 1024
"""What may remain of a longer one. A response with its pictures left out has a few KB; a thousand items have 200 KB."""
STRING_BYTES = 512
"""A longer string is left out: no name, size or id is longer."""
DEPTH = 7
"""Nesting that is kept. `response.tool_usage.image_gen.output_tokens_details` in an event needs five."""
HELD_BYTES = SKIMMED_BYTES + STRING_BYTES + RAW_BYTES

_LEFT_OUT = b'"\\u0000"'
LEFT_OUT = "\0"
"""Stands for a string that was left out. It is not empty: that a picture is there is what counts."""

_STRUCTURE = re.compile(rb'["{}\[\]]')
_QUOTE, _BACKSLASH = 0x22, 0x5C
_OPENING = b"{["


class Document:
    """One JSON document on its way."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._skimmer: _Skimmer | None = None

    def feed(self, chunk: bytes, start: int, end: int) -> None:
        """Read on in `chunk[start:end]`."""
        if self._skimmer is None:
            if len(self._raw) + end - start <= RAW_BYTES:
                self._raw += chunk[start:end]
                return
            self._skimmer = _Skimmer()
            raw = bytes(self._raw)
            self._raw.clear()
            self._skimmer.feed(raw, 0, len(raw))
        self._skimmer.feed(chunk, start, end)

    def value(self) -> object:
        """What has been read so far, if it is a whole document; None if it is not, or is null."""
        held = self._raw if self._skimmer is None else self._skimmer.text
        # Parsing is tried at the end of every line of a stream, so only where it can succeed.
        if not held.rstrip().endswith((b"}", b"]")):
            return None
        try:
            value: object = orjson.loads(held)
        except orjson.JSONDecodeError:
            return None
        return value

    def clear(self) -> None:
        """Begin another document."""
        self._raw.clear()
        self._skimmer = None


class _Skimmer:
    """Leaves out what is long or deep. `text` is what remains; empty for good once that became too much."""

    def __init__(self) -> None:
        self.text = bytearray()
        self._given_up = False
        self._depth = 0
        self._in_string = False
        self._string = bytearray()
        """The string that has begun, between its quotes, as long as it is short."""
        self._long = False
        self._escaping = False
        """The last chunk ended with an odd number of backslashes, inside a string."""

    def feed(self, chunk: bytes, start: int, end: int) -> None:
        while start < end and not self._given_up:
            start = self._inside(chunk, start, end) if self._in_string else self._outside(chunk, start, end)
            if len(self.text) > SKIMMED_BYTES:
                self._given_up = True
                self.text.clear()

    def _outside(self, chunk: bytes, start: int, end: int) -> int:
        found = _STRUCTURE.search(chunk, start, end)
        stop = end if found is None else found.start()
        if stop > start:
            self._keep(chunk, start, stop)
        if found is None:
            return end
        sign = chunk[stop]
        if sign == _QUOTE:
            self._in_string = True
        elif sign in _OPENING:
            self._depth += 1
            if self._depth <= DEPTH:
                self.text.append(sign)
        else:
            if self._depth <= DEPTH:
                self.text.append(sign)
            self._depth -= 1
        return stop + 1

    def _keep(self, chunk: bytes, start: int, stop: int) -> None:
        """Numbers, words, commas. The bound is checked afterwards, so no more is copied than it needs to be passed."""
        if self._depth <= DEPTH:
            self.text += chunk[start : min(stop, start + SKIMMED_BYTES + 1)]

    def _inside(self, chunk: bytes, start: int, end: int) -> int:
        at = chunk.find(b'"', start, end)
        stop = end if at == -1 else at
        slashes = stop
        while slashes > start and chunk[slashes - 1] == _BACKSLASH:
            slashes -= 1
        odd = bool((stop - slashes) & 1) != (self._escaping and slashes == start)
        if at == -1:
            self._hold(chunk, start, end)
            self._escaping = odd
            return end
        self._escaping = False
        if odd:
            self._hold(chunk, start, at + 1)
        else:
            self._hold(chunk, start, at)
            self._end_string()
        return at + 1

    def _hold(self, chunk: bytes, start: int, stop: int) -> None:
        if self._long:
            return
        if len(self._string) + stop - start > STRING_BYTES:
            self._long = True
            self._string.clear()
        else:
            self._string += chunk[start:stop]

    def _end_string(self) -> None:
        if self._depth <= DEPTH:
            self.text += _LEFT_OUT if self._long else b'"%b"' % bytes(self._string)
        self._string.clear()
        self._long = self._in_string = False
