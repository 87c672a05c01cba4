"""
When two calls are the same: the key under which an answer is kept.

A key is a SHA-256 over everything that an answer depends on or is confined to: who shares it, where it came from
(base URL, organisation, project), the route, the query, OpenAI-Beta, the call itself, the client's seed, and how a
sandbox was steered.

Rules of this file:
- Every field counts, known or not, and nothing is filled in: defaults move, and so would what a key stands for.
- Two calls that are not the same never have the same preimage: every value says its kind and its length first.
- What carries no meaning does not count: the order of an object's keys, white space, escapes, the boundary of a form,
  file names, the media types of parts, `image` against `image[]`.
- `VERSION` moves with whatever changes a digest; golden digests in the tests remind of it.

The form of an answer is not in the key of an Images call, since one answer serves several forms (artefact.py); of a
Responses call it is, so there the same form is found and no other.

Not here: whether an answer may be kept at all (freshness.py).
"""

import hashlib
import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NewType

from gateway.core.errors import Code, Refusal, Refused
from gateway.core.headers import Header
from gateway.core.multipart import Form, Part
from gateway.core.principal import Principal
from gateway.core.strictjson import Number

VERSION: Final = 1
SEED: Final = "X-Imagegate-Seed"
SEED_FIELD: Final = SEED.lower().encode("ascii")
SEED_CHARACTERS: Final = 128

CacheKey = NewType("CacheKey", str)
"""`v1-` and 64 hexadecimal digits: fit for a file name, a column, a key in Redis."""
Level = Literal["org", "team", "key"]

_LEVELS: Final[tuple[Level, ...]] = ("org", "team", "key")
"""Widest first."""
_FORM_OF_IMAGES = frozenset({"stream", "partial_images"})
_FORM_OF_RESPONSES = frozenset({"stream"})
_PLAIN_FLAGS = frozenset({"", "true", "false", "1", "0"})
"""How a form says yes or no without leaving a doubt about what the upstream makes of it."""
_WORDS: Final = {None: b"null", True: b"true", False: b"false"}
_DATA_URL = re.compile(r"data:(?P<type>[^,]{0,255});base64,")
_DECODED_AT_ONCE = 1 << 20
_BUFFERED_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the answer to a call depends on beside the call itself."""

    share: tuple[str, ...]
    """Who may be given it, as `share` has it."""
    base_url: str
    """Of the upstream."""
    organization: str | None
    project: str | None
    """Of the credential that the call goes up with first."""
    route: str
    """Its name: `images.edits`."""
    query: bytes = b""
    """As received, without the question mark."""
    openai_beta: bytes | None = None
    seed: bytes | None = None
    """As `seed_of` has it."""
    steering: bytes | None = None
    """X-Sandbox; None unless the upstream is a sandbox."""
    stream: bool = False
    """Whether a stream was asked for."""


def share(principal: Principal, route: str, *, scope: Level, owner: Level) -> tuple[str, ...]:
    """
    Who may be given the answer to this caller's call.

    Args:
        principal: the caller.
        route: of the call. An answer of the Responses API has an id that is its owner's alone.
        scope: `cache.scope`.
        owner: `tenancy.owner`.
    """
    level = max(scope, owner, key=_LEVELS.index) if route.startswith("responses.") else scope
    ids = (principal.org.id, principal.team.id, principal.key.id)
    return ids[: _LEVELS.index(level) + 1]


def seed_of(headers: Iterable[Header]) -> bytes | None:
    """
    The client's name for one of many answers to the same call; None: the one without a name.

    Raises:
        Refused: 400 `invalid_header`: it is too long, or there twice.
    """
    values = [value for name, value in headers if name == SEED_FIELD]
    if not values:
        return None
    if len(values) > 1:
        raise Refused(Refusal(Code.INVALID_HEADER, f"The header {SEED} was sent more than once.", SEED))
    if len(values[0].decode("utf-8", "replace")) > SEED_CHARACTERS:
        message = f"The header {SEED} takes up to {SEED_CHARACTERS} characters; this one is longer."
        raise Refused(Refusal(Code.INVALID_HEADER, message, SEED))
    return values[0]


def left_out(route: str, ignore_fields: Iterable[str] = ()) -> frozenset[str]:
    """
    The fields of a call that do not count: those that ask for a form of the answer, and `cache.ignore_fields`.

    The partial images of a Responses call are asked for in its tools, and are part of its answer in any form.
    """
    form = _FORM_OF_IMAGES if route.startswith("images.") else _FORM_OF_RESPONSES
    return form.union(ignore_fields)


def read_json(pieces: Iterable[bytes]) -> dict[str, object]:
    """
    A JSON body with its numbers as they are written, for `json_content`.

    At its highest it holds 2.1 times the body's size where the body is ASCII, 3.1 times with other Latin letters in it,
    and 6.1 times with an emoji (Python keeps a text at the width of its widest sign); then the value alone, about the
    body's size. Measured with 16 MB of base64.

    Args:
        pieces: a body that strictjson.py has accepted, so that no key is repeated and its depth is bounded.

    Raises:
        ValueError: it is not a JSON object.
    """
    body = bytearray()
    for piece in pieces:
        body += piece
    text = body.decode("utf-8")
    del body
    value: object = json.loads(text, parse_float=Number, parse_int=_integer)
    if not isinstance(value, dict):
        raise ValueError("the body is not a JSON object")  # noqa: TRY004 - the bytes are at fault, not the caller
    return value


def json_content(body: Mapping[str, object], leave_out: Collection[str] = ()) -> bytes:
    """
    What stands for a JSON body: 32 bytes. For a thread where the body is large.

    A data URL counts by its media type and its bytes, decoded a megabyte at a time; of any other string a copy is held
    while it is read.

    Args:
        body: as `read_json` has it: a plain float has lost how it was written.
        leave_out: names of fields at the top that do not count.

    Raises:
        TypeError: there is a value in it that `read_json` does not make.
    """
    digest = _Digest("json")
    digest.value({name: value for name, value in body.items() if name not in leave_out})
    return digest.close()


def form_content(form: Form, leave_out: Collection[str] = ()) -> bytes:
    """
    What stands for a form: 32 bytes.

    Args:
        form: as it was read. Parts count by name, length and the digest of their bytes; the order of names does not
            count, that of parts of one name does.
        leave_out: names of fields that do not count, with all that is nested in them (`svg[model]`).
    """
    counted = sorted((one for one in form.parts if not _is_left_out(one, form, leave_out)), key=_name)
    digest = _Digest("form")
    digest.value([[_name(one), one.size, one.sha256] for one in counted])
    return digest.close()


def key_of(surroundings: Surroundings, content: bytes) -> CacheKey:
    """
    The key.

    Args:
        surroundings: of the call.
        content: of the call, by `json_content` or `form_content` without the fields that `left_out` names.
    """
    held = surroundings
    digest = _Digest("key")
    digest.value(
        {
            "share": list(held.share),
            "base_url": held.base_url,
            "organization": held.organization,
            "project": held.project,
            "route": held.route,
            "query": list(_query(held.query)),
            "openai_beta": held.openai_beta,
            "seed": held.seed,
            "steering": held.steering,
            "stream": held.stream if held.route.startswith("responses.") else None,
            "content": content,
        }
    )
    return CacheKey(f"v{VERSION}-{digest.close().hex()}")


class _Digest:
    """
    A digest over values, of which no two are written alike.

    A value is its kind, its length in decimal, a colon, and itself: no value is the beginning of another, so a
    sequence of them can be read in one way only.
    """

    def __init__(self, what: str) -> None:
        self._hash = hashlib.sha256()
        self._buffer = bytearray()
        self._write(b"v", f"imagegate {what} {VERSION}".encode())

    def value(self, value: object) -> None:
        """Depth is bounded by the strict reader of request bodies."""
        match value:
            case str():
                self._text(value)
            case bool() | None:
                self._write(b"w", _WORDS[value])
            case Number():
                self._write(b"n", value.text.encode("ascii"))
            case int():
                self._write(b"n", str(value).encode("ascii"))
            case bytes():
                self._write(b"b", value)
            case list():
                self._begin(b"l", len(value))
                for one in value:
                    self.value(one)
            case dict():
                self._begin(b"d", len(value))
                # By code point: any order would do that every process agrees on.
                for key in sorted(value):
                    self._write(b"s", key.encode("utf-8", "surrogatepass"))
                    self.value(value[key])
            case _:
                raise TypeError(f"a {type(value).__name__} has no canonical form")

    def close(self) -> bytes:
        self._hash.update(self._buffer)
        return self._hash.digest()

    def _text(self, text: str) -> None:
        found = _DATA_URL.match(text)
        picture = None if found is None else _decoded_digest(text, found.end())
        if found is None or picture is None:
            self._write(b"s", text.encode("utf-8", "surrogatepass"))
        else:
            self._write(b"u", picture + found["type"].encode("utf-8", "surrogatepass"))

    def _begin(self, kind: bytes, length: int) -> None:
        self._buffer += b"%b%d:" % (kind, length)
        if len(self._buffer) >= _BUFFERED_BYTES:
            self._hash.update(self._buffer)
            self._buffer.clear()

    def _write(self, kind: bytes, data: bytes) -> None:
        self._begin(kind, len(data))
        if len(data) < _BUFFERED_BYTES:
            self._buffer += data
        else:
            self._hash.update(self._buffer)
            self._buffer.clear()
            self._hash.update(data)


def _decoded_digest(text: str, start: int) -> bytes | None:
    """
    The SHA-256 of the bytes that base64 stands for from `start` on; None where it is not what an encoder writes.

    What encoders do not write (white space, no padding, stray bits) counts as text: no two texts that differ are one.
    """
    # Padding elsewhere than at the end is noticed below, unless a piece ends with it.
    if -1 < text.find("=", start) < len(text) - 2:
        return None
    hashed = hashlib.sha256()
    last = b""
    try:
        for at in range(start, len(text), _DECODED_AT_ONCE):
            last = a2b_base64(text[at : at + _DECODED_AT_ONCE], strict_mode=True)
            hashed.update(last)
    except ValueError:
        return None
    # Padding may hide bits that mean nothing, in the last four signs.
    tail = text[max(start, len(text) - 4) :]
    return hashed.digest() if b2a_base64(last, newline=False)[-4:] == tail.encode("ascii") else None


def _integer(text: str) -> int | Number:
    return Number(text) if text == "-0" else int(text)


def _name(part: Part) -> str:
    return "image" if part.name == "image[]" else part.name


def _is_left_out(part: Part, form: Form, leave_out: Collection[str]) -> bool:
    if part.name == "stream" and form.fields.get("stream", "").strip().lower() not in _PLAIN_FLAGS:
        return False
    return part.name.partition("[")[0] in leave_out


def _query(query: bytes) -> list[bytes]:
    """Its parameters by name; those of one name keep their order."""
    return sorted((one for one in query.split(b"&") if one), key=lambda one: one.partition(b"=")[0])
