"""
Opening the index of the cache, by as many processes as there are.

Nothing in it is worth a refusal: one that is damaged is put aside, and one of another version is emptied by a process
that starts. It does not wait for the disk (`synchronous=NORMAL`): a loss of power costs the last entries.
"""

import logging
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

import apsw

from gateway.adapters.blobs import Blobs
from gateway.adapters.sqlite import cache_schema
from gateway.adapters.sqlite.connection import reading, writing

T = TypeVar("T")
FILE: Final = "cache.db"
ASIDE: Final = "cache.db.damaged"
_CHECKED_BYTES: Final = 64 << 20
"""Up to this size the index is read through when it is looked at."""
_IDLE: Final = 4
"""Connections kept open while nobody reads."""
_log = logging.getLogger("imagegate.cache")


class CacheFile:
    """
    The file, and connections to it.

    Args:
        folder: where it lies.
        blobs: beside it; its lock is this file's as well.
        vfs: as in `connection.writing`.
    """

    def __init__(self, folder: Path, blobs: Blobs, vfs: str | None = None) -> None:
        self.is_damaged = False
        """What was read told so."""
        self._folder = folder
        self._file = folder / FILE
        self._blobs = blobs
        self._vfs = vfs
        self._written_inode = 0
        self._idle: list[tuple[apsw.Connection, int]] = []

    def prepare(self) -> None:
        """
        See that there is an index that can be used.

        Raises:
            OSError: the folder cannot be made.
            apsw.Error: it cannot be opened.
            UnfitError: it is another program's.
        """
        self._blobs.make()
        with self._blobs.alone():
            if _is_sound(self._file, self._vfs):
                self.is_damaged = False
                return
            _log.warning("%s is damaged: it is put aside as %s, and the cache is empty", self._file, ASIDE)
            self._file.replace(self._folder / ASIDE)
            for name in (f"{FILE}-wal", f"{FILE}-shm"):
                (self._folder / name).unlink(missing_ok=True)
            _made(self._file, self._vfs, anew=True).close()
            self.is_damaged = False

    def writing(self) -> apsw.Connection:
        """
        A connection that writes. An index that has gone is made again: it is a cache.

        Raises:
            OSError, apsw.Error, UnfitError: it cannot be used.
        """
        self._blobs.make()
        with self._blobs.alone():
            db = _made(self._file, self._vfs, anew=False)
            self._written_inode = self._file.stat().st_ino
        return db

    def is_there(self) -> bool:
        """Whether the file that is written to still lies in its place."""
        return self._inode() == self._written_inode

    def read(self, query: Callable[[apsw.Connection], T]) -> T:
        """
        What a query finds. For a thread.

        Raises:
            apsw.Error: it cannot be read.
            UnfitError: it is another version's.
        """
        db, inode = self._taken()
        try:
            answer = query(db)
        except BaseException as error:
            db.close(True)  # noqa: FBT003 - apsw's own: raise nothing
            self.judge(error)
            raise
        if len(self._idle) < _IDLE:
            self._idle.append((db, inode))
        else:
            db.close()
        return answer

    def judge(self, error: BaseException) -> None:
        """Note whether an error says that the file is damaged."""
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            self.is_damaged = True

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop()[0].close()

    def _taken(self) -> tuple[apsw.Connection, int]:
        inode = self._inode()
        with suppress(IndexError):
            while True:
                db, opened = self._idle.pop()
                if opened == inode:
                    return db, inode
                db.close()
        db = reading(self._file, self._vfs)
        try:
            cache_schema.check(db)
        except BaseException as error:
            db.close(True)  # noqa: FBT003 - apsw's own: raise nothing
            self.judge(error)
            raise
        return db, inode

    def _inode(self) -> int:
        try:
            return self._file.stat().st_ino
        except OSError:
            return 0


def _made(file: Path, vfs: str | None, *, anew: bool) -> apsw.Connection:
    db = writing(file, vfs)
    try:
        db.pragma("synchronous", "NORMAL")
        cache_schema.prepare(db, anew=anew)
    except BaseException:
        db.close(True)  # noqa: FBT003 - apsw's own: raise nothing
        raise
    return db


def _is_sound(file: Path, vfs: str | None) -> bool:
    try:
        with closing(_made(file, vfs, anew=True)) as db:
            pages, size = db.pragma("page_count"), db.pragma("page_size")
            if int(pages) * int(size) > _CHECKED_BYTES:
                return True
            return bool(db.execute("PRAGMA quick_check(1)").get == "ok")
    except (apsw.CorruptError, apsw.NotADBError):
        return False
