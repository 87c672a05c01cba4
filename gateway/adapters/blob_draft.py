"""
A body on its way into the cache: the last quarter of a megabyte in memory, the rest in a file.

The file is written by threads. A caller that is cancelled leaves its thread at work, so what is in the file and what is
still held changes there, under a lock: it can be read at any time, in any state of a write.
"""

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from gateway.adapters.blobs import PIECE_BYTES, Handle
from gateway.core.entry import Entry
from gateway.ports import StoreFailed

HELD_BYTES: Final = PIECE_BYTES
"""From here on what is held is written to the file."""


class FileDraft:
    """
    The `Draft` port over a file.

    Args:
        handle: of the file, which is empty.
        path: of the file.
        keep: puts the file into the cache under an entry; whether it did.
        complain: told why it died.
    """

    def __init__(
        self,
        handle: Handle,
        path: Path,
        *,
        keep: Callable[[Entry, Path], Awaitable[bool]],
        complain: Callable[[Exception], None],
    ) -> None:
        self.size = 0
        self.alive = True
        self._handle = handle
        self._path = path
        self._keep = keep
        self._complain = complain
        self._hash = hashlib.sha256()
        self._held: list[bytes] = []
        """What is not in the file yet, in order."""
        self._held_bytes = 0
        self._in_file = 0
        self._state = threading.Lock()
        """Held for as long as it takes to change these three."""
        self._writing = threading.Lock()
        """Held by the thread that writes to the file."""

    async def write(self, chunk: bytes) -> None:
        """Take the next chunk."""
        with self._state:
            if not self.alive:
                return
            self._held.append(chunk)
            self._held_bytes += len(chunk)
            self.size += len(chunk)
            is_due = self._held_bytes >= HELD_BYTES
        if is_due:
            await asyncio.to_thread(self._flush)

    async def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`."""
        with self._state:
            self._see_that_it_lives()
            in_file, held = self._in_file, tuple(self._held)
        parts = []
        if start < in_file:
            try:
                part = await asyncio.to_thread(self._handle.read, start, min(end, in_file) - start)
            except OSError as error:
                raise StoreFailed(f"a draft cannot be read: {error}", unknown=False) from error
            parts.append(part)
        at = in_file
        for chunk in held:
            if start < at + len(chunk) and at < end:
                parts.append(chunk[max(0, start - at) : end - at])
            at += len(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def commit(self, entry: Entry) -> bool:
        """Keep it."""
        if self.size != entry.size:
            return False
        await asyncio.to_thread(self._flush)
        if not self.alive:
            return False
        return await self._keep(replace(entry, digest=self._hash.hexdigest()), self._path)

    async def drop(self) -> None:
        """Let go of it. A file that has got its place has another name by now."""
        if self._end():
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    def _flush(self) -> None:
        with self._writing:
            with self._state:
                held, at = tuple(self._held), self._in_file
            try:
                for chunk in held:
                    self._hash.update(chunk)
                    self._handle.write(chunk, at)
                    at += len(chunk)
            except OSError as error:
                if self._end():
                    self._path.unlink(missing_ok=True)
                    self._complain(error)
                return
            with self._state:
                del self._held[: len(held)]
                self._held_bytes -= at - self._in_file
                self._in_file = at

    def _end(self) -> bool:
        """Free what it holds; False: that was done before."""
        with self._state:
            was_alive, self.alive = self.alive, False
            self._held.clear()
            self._held_bytes = 0
        self._handle.close()
        return was_alive

    def _see_that_it_lives(self) -> None:
        if not self.alive:
            raise StoreFailed("the draft was dropped, or its disk failed", unknown=False)
