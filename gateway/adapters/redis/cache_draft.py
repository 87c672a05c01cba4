"""
A body on its way into the cache: what does not fill a chunk in memory, the rest in the store.

What is in the store lasts for half a minute unless its process says otherwise (cache_bodies.py): so what a dead one
left is gone soon. A write that its caller cancels may take place or not. It is done again: chunks have numbers, and the
same bytes.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from gateway.adapters.redis.cache_bodies import CHUNK_BYTES, CHUNKS, Bodies, LostBodyError, chunks_of
from gateway.core.entry import Entry
from gateway.flow.tasks import spawn
from gateway.ports import StoreFailed


class RedisDraft:
    """
    The `Draft` port over a store.

    Args:
        bodies: where it is written to.
        most_bytes: it dies when it is larger.
        keep: keeps a body under an entry; the body that the entry has then, None: it is not kept.
        complain: told why it died.
    """

    def __init__(
        self,
        bodies: Bodies,
        *,
        most_bytes: int,
        keep: Callable[[Entry, str], Awaitable[str | None]],
        complain: Callable[[Exception], None],
    ) -> None:
        self.size = 0
        self.alive = True
        self._bodies = bodies
        self._most_bytes = most_bytes
        self._keep = keep
        self._complain = complain
        self._body = uuid.uuid4().hex
        self._hash = hashlib.sha256()
        self._held: list[bytes] = []
        """What is not in the store yet, in order."""
        self._held_bytes = 0
        self._stored = 0
        """Bytes in the store."""
        self._writing = asyncio.Lock()
        self._committing: asyncio.Task[object] | None = None
        self._kept: str | None = None

    async def write(self, chunk: bytes) -> None:
        """Take the next chunk."""
        if not self.alive:
            return
        self._held.append(chunk)
        self._held_bytes += len(chunk)
        self.size += len(chunk)
        if self.size > self._most_bytes:
            self._die(StoreFailed("an answer is larger than the cache", unknown=False))
        elif self._held_bytes >= CHUNK_BYTES:
            await self._flush(CHUNK_BYTES)

    async def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`."""
        if not self.alive:
            raise StoreFailed("the draft was dropped, or its store failed", unknown=False)
        stored, held = self._stored, tuple(self._held)
        parts = []
        if start < stored:
            try:
                parts.append(await self._bodies.read(self._body, start, min(end, stored)))
            except LostBodyError as error:
                raise StoreFailed(f"a draft cannot be read: {error}", unknown=False) from error
        at = stored
        for chunk in held:
            if start < at + len(chunk) and at < end:
                parts.append(chunk[max(0, start - at) : end - at])
            at += len(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def commit(self, entry: Entry) -> bool:
        """Keep it. It goes on when its caller is cancelled: it is kept, or not, by the time it is dropped."""
        if not self.alive or self.size != entry.size:
            return False
        self._committing = spawn("keep an answer", self._commit(entry))
        await asyncio.wait([self._committing])
        return self._kept is not None

    async def drop(self) -> None:
        """Let go of it."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        was_alive, self.alive = self.alive, False
        self._held.clear()
        if not was_alive:
            return
        if self._stored:
            self._bodies.leave(self._body)
        if self._stored and self._kept != self._body:
            with suppress(StoreFailed):  # It is gone in half a minute anyway.
                await self._bodies.remove(self._body)

    async def _commit(self, entry: Entry) -> None:
        await self._flush(1)
        if not self.size:
            await self._put({0: b""})
        if self.alive:
            self._kept = await self._keep(replace(entry, digest=self._hash.hexdigest()), self._body)

    async def _flush(self, least_bytes: int) -> None:
        """Write down what is held, in whole chunks, until there is less than so much."""
        async with self._writing:
            while self.alive and self._held_bytes >= least_bytes:
                held = b"".join(self._held)
                whole = len(held) if least_bytes < CHUNK_BYTES else len(held) // CHUNK_BYTES * CHUNK_BYTES
                some = held[: min(whole, CHUNKS * CHUNK_BYTES)]
                first = self._stored // CHUNK_BYTES
                chunks = {
                    first + number: some[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]
                    for number in range(chunks_of(len(some)))
                }
                if await self._put(chunks):
                    self._has_stored(some)

    async def _put(self, chunks: dict[int, bytes]) -> bool:
        """Whether it lives on."""
        if not self._stored:
            self._bodies.use(self._body)
        try:
            there = await self._bodies.put(self._body, chunks)
        except StoreFailed as failed:
            self._die(failed)
            return False
        if there != max(chunks) + 1:
            self._die(StoreFailed("what was written of an answer is gone", unknown=False))
        return self.alive

    def _has_stored(self, some: bytes) -> None:
        self._hash.update(some)
        self._stored += len(some)
        rest = len(some)
        while rest:
            first = self._held[0]
            if len(first) > rest:
                self._held[0] = first[rest:]
                rest = 0
            else:
                rest -= len(first)
                del self._held[0]
        self._held_bytes -= len(some)

    def _die(self, error: Exception) -> None:
        if self.alive:
            self.alive = False
            self._held.clear()
            self._held_bytes = 0
            self._bodies.leave(self._body)
            self._complain(error)
