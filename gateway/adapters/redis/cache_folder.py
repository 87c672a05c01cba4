"""
Bodies that lie in a folder of this machine, behind an index that lies in a Redis.

A body is named by its digest and the folder's mark, so equal ones are one file. It is laid in its place first and then
noted in the index, and given up in the reverse order: what a process leaves that dies in between is a file that the index
does not name. Such files are removed when the cache is tidied, but for young ones: their entry may be on its way.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.adapters.blob_body import FileBody, opened
from gateway.adapters.blob_draft import FileDraft
from gateway.adapters.blobs import Blobs, DamagedError
from gateway.adapters.redis.cache_bodies import LostBodyError
from gateway.adapters.redis.cache_marks import marked, unmarked
from gateway.adapters.redis.cache_shelf import Complain, Keep
from gateway.core.allotment import Allotment
from gateway.core.entry import Entry
from gateway.flow.tasks import spawn
from gateway.ports import StoreFailed


class FolderShelf:
    """
    The `Shelf` over files.

    Args:
        folder: in which they lie, made when it is needed.
        now: reads the clock: epoch seconds.
        memory: in which bodies are held.
    """

    knows_what_is_gone = False
    """A file may lie there for a while after its last entry went."""

    def __init__(self, folder: Path, now: Callable[[], float], memory: Allotment) -> None:
        self._blobs = Blobs(folder)
        self._now = now
        self._memory = memory
        self._mark = ""
        """Of the folder; empty: not known yet."""

    async def mark(self) -> str:
        """That of the folder."""
        if not self._mark:
            with _told():
                self._mark = await asyncio.to_thread(self._blobs.mark)
        return self._mark

    async def draft(self, keep: Keep, complain: Complain) -> FileDraft | None:
        """A new body."""
        try:
            handle, path = await asyncio.to_thread(self._blobs.begin)
        except OSError as error:
            complain(error)
            return None
        return FileDraft(
            handle,
            path,
            keep=lambda entry, path: _to_its_end(self._lay(entry, path, keep, complain)),
            complain=complain,
        )

    async def opened(self, body: str, entry: Entry) -> FileBody:
        """The body of an entry."""
        try:
            with _told():
                return await opened(self._blobs, unmarked(body), entry.size, self._memory)
        except DamagedError as error:
            raise LostBodyError(str(error)) from error

    async def lives(self, body: str, life_ms: int) -> bool:  # noqa: ARG002 - a file has no end of its own
        """Whether it is there, for as long as the index names it."""
        return await self.is_there(body)

    async def is_there(self, body: str) -> bool:
        """Whether it has a file."""
        with _told():
            return await asyncio.to_thread(self._blobs.has, unmarked(body))

    async def give_up(self, body: str) -> None:
        """Remove its file, unless somebody may just be keeping it again."""
        with suppress(OSError):  # It is swept later.
            await asyncio.to_thread(self._blobs.remove_old, unmarked(body), self._now())

    async def sweep(self, unnamed: Callable[[Sequence[str]], Awaitable[Sequence[str]]]) -> None:
        """Remove files that the index does not name, and what dead writers left."""
        with _told():
            # A folder that was emptied while it was in use may have been given another mark by another process.
            self._mark = mark = await asyncio.to_thread(self._blobs.mark, self._mark)
            await asyncio.to_thread(self._blobs.sweep)
            old = await asyncio.to_thread(self._blobs.old, self._now())
            for body in await unnamed([marked(digest, mark) for digest in old]):
                await asyncio.to_thread(self._blobs.remove_old, unmarked(body), self._now())

    async def _lay(self, entry: Entry, path: Path, keep: Keep, complain: Complain) -> bool:
        try:
            mark = await self.mark()
            await asyncio.to_thread(self._blobs.lay, path, entry.digest, self._now())
        except (OSError, StoreFailed) as error:
            complain(error)
            return False
        return await keep(entry, marked(entry.digest, mark)) is not None


async def _to_its_end(work: Coroutine[object, object, bool]) -> bool:
    """What it comes to. Who is cancelled meanwhile learns of it afterwards: index and records agree by then."""
    task = spawn("keep an answer", work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
    return bool(task.result())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(f"{type(error).__name__}: {error}", unknown=False) from error
