"""
The body, read whole before anything goes up: what is not allowed must not reach the upstream.

It is kept as it came, in memory or beyond a megabyte in a file, and goes up unchanged; a reader runs beside it.
"""

import asyncio
import logging
import re
from dataclasses import dataclass
from functools import partial

from gateway.core import strictjson
from gateway.core.call import FORM_FIELDS, Call, read_form, read_json
from gateway.core.errors import Code, Refusal, Refused, quoted
from gateway.core.headers import first
from gateway.core.multipart import (
    Form,
    FormReader,
    InvalidMultipartError,
    RepeatedFieldError,
    boundary_of,
)
from gateway.core.routes import Body, Match
from gateway.flow.exchange import Arrival, Client
from gateway.flow.story import Story
from gateway.flow.wanted import Content, Terms, content_of_form, content_of_json
from gateway.ports import Spool

_log = logging.getLogger("imagegate.parse")
_JSON = b"application/json"
_FORM = b"multipart/form-data"
_UTF8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})
_CHARSET = re.compile(rb"(?i);\s*charset\s*=\s*\"?([^;\"\s]*)")
MAX_JSON_BYTES = 64 << 20
"""Of a JSON body. OpenAI's vision guide allows 50 MB of images in a request; more goes up as files or multipart. A JSON
body has to be read whole to be judged, which takes about four times its size, one body at a time."""
LARGE_JSON_BYTES = 1 << 20
"""From here on one body is read at a time."""

_reading_large = asyncio.Lock()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A call, and the body that goes up for it."""

    call: Call
    body: Spool | None
    """None: no body goes up."""
    content: Content | None = None
    """What the body is to the cache; None: its answer is not kept, or nothing is."""


async def parse(
    arrival: Arrival,
    match: Match,
    client: Client,
    story: Story,
    spool: Spool,
    *,
    max_body_bytes: int,
    terms: Terms | None = None,
    whole: bool = False,
) -> Parsed:
    """
    Read the body and what it asks for.

    Args:
        arrival: the request's head.
        match: its route.
        client: whom to read from.
        story: what is told of it.
        spool: where the body is kept until it goes up.
        max_body_bytes: of the body.
        terms: of the cache; None: what the body is to it is not asked.
        whole: whether every field of it counts: the call has an `Idempotency-Key`.

    Raises:
        Refused: 400 (unreadable, repeated or mistyped fields), 408 (too slow), 413 (longer than `max_body_bytes`).
        ClientGoneError: the client left while sending.
    """
    kind = _kind(arrival, match)
    limit = min(max_body_bytes, MAX_JSON_BYTES) if kind is Body.JSON else max_body_bytes
    announced = first(arrival.headers, b"content-length")
    if announced is not None and announced.isdigit() and int(announced) > limit:
        raise Refused(_too_large(limit))
    reader = _form_reader(arrival) if kind is Body.FORM else None
    async for piece in client.body():
        story.bytes_in += len(piece)
        if story.bytes_in > limit:
            raise Refused(_too_large(limit))
        if kind is not Body.NONE:
            await _keep(spool, piece)
        if reader is not None:
            _feed(reader, piece)
    if kind is Body.NONE:
        return Parsed(Call(match), None)
    if reader is not None:
        form = _closed(reader)
        call = read_form(match, form)
        return Parsed(call, spool, None if terms is None else content_of_form(call, form, terms, whole=whole))
    if kind is Body.JSON and (spool.size or match.route.metered):
        return await _read_spooled(match, spool, terms, whole=whole)
    return Parsed(Call(match, names_ids=True), spool if spool.size else None)


async def _keep(spool: Spool, piece: bytes) -> None:
    try:
        await spool.write(piece)
    except OSError as error:
        _log.error("no room for an upload: %s", error)
        message = (
            "The gateway has no room for this upload at the moment (its temporary folder). Please try again."
        )
        raise Refused(Refusal(Code.STORE_UNAVAILABLE, message, retry_after_ms=5000)) from error


async def _read_spooled(match: Match, spool: Spool, terms: Terms | None, *, whole: bool) -> Parsed:
    if spool.size < LARGE_JSON_BYTES:
        return await _parsed(match, spool, terms, whole=whole)
    async with _reading_large:
        return await _parsed(match, spool, terms, whole=whole)


async def _parsed(match: Match, spool: Spool, terms: Terms | None, *, whole: bool) -> Parsed:
    value = _read_json(b"".join([piece async for piece in spool.pieces()]))
    call = read_json(match, value)
    if terms is None or not match.route.metered or not isinstance(value, dict):
        return Parsed(call, spool)
    reckon = partial(content_of_json, call, value, terms, whole=whole)
    # A digest of megabytes must not hold up the loop.
    content = reckon() if spool.size < LARGE_JSON_BYTES else await asyncio.to_thread(reckon)
    return Parsed(call, spool, content)


def _kind(arrival: Arrival, match: Match) -> Body:
    """How to read the body: by the route, and by the Content-Type where the route leaves a choice."""
    wanted = match.route.body
    if wanted in {Body.NONE, Body.OPAQUE}:
        return wanted
    content_type = first(arrival.headers, b"content-type") or b""
    media_type, semicolon, rest = content_type.partition(b";")
    given = media_type.strip().lower()
    if wanted is Body.JSON and not content_type and not match.route.metered:
        # A call that may come without a body; if one comes, it is read as what it must be.
        return Body.JSON
    if given == _JSON and wanted in {Body.JSON, Body.JSON_OR_FORM}:
        matched = _CHARSET.search(semicolon + rest)
        if matched is not None and matched[1].lower() not in _UTF8:
            message = f"The body must be UTF-8; the Content-Type says {quoted(_latin(content_type))}."
            raise Refused(Refusal(Code.INVALID_JSON, message))
        return Body.JSON
    if given == _FORM and wanted in {Body.FORM, Body.JSON_OR_FORM}:
        return Body.FORM
    code = Code.INVALID_JSON if wanted is Body.JSON else Code.INVALID_MULTIPART
    choice = {
        Body.JSON: "application/json",
        Body.FORM: "multipart/form-data",
        Body.JSON_OR_FORM: "multipart/form-data or application/json",
    }[wanted]
    said = quoted(_latin(content_type)) if content_type else "none"
    raise Refused(Refusal(code, f"This route takes a Content-Type of {choice}; yours is {said}."))


def _form_reader(arrival: Arrival) -> FormReader:
    try:
        return FormReader(boundary_of(first(arrival.headers, b"content-type") or b""), FORM_FIELDS)
    except InvalidMultipartError as error:
        raise Refused(_not_multipart(error)) from None


def _feed(reader: FormReader, piece: bytes) -> None:
    try:
        reader.feed(piece)
    except InvalidMultipartError as error:
        raise Refused(_not_multipart(error)) from None
    except RepeatedFieldError as error:
        raise Refused(_repeated(error.name)) from None


def _closed(reader: FormReader) -> Form:
    try:
        return reader.close()
    except InvalidMultipartError as error:
        raise Refused(_not_multipart(error)) from None


def _read_json(body: bytes) -> object:
    try:
        return strictjson.loads(body)
    except strictjson.InvalidJsonError as error:
        message = f"We could not parse the JSON body of your request: {error}."
        raise Refused(Refusal(Code.INVALID_JSON, message)) from None
    except strictjson.RepeatedKeyError as error:
        raise Refused(_repeated(error.key)) from None


def _repeated(name: str) -> Refusal:
    shown = quoted(name)
    return Refusal(
        Code.DUPLICATE_FIELD, f"The field {shown} is there more than once. Send it once.", shown[1:-1]
    )


def _not_multipart(error: InvalidMultipartError) -> Refusal:
    return Refusal(Code.INVALID_MULTIPART, f"We could not read the multipart body of your request: {error}.")


def _too_large(limit: int) -> Refusal:
    message = (
        f"The request body is larger than this gateway accepts here ({limit} bytes; server.max_body_bytes)."
    )
    return Refusal(Code.REQUEST_TOO_LARGE, message)


def _latin(value: bytes) -> str:
    return value.decode("latin-1")
