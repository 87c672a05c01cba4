"""
A request's body, kept until the upstream has it: small ones in memory, larger ones in a temporary file.

The file has no name (`tempfile.TemporaryFile`): it is gone with the process, however that ends. It is written and
read in threads, a megabyte at a time, so that a slow disk holds up one request and not all.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

MEMORY_BYTES = 1 << 20
"""Up to here a body stays in memory."""
BLOCK_BYTES = 1 << 20
"""Written and read at once."""


class FileSpool:
    """
    The `Spool` port over memory and a temporary file.

    Args:
        folder: where temporary files are made; None for the system's place.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self.size = 0

    async def write(self, piece: bytes) -> None:
        """Take the next piece."""
        self._held.append(piece)
        self._held_bytes += len(piece)
        self.size += len(piece)
        if self._held_bytes >= (MEMORY_BYTES if self._file is None else BLOCK_BYTES):
            await self._flush()

    async def pieces(self) -> AsyncIterator[bytes]:
        """All of it, from the beginning; any number of times."""
        if self._file is not None:
            await self._flush()
            at = 0
            while block := await asyncio.to_thread(_read, self._file, at):
                at += len(block)
                yield block
            return
        for piece in self._held:
            yield piece

    def close(self) -> None:
        """Forget it."""
        self._held.clear()
        if self._file is not None:
            self._file.close()

    async def _flush(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            if self._file is None:
                self._file = await asyncio.to_thread(self._open)
            await asyncio.to_thread(_append, self._file, held)

    def _open(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._folder)


def _append(file: IO[bytes], pieces: list[bytes]) -> None:
    file.seek(0, 2)
    file.writelines(pieces)
    file.flush()


def _read(file: IO[bytes], at: int) -> bytes:
    file.seek(at)
    return file.read(BLOCK_BYTES)
