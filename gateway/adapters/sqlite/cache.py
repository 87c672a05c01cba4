"""
The `Cache` port over SQLite and files: an index that says what there is (cache_schema.py), bodies beside it (blobs.py).

Decided here: what is held in memory, when a touch is written down, and that a failure is a miss or an answer that is
not kept, told in the log once a minute.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import apsw

from gateway.adapters.blob_body import FileBody, opened
from gateway.adapters.blob_draft import FileDraft
from gateway.adapters.blobs import PREFIXES, Blobs, DamagedError
from gateway.adapters.sqlite import cache_acts as acts
from gateway.adapters.sqlite.cache_file import CacheFile
from gateway.adapters.sqlite.connection import guard
from gateway.adapters.sqlite.writer import Writer
from gateway.core.allotment import Allotment
from gateway.core.cachekey import CacheKey
from gateway.core.entry import CacheFilter, CacheStats, Entry
from gateway.core.ledger import micros
from gateway.ports import StoreFailed, UnfitError

T = TypeVar("T")
HELD_BYTES: Final = 4 << 20
"""A body up to here is held while it is given: it was read once to be held against its digest."""
HELD_TOGETHER_BYTES: Final = 32 << 20
"""Of all bodies that are given at the same time; beyond that they are read a second time, piece by piece."""
TOUCHES: Final = 64
"""Written down when there are so many,"""
TOUCHED_S: Final = 10.0
"""or when the first of them is so old."""
COMPLAINT_S: Final = 60.0
"""Seconds between two lines about the same kind of failure."""
_log = logging.getLogger("imagegate.cache")
_FAILURES: Final = (StoreFailed, UnfitError, apsw.Error, OSError)


class SqliteCache:
    """
    The cache of one machine, which all of its workers share.

    Args:
        folder: where it lies. See `at`, which makes it.
        now: reads the clock: epoch seconds.
        max_bytes: of all entries, as `CacheStats.bytes` counts them.
        stale_if_error_s: seconds past its life in which an entry is of use.
        vfs: as in `connection.writing`.
    """

    def __init__(
        self,
        folder: Path,
        now: Callable[[], float],
        *,
        max_bytes: int,
        stale_if_error_s: float = 0.0,
        vfs: str | None = None,
    ) -> None:
        self._now = now
        self._max_bytes = max_bytes
        self._stale_if_error_s = stale_if_error_s
        self._blobs = Blobs(folder)
        self._file = CacheFile(folder, self._blobs, vfs)
        self._writer = Writer(self._file.writing, self._file.is_there)
        self._touches: dict[tuple[str, str], int] = {}
        self._touched_since = 0.0
        """When the first of them was."""
        self._memory = Allotment(HELD_BYTES, HELD_TOGETHER_BYTES)
        self._told: dict[str, float] = {}

    @classmethod
    def at(
        cls,
        folder: Path,
        now: Callable[[], float],
        *,
        max_bytes: int,
        stale_if_error_s: float = 0.0,
        vfs: str | None = None,
    ) -> Self:
        """
        The cache in this folder, made if it is not there. Several processes may do so at once.

        A folder that cannot be written to yet is told in the log: it is tried again whenever something is to be kept.

        Raises:
            UnfitError: it never can be used there; the message says why and what to do.
        """
        guard(folder)
        made = cls(folder, now, max_bytes=max_bytes, stale_if_error_s=stale_if_error_s, vfs=vfs)
        try:
            made._file.prepare()
        except (apsw.Error, OSError) as error:
            made._complain("cannot be opened", error)
        return made

    async def find(self, key: CacheKey) -> tuple[Entry, ...]:
        """The entries of a key."""
        try:
            return await asyncio.to_thread(self._file.read, lambda db: acts.find(db, key))
        except _FAILURES as error:
            self._complain("cannot be read", error)
            return ()

    async def open(self, entry: Entry) -> FileBody | None:
        """The body of an entry."""
        try:
            return await opened(self._blobs, entry.digest, entry.size, self._memory)
        except DamagedError as error:
            self._complain("lost a body", error)
            await self._forget(entry.digest, error.inode)
        except OSError as error:
            self._complain("cannot be read", error)
        return None

    async def draft(self) -> FileDraft | None:
        """A new body."""
        try:
            handle, path = await asyncio.to_thread(self._blobs.begin)
        except OSError as error:
            self._complain("cannot be written to", error)
            return None
        return FileDraft(
            handle,
            path,
            keep=self._keep,
            complain=lambda error: self._complain("cannot be written to", error),
        )

    async def touch(self, entry: Entry) -> None:
        """Note that an entry was of use."""
        now = self._now()
        if not self._touches:
            self._touched_since = now
        self._touches[entry.key, entry.form.name] = micros(now)
        if len(self._touches) >= TOUCHES or now - self._touched_since >= TOUCHED_S:
            await self._write_touches()

    async def purge(self, which: CacheFilter) -> int:
        """Forget entries."""
        try:
            until = await self._run(acts.last)
            purged = 0
            while some := await self._run(lambda db: acts.purge(db, which, until)):
                purged += some
            await self._remove_unused()
        except _FAILURES as error:
            raise _failed(error) from error
        return purged

    async def stats(self, *, by_team: bool = True) -> CacheStats:
        """How full it is, and of whom."""
        try:
            return await asyncio.to_thread(
                self._file.read, lambda db: acts.stats(db, self._max_bytes, by_team=by_team)
            )
        except _FAILURES as error:
            raise _failed(error) from error

    async def ping(self) -> None:
        """Returns if the index can be read."""
        try:
            await asyncio.to_thread(self._file.read, acts.look)
        except _FAILURES as error:
            raise _failed(error) from error

    async def tidy(self, now: float) -> None:
        """Forget what is of no use, and remove what nobody refers to."""
        try:
            if self._file.is_damaged:
                await asyncio.to_thread(self._file.prepare)
            await self._write_touches()
            while await self._run(lambda db: acts.expire(db, micros(now))):
                pass
            await self._run(lambda db: acts.evict(db, self._max_bytes))
            await self._remove_unused()
            await asyncio.to_thread(self._blobs.sweep)
            for prefix in PREFIXES:
                await self._reconcile(prefix)
        except _FAILURES as error:
            self._complain("cannot be tidied", error)

    async def aclose(self) -> None:
        """Write down what waits, and close the index."""
        await self._write_touches()
        await asyncio.to_thread(self._file.close)
        await self._writer.aclose()

    async def _keep(self, entry: Entry, path: Path) -> bool:
        if entry.size > self._max_bytes:
            return False
        touches, self._touches = self._touches, {}
        used_us = micros(self._now())

        def act(db: apsw.Connection) -> None:
            acts.touch(db, touches)
            acts.keep(
                db,
                entry,
                lambda: self._blobs.place(path, entry.digest),
                used_us=used_us,
                stale_if_error_s=self._stale_if_error_s,
                max_bytes=self._max_bytes,
            )

        try:
            await self._run(act)
        except _FAILURES as error:
            self._complain("cannot be written to", error)
            return False
        try:
            await self._remove_unused()
        except _FAILURES as error:  # it is kept all the same; `tidy` removes what is left
            self._complain("cannot be written to", error)
        return True

    async def _forget(self, digest: str, inode: int | None) -> None:
        try:
            await self._run(lambda db: acts.forget_blob(db, self._blobs, digest, inode))
            await self._remove_unused()
        except _FAILURES as error:
            self._complain("cannot be written to", error)

    async def _write_touches(self) -> None:
        touches, self._touches = self._touches, {}
        if touches:
            try:
                await self._run(lambda db: acts.touch(db, touches))
            except _FAILURES as error:
                self._complain("cannot be written to", error)

    async def _remove_unused(self) -> None:
        while await self._run(lambda db: acts.remove_unused(db, self._blobs)):
            pass

    async def _reconcile(self, prefix: str) -> None:
        listed = await asyncio.to_thread(self._blobs.listed, prefix)
        known = await asyncio.to_thread(self._file.read, lambda db: acts.known(db, prefix))
        suspects = sorted(listed ^ known)
        for at in range(0, len(suspects), acts.FILES_AT_ONCE):
            # Looked at again under the lock: one may just have been committed.
            some = suspects[at : at + acts.FILES_AT_ONCE]
            await self._run(partial(acts.reconcile, blobs=self._blobs, digests=some))
        if suspects:
            await self._remove_unused()

    async def _run(self, act: Callable[[apsw.Connection], T]) -> T:
        def judged(db: apsw.Connection) -> T:
            try:
                return act(db)
            except apsw.Error as error:
                self._file.judge(error)
                raise

        return await self._writer.run(judged)

    def _complain(self, what: str, error: Exception) -> None:
        now = self._now()
        if now - self._told.get(what, -COMPLAINT_S) >= COMPLAINT_S:
            self._told[what] = now
            _log.warning("the cache %s: %s: %s", what, type(error).__name__, error)


def _failed(error: Exception) -> StoreFailed:
    if isinstance(error, StoreFailed):
        return error
    return StoreFailed(f"{type(error).__name__}: {error}", unknown=False)
