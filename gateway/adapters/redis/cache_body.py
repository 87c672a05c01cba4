"""
The body of an entry, as it is given: read through and held against its digest first.

A small one is held meanwhile. A large one is read a second time, piece by piece as it is asked for, each piece held
against what was read the first time.
"""

import hashlib
from collections.abc import AsyncIterator, Callable

from gateway.adapters.redis.cache_bodies import CHUNK_BYTES, CHUNKS, Bodies, LostBodyError, chunks_of
from gateway.core.entry import Entry
from gateway.ports import StoreFailed


class RedisBody:
    """
    The `CacheBody` port over a store.

    Args:
        bodies: where it lies.
        body: where there.
        size: of it.
        held: all of its chunks, or none.
        digests: of each of its chunks.
        closed: called once, when it is closed.
    """

    def __init__(
        self,
        bodies: Bodies,
        body: str,
        size: int,
        *,
        held: list[bytes],
        digests: list[bytes],
        closed: Callable[[], None],
    ) -> None:
        self.size = size
        self._bodies = bodies
        self._body = body
        self._held = held
        self._digests = digests
        self._closed: Callable[[], None] | None = closed

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`."""
        end = self.size if end is None else min(end, self.size)
        while start < end:
            number, skipped = divmod(start, CHUNK_BYTES)
            stop = min(end, (number + 1) * CHUNK_BYTES)
            yield (await self._chunk(number))[skipped : skipped + stop - start]
            start = stop

    def close(self) -> None:
        """Let go of it."""
        closed, self._closed = self._closed, None
        if closed is not None:
            self._held = []
            closed()

    async def _chunk(self, number: int) -> bytes:
        if self._closed is None:
            raise StoreFailed("the body was closed", unknown=False)
        if self._held:
            return self._held[number]
        try:
            (chunk,) = await self._bodies.chunks(self._body, number, number)
        except LostBodyError as error:
            raise StoreFailed(f"a body is not there any more: {error}", unknown=False) from error
        if _digest(chunk) != self._digests[number]:
            raise StoreFailed("a body has changed while it was read", unknown=False)
        return chunk


async def opened(
    bodies: Bodies, body: str, entry: Entry, *, hold: bool, closed: Callable[[], None]
) -> RedisBody:
    """
    The body of an entry.

    Args:
        bodies: where it lies.
        body: where there.
        entry: with its digest.
        hold: its chunks are to be held.
        closed: called once, when it is closed; not if this raises.

    Raises:
        LostBodyError: it is not there, or not what the entry says.
        StoreFailed: see there.
    """
    hashed = hashlib.sha256()
    count, size = chunks_of(entry.size), 0
    held: list[bytes] = []
    digests: list[bytes] = []
    for first in range(0, count, CHUNKS):
        last = min(first + CHUNKS, count) - 1
        for chunk in await bodies.chunks(body, first, last, of_entry=True):
            size += len(chunk)
            hashed.update(chunk)
            if hold:
                held.append(chunk)
            else:
                digests.append(_digest(chunk))
    if size != entry.size or hashed.hexdigest() != entry.digest:
        raise LostBodyError("its bytes are not those that were kept")
    return RedisBody(bodies, body, size, held=held, digests=digests, closed=closed)


def _digest(chunk: bytes) -> bytes:
    return hashlib.sha256(chunk).digest()
