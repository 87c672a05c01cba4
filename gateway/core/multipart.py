"""
multipart/form-data, read as it arrives, for the few fields we decide by.

The bytes go up as they came; this reader runs beside them, takes the digest of each part on the way, and never holds a
picture. It refuses what two
parsers could read differently: a decisive field that comes twice, in brackets, as a file, or in a foreign
charset; a part whose name is said in two ways; parts behind the closing delimiter.

Boundary scanning is python-multipart's, the parser that Starlette uses; the rules above are ours.
"""

import hashlib
import re
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

MAX_VALUE_BYTES = 4096
"""Of a decisive field: a model, a size, a number."""
MAX_PARTS = 256
REPEATABLE = frozenset({"image", "image[]"})
"""Field names that may come more than once: one part per reference image."""

HARMLESS = frozenset({"svg[reasoning][effort]"})
"""Nested fields beside decisive ones that decide nothing."""

_BASE = re.compile(r"[\[.\s]")
_PARAMETER = re.compile(
    rb';[ \t]*(?P<name>[!#$%&\'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"(?P<quoted>[^"\r\n]*)"|(?P<token>[^;" \t]+))[ \t]*'
)
_PLAIN_ENCODINGS = frozenset({b"7bit", b"8bit", b"binary"})
_PLAIN_CHARSETS = frozenset({b"utf-8", b"utf8", b"us-ascii", b"ascii"})


class InvalidMultipartError(ValueError):
    """The body is not multipart/form-data that can be read in one way. The message says why."""


class RepeatedFieldError(ValueError):
    """A field that decides something comes more than once."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form: what stands for it once its bytes have passed."""

    name: str
    size: int
    """Bytes of its content."""
    sha256: bytes
    """Of its content."""


@dataclass(frozen=True, slots=True)
class Form:
    """What was read of a form."""

    fields: dict[str, str]
    """The decisive fields that were there."""
    parts: tuple[Part, ...] = ()
    """Every part, in order."""


@dataclass(slots=True)
class _Reading:
    """The part that is being read."""

    header_name: bytes = b""
    header_value: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    name: str = ""
    size: int = 0
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    value: bytearray | None = None
    """Collected only if the part is decisive."""


class FormReader:
    """
    Reads one form.

    Args:
        boundary: the Content-Type's, without the leading dashes.
        wanted: names of the fields whose values are kept.
    """

    def __init__(self, boundary: bytes, wanted: frozenset[str]) -> None:
        self._wanted = wanted
        self._bases = {name.partition("[")[0] for name in wanted}
        self._closing = b"--" + boundary + b"--"
        self._part = _Reading()
        self._fields: dict[str, str] = {}
        self._names: set[str] = set()
        self._parts: list[Part] = []
        self._ended = False
        self._tail = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise InvalidMultipartError(str(error)) from None

    def feed(self, chunk: bytes) -> None:
        """
        Read on.

        Raises:
            InvalidMultipartError: malformed, or readable in two ways.
            RepeatedFieldError: a field comes twice.
        """
        if self._closed():
            self._nothing_more(chunk)
            return
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidMultipartError(str(error)) from None
        window = self._tail + chunk
        if self._closed():
            at = window.find(b"\r\n" + self._closing)
            start = at + 2 if at >= 0 else window.find(self._closing)
            self._nothing_more(window[start + len(self._closing) :])
        else:
            self._tail = window[-(len(self._closing) + 2) :]

    def close(self) -> Form:
        """
        The form, once the body has ended.

        Raises:
            InvalidMultipartError: the closing delimiter never came.
        """
        if not self._closed():
            raise InvalidMultipartError("the closing delimiter is missing")
        return Form(self._fields, tuple(self._parts))

    def _closed(self) -> bool:
        return self._ended

    @staticmethod
    def _nothing_more(rest: bytes) -> None:
        if rest.strip(b"\r\n"):
            raise InvalidMultipartError("there are bytes behind the closing delimiter")

    def _begin(self) -> None:
        if len(self._parts) >= MAX_PARTS:
            raise InvalidMultipartError(f"it has more than {MAX_PARTS} parts")
        self._part = _Reading()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]

    def _header_end(self) -> None:
        part = self._part
        part.headers.append((part.header_name.lower(), part.header_value))
        part.header_name = part.header_value = b""

    def _headers_finished(self) -> None:
        part = self._part
        dispositions = [value for name, value in part.headers if name == b"content-disposition"]
        if len(dispositions) != 1:
            raise InvalidMultipartError("each part needs exactly one Content-Disposition")
        parameters = _parameters(dispositions[0])
        if b"name" not in parameters:
            raise InvalidMultipartError("a part has no name")
        try:
            part.name = parameters[b"name"].decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidMultipartError("a part's name is not UTF-8") from None
        self._check_name(part.name)
        self._names.add(part.name)
        if part.name in self._wanted:
            if b"filename" in parameters or b"filename*" in parameters:
                raise InvalidMultipartError(f"the field {part.name} must not be a file")
            _check_plain(part)
            part.value = bytearray()

    def _check_name(self, name: str) -> None:
        if name in self._names and name not in REPEATABLE:
            raise RepeatedFieldError(name)
        if name in self._wanted:
            return
        # Other spellings of a decisive field: who knows what the upstream makes of them.
        base = _BASE.split(name.strip().lower(), maxsplit=1)[0]
        if base in self._bases and name not in HARMLESS:
            spellings = ", ".join(sorted(one for one in self._wanted if one.partition("[")[0] == base))
            raise InvalidMultipartError(f"the field {base} must be sent as {spellings}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        part.digest.update(memoryview(data)[start:end])
        value = part.value
        if value is not None:
            value += data[start:end]
            if len(value) > MAX_VALUE_BYTES:
                raise InvalidMultipartError(f"the field {part.name} is longer than {MAX_VALUE_BYTES} bytes")

    def _end_part(self) -> None:
        part = self._part
        self._parts.append(Part(part.name, part.size, part.digest.digest()))
        if part.value is not None:
            try:
                self._fields[part.name] = part.value.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidMultipartError(f"the field {part.name} is not UTF-8") from None

    def _end(self) -> None:
        self._ended = True


def boundary_of(content_type: bytes) -> bytes:
    """
    The boundary of a multipart/form-data Content-Type.

    Raises:
        InvalidMultipartError: there is none, or more than one.
    """
    _, semicolon, rest = content_type.partition(b";")
    boundary = _parameters(semicolon + rest).get(b"boundary", b"")
    if not boundary:
        raise InvalidMultipartError("the Content-Type names no boundary")
    return boundary


def _parameters(value: bytes) -> dict[bytes, bytes]:
    """The parameters behind the first semicolon; names in lower case, each at most once."""
    kind, semicolon, rest = value.partition(b";")
    if kind.strip().lower() not in {b"form-data", b""}:
        raise InvalidMultipartError("a part's Content-Disposition is not form-data")
    rest = (semicolon + rest).strip(b" \t")
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(rest):
        matched = _PARAMETER.match(rest, at)
        if matched is None:
            raise InvalidMultipartError("a header's parameters cannot be read")
        name = matched["name"].lower()
        quoted, token = matched["quoted"], matched["token"]
        text = token if quoted is None else quoted
        if name in found or name == b"name*" or (name == b"name" and b"\\" in text):
            raise InvalidMultipartError("a header's parameter can be read in two ways")
        found[name] = text
        at = matched.end()
    return found


def _check_plain(part: _Reading) -> None:
    for name, value in part.headers:
        text = value.strip().lower()
        if name == b"content-transfer-encoding" and text not in _PLAIN_ENCODINGS:
            raise InvalidMultipartError(f"the field {part.name} has a transfer encoding")
        if name == b"content-type":
            _, _, charset = text.partition(b"charset=")
            if charset and charset.strip(b' "') not in _PLAIN_CHARSETS:
                raise InvalidMultipartError(f"the field {part.name} is not in UTF-8")
