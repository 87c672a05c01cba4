"""A kept body, as it is given: a file that was read through and held against its digest first (blobs.py)."""

import asyncio
from collections.abc import AsyncIterator, Callable

from gateway.adapters.blobs import PIECE_BYTES, Blobs, Handle
from gateway.core.allotment import Allotment
from gateway.ports import StoreFailed


class FileBody:
    """
    The `CacheBody` port over a file.

    Args:
        handle: of the file.
        size: of the body.
        held: all of its pieces, or none.
        closed: called once, when it is closed.
    """

    def __init__(self, handle: Handle, size: int, held: list[bytes], closed: Callable[[], None]) -> None:
        self.size = size
        self._handle = handle
        self._held = held
        self._closed: Callable[[], None] | None = closed

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`."""
        end = self.size if end is None else min(end, self.size)
        while start < end:
            number, skipped = divmod(start, PIECE_BYTES)
            stop = min(end, (number + 1) * PIECE_BYTES)
            if self._held:
                yield self._held[number][skipped : skipped + stop - start]
            else:
                try:
                    piece = await asyncio.to_thread(self._handle.read, start, stop - start)
                except OSError as error:
                    raise StoreFailed(f"{type(error).__name__}: {error}", unknown=False) from error
                yield piece
            start = stop

    def close(self) -> None:
        """Let go of it."""
        closed, self._closed = self._closed, None
        if closed is not None:
            self._held = []
            self._handle.close()
            closed()


async def opened(blobs: Blobs, digest: str, size: int, memory: Allotment) -> FileBody:
    """
    The body of this digest.

    Args:
        blobs: where it lies.
        digest: of it.
        size: of it.
        memory: in which its pieces are held, if there is enough.

    Raises:
        DamagedError: it is not there, or not what its name says.
        OSError: it cannot be opened now.
    """
    held = memory.take(size)
    try:
        handle, pieces = await asyncio.to_thread(blobs.opened, digest, size, hold=held > 0)
    except BaseException:
        memory.give_back(held)
        raise
    return FileBody(handle, size, pieces, lambda: memory.give_back(held))
