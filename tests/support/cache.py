"""Entries for a cache, and the way of a body in and out."""

import hashlib
import random
from dataclasses import fields, replace
from typing import Any

from gateway.core.artefact import PLAIN
from gateway.core.cachekey import CacheKey
from gateway.core.contents import Contents
from gateway.core.entry import Entry, Original
from gateway.core.freshness import Life
from gateway.core.units import NanoUSD
from gateway.ports import Cache
from tests.support.ledger import NOON

WRITTEN_AT_ONCE = 64 * 1024
_OWN = {one.name for one in fields(Entry)} - {"key"}


def key_of(name: object) -> CacheKey:
    return CacheKey(f"v1-{hashlib.sha256(str(name).encode()).hexdigest()}")


def body_of(seed: object, size: int) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def entry(name: object, size: int, **changes: Any) -> Entry:
    """Of a plain answer, kept at `NOON` for a day; `changes` of its own fields, or else of its original's."""
    original = Original(
        id=f"igr_{name}",
        org="default",
        team="design",
        key="design-1",
        route="images.generations",
        model="gpt-image-2",
        images=1,
        size="1024x1024",
        quality="low",
        cost_nusd=NanoUSD(8_160_000),
    )
    made = Entry(
        key=key_of(name),
        form=PLAIN,
        status=200,
        headers=((b"content-type", b"application/json"),),
        life=Life(kept_at=NOON, ttl_s=86_400.0),
        contents=Contents(size),
        original=original,
    )
    own = {field: changes.pop(field) for field in _OWN & changes.keys()}
    if changes:
        own["original"] = replace(original, **changes)
    return replace(made, **own)


async def kept(cache: Cache, body: bytes, one: Entry) -> bool:
    """Whether it was, written as an upstream sends it."""
    draft = await cache.draft()
    if draft is None:
        return False
    try:
        for at in range(0, len(body), WRITTEN_AT_ONCE):
            await draft.write(body[at : at + WRITTEN_AT_ONCE])
        return await draft.commit(one)
    finally:
        await draft.drop()


async def given(cache: Cache, one: Entry) -> bytes | None:
    """The body; None: a miss."""
    body = await cache.open(one)
    if body is None:
        return None
    try:
        return b"".join([chunk async for chunk in body.chunks()])
    finally:
        body.close()
