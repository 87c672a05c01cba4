"""
What the cache holds beside the bytes of an answer: when it may be given, in which form, and what a hit's record says.

An entry is written down as two lines of JSON: all of it but its contents, and those as contents.py packs them. A field
that is missing has its default, one that is not known is left: another version of this program may have written it. What
cannot be read is told by a ValueError, and is a miss.

Not here: where entries lie (the Cache port), whether one may be given (freshness.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

import orjson

from gateway.core import contents as contents_of
from gateway.core.artefact import Form
from gateway.core.cachekey import CacheKey
from gateway.core.contents import Contents
from gateway.core.freshness import Life
from gateway.core.headers import Header
from gateway.core.record import Record, TokensFrom
from gateway.core.units import NanoUSD

VERSION: Final = 1
"""Moves when what an entry says no longer means the same; of another version none is read."""
KEPT_HEADERS: Final = (b"content-type", b"openai-version")
"""What a hit carries of the original's head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The call that was answered by the upstream. Its fields are those of its record."""

    id: str
    """Of its record."""
    org: str | None = None
    team: str | None = None
    key: str | None = None
    """The id of the caller's key."""
    route: str | None = None
    model: str | None = None
    tool_model: str | None = None
    images: int = 0
    size: str | None = None
    quality: str | None = None
    partial_images_requested: int | None = None
    partial_images_delivered: int = 0
    cost_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - an int by another name
    response_id: str | None = None


_ORIGINAL: Final = tuple(one.name for one in fields(Original))
_GIVEN: Final = (
    "tool_model",
    "images",
    "size",
    "quality",
    "partial_images_requested",
    "partial_images_delivered",
    "response_id",
)
"""What the record of a hit says as its original's does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kept answer."""

    key: CacheKey
    form: Form
    """In which it was asked for. A key has one entry of each form at most."""
    status: int
    headers: tuple[Header, ...]
    """As `kept_headers` has them."""
    life: Life
    contents: Contents
    original: Original
    digest: str = ""
    """SHA-256 of the body, hexadecimal; the store fills it in."""

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return self.contents.size


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFilter:
    """Which entries; all that is given must fit. Nothing given: every one."""

    key_id: str | None = None
    """Of the caller's key that the original was asked with."""
    team: str | None = None
    """The original's."""
    model: str | None = None
    """That answered or that drew, as asked."""
    response_id: str | None = None

    def takes(self, entry: Entry) -> bool:
        """Whether the entry is one of these."""
        one = entry.original
        return (
            (self.key_id is None or one.key == self.key_id)
            and (self.team is None or one.team == self.team)
            and (self.model is None or self.model in {one.model, one.tool_model})
            and (self.response_id is None or one.response_id == self.response_id)
        )


EVERYTHING: Final = CacheFilter()


@dataclass(frozen=True, slots=True)
class Share:
    """What is kept of the calls of one team."""

    entries: int
    bytes: int
    """Of their bodies; one that several entries have counts for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheStats:
    """How full a cache is."""

    entries: int = 0
    blobs: int = 0
    """Bodies, each counted once."""
    bytes: int = 0
    """What counts against `max_bytes`."""
    max_bytes: int = 0
    teams: Mapping[str, Share] = field(default_factory=dict)
    """By the original's team; calls without one are left out."""


def original_of(record: Record) -> Original:
    """What the record of a hit will say of this one."""
    return Original(**{name: getattr(record, name) for name in _ORIGINAL})


def given_again(record: Record, original: Original, *, stream: bool, whole: bool = True) -> Record:
    """
    The record of a hit: what it was given, what that would have cost, and no cost.

    Args:
        record: of the request.
        original: of the answer.
        stream: it was given as one.
        whole: all of it was given; otherwise there was no picture, and nothing was saved.
    """
    same = {name: getattr(original, name) for name in _GIVEN}
    if not whole:
        same |= {"images": 0, "partial_images_delivered": 0}
    saved = original.cost_nusd if whole else NanoUSD(0)
    return replace(record, **same, stream=stream, saved_nusd=saved, reserved_nusd=NanoUSD(0))


def shared(record: Record, *, whole: bool = True) -> Record:
    """
    The record of a call that got the answer to another one: as if it had been made, and at no cost.

    `whole`: it got all of it, and what that cost is known; otherwise nothing was saved.
    """
    return replace(
        record,
        saved_nusd=record.cost_nusd if whole else NanoUSD(0),
        cost_nusd=NanoUSD(0),
        reserved_nusd=NanoUSD(0),
        lines=(),
        tokens_from=TokensFrom.NONE,
        priced_as=None,
        input_text_tokens=0,
        input_image_tokens=0,
        cached_input_tokens=0,
        output_image_tokens=0,
        partial_image_tokens=0,
        output_text_tokens=0,
    )


def kept_headers(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The part of an answer's head that is kept with it."""
    return tuple((name.lower(), value) for name, value in headers if name.lower() in KEPT_HEADERS)


def packed(entry: Entry) -> bytes:
    """For a store."""
    life, original = entry.life, entry.original
    plain = {
        "version": VERSION,
        "key": entry.key,
        "stream": entry.form.stream,
        "partial_images": entry.form.partial_images,
        "status": entry.status,
        "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in entry.headers],
        "kept_at": life.kept_at,
        "ttl_s": life.ttl_s,
        "most_s": life.most_s,
        "digest": entry.digest,
        "original": {name: fit(getattr(original, name)) for name in _ORIGINAL},
    }
    return orjson.dumps(plain) + b"\n" + contents_of.packed(entry.contents)


def unpacked(data: bytes) -> Entry:
    """
    As `packed` made it.

    Raises:
        ValueError: it did not, or it was another version's.
    """
    head, _, rest = data.partition(b"\n")
    try:
        return _read(orjson.loads(head), contents_of.unpacked(rest))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"this is no entry of a cache: {error!r}") from error


def fit(value: object) -> object:
    """A text fit for UTF-8: half a surrogate pair, which a client can send in JSON, has no place in a store."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _read(plain: Mapping[str, Any], contents: Contents) -> Entry:
    # Any: it was JSON, and an entry before that.
    if plain["version"] != VERSION:
        raise ValueError(f"this entry is of version {plain['version']}, this program reads {VERSION}")
    original = plain["original"]
    return Entry(
        key=CacheKey(plain["key"]),
        form=Form(stream=plain["stream"], partial_images=plain["partial_images"]),
        status=plain["status"],
        headers=tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in plain["headers"]),
        life=Life(kept_at=plain["kept_at"], ttl_s=plain["ttl_s"], most_s=plain.get("most_s")),
        contents=contents,
        original=Original(**{name: original[name] for name in _ORIGINAL if name in original}),
        digest=plain["digest"],
    )
