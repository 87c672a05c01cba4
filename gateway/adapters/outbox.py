"""
What waits for the store, in files beside it.

One file for each worker, held by a lock (flock) as long as its process lives. Its room is taken when the process starts,
so that a disk that is full later does not keep anything from being written; it grows if it can. Whoever finds a file
that nobody holds has found what a dead worker left, and takes it over.

    0      two headers, 2048 bytes apart: magic, count of headers written, generation, where the entries begin, CRC-32
    4096   entries, one behind the other: length, CRC-32, JSON; the rest is zeros, or what lay there before

A header is written into the place of the older one. A new generation begins at the front again once everything has
landed; the CRC of an entry begins with its generation, so that what lay there before is not taken for new. An entry
that was not written to its end is not read, nor what lies behind it: nobody was told that it lasts.

Not here: what the entries mean (core/kept.py), and when they land (flow/keep.py).
"""

import asyncio
import errno
import logging
import os
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from gateway.core.kept import Entry, dumps, loads
from gateway.ports import Pile, StoreFailed

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
ROOM_BYTES: Final = 4 << 20
"""Taken at once, and more by as much."""
SUFFIX: Final = ".wal"

_MAGIC: Final = b"IGOUTBX1"
_HEADER: Final = struct.Struct("<8sQIQ")
_CRC: Final = struct.Struct("<I")
_HEADERS_AT: Final = (0, 2048)
_FRAME: Final = struct.Struct("<II")
_ENTRIES_AT: Final = 4096
_NAMES: Final = 8
"""Tried for a file before giving up."""
_log = logging.getLogger("imagegate.outbox")


@dataclass(slots=True)
class _Item:
    """An entry that somebody waits for."""

    entry: Entry
    error: Exception | None = None


@dataclass(slots=True)
class _File:
    """A file that this process holds."""

    path: Path
    fd: int
    written: int = 0
    """Headers so far."""
    generation: int = 0
    start: int = _ENTRIES_AT
    """Where the first entry that has not landed begins."""
    end: int = _ENTRIES_AT
    entries: list[tuple[Entry | None, int]] = field(default_factory=list)
    """Those that have not landed: the entry, None where it cannot be understood; and where it ends."""

    def read(self) -> None:
        """What it holds."""
        for at in _HEADERS_AT:
            self._read_header(os.pread(self.fd, _HEADER.size + _CRC.size, at))
        if not self.written:
            return
        self.end = self.start
        while frame := self._frame(self.end):
            self.end += _FRAME.size + len(frame)
            self.entries.append((_understood(frame, self.path), self.end))

    def append(self, entries: list[Entry]) -> None:
        """Write entries behind the last one, and wait for the disk."""
        frames, ends = bytearray(), []
        for entry in entries:
            payload = dumps(entry)
            frames += _FRAME.pack(len(payload), zlib.crc32(payload, self.generation)) + payload
            ends.append(self.end + len(frames))
        # Behind the last one lies a zero, so that nothing of an earlier attempt is read on.
        frames += bytes(_FRAME.size)
        self._make_room(self.end + len(frames))
        _write(self.fd, bytes(frames), self.end)
        os.fsync(self.fd)
        self.end = ends[-1]
        self.entries += zip(entries, ends, strict=True)

    def forget(self, count: int) -> None:
        """The first ones have landed."""
        if count < len(self.entries):
            self._write_header(self.generation, self.entries[count - 1][1])
        else:
            self._write_header(self.generation + 1 & 0xFFFFFFFF, _ENTRIES_AT)
            self.end = _ENTRIES_AT
        del self.entries[:count]

    def begin(self) -> None:
        """A new file: take its room."""
        self._make_room(ROOM_BYTES)
        self._write_header(1, _ENTRIES_AT)
        os.fsync(self.fd)

    def close(self) -> None:
        """Let go of it, and remove it if nothing waits in it."""
        if not self.entries:
            self.path.unlink(missing_ok=True)
        os.close(self.fd)

    def _frame(self, at: int) -> bytes:
        """The entry that begins here; empty: there is none."""
        head = os.pread(self.fd, _FRAME.size, at)
        if len(head) < _FRAME.size:
            return b""
        length, crc = _FRAME.unpack(head)
        if at + _FRAME.size + length > os.fstat(self.fd).st_size:
            return b""
        payload = os.pread(self.fd, length, at + _FRAME.size)
        good = len(payload) == length and zlib.crc32(payload, self.generation) == crc
        return payload if good else b""

    def _make_room(self, size: int) -> None:
        if size > os.fstat(self.fd).st_size:
            size = -(-size // ROOM_BYTES) * ROOM_BYTES
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self.fd, 0, size)
            else:  # macOS has none: what is written has its room
                at = os.fstat(self.fd).st_size
                _write(self.fd, bytes(size - at), at)

    def _read_header(self, raw: bytes) -> None:
        head, crc = raw[: _HEADER.size], raw[_HEADER.size :]
        if len(crc) < _CRC.size or _CRC.pack(zlib.crc32(head)) != crc:
            return
        magic, written, generation, start = _HEADER.unpack(head)
        if magic == _MAGIC and written > self.written:
            self.written, self.generation, self.start = written, generation, start

    def _write_header(self, generation: int, start: int) -> None:
        head = _HEADER.pack(_MAGIC, self.written + 1, generation, start)
        _write(self.fd, head + _CRC.pack(zlib.crc32(head)), _HEADERS_AT[self.written % 2])
        # It reaches the disk with the next entries at the latest. Until then what has landed lands once more.
        self.written, self.generation, self.start = self.written + 1, generation, start


class FileOutbox:
    """
    The `Outbox` port over files in a folder.

    Args:
        folder: of all workers of this machine; made if it is not there.
        worker: this one's name, unlike any other's: letters, digits, `_`.
    """

    def __init__(self, folder: Path, worker: str) -> None:
        self._folder = folder
        self._worker = worker
        self._own: _File | None = None
        self._taken: dict[str, _File] = {}
        self._items: list[_Item] = []
        self._lock = threading.Lock()
        """Held by the thread that reads or writes files."""

    @classmethod
    def open(cls, folder: Path, worker: str) -> "FileOutbox":
        """An outbox that has taken its room, if it can: it tries again when something is to be kept."""
        made = cls(folder, worker)
        try:
            made._file()
        except OSError as error:
            _log.error(
                "the outbox %s cannot be made, a disk that is full may stop it later: %s", folder, error
            )
        return made

    async def keep(self, entry: Entry) -> None:
        """Write an entry down; those that come together wait for the disk together."""
        item = _Item(entry)
        self._items.append(item)
        # Whichever thread is first writes all that have come; the others find theirs written.
        await self._run(self._flush)
        if item.error is not None:
            raise StoreFailed(f"the outbox cannot be written to: {item.error}", unknown=False) from item.error

    async def waiting(self) -> tuple[Pile, ...]:
        """What has not landed yet."""
        return await self._run(self._look)

    async def landed(self, worker: str, count: int) -> None:
        """The first entries of a pile have landed."""
        try:
            await self._run(lambda: self._forget(worker, count))
        except OSError as error:
            raise StoreFailed(f"the outbox cannot be written to: {error}", unknown=False) from error

    async def aclose(self) -> None:
        """Let go of every file; those in which something waits stay."""
        await self._run(self._close)

    async def _run(self, act: Callable[[], T]) -> T:
        def locked() -> T:
            with self._lock:
                return act()

        return await asyncio.to_thread(locked)

    def _flush(self) -> None:
        items, self._items = self._items, []
        if not items:
            return
        try:
            self._file().append([item.entry for item in items])
        except Exception as error:  # noqa: BLE001 - whoever waits here must hear of it, not only who runs this
            for item in items:
                item.error = error

    def _look(self) -> tuple[Pile, ...]:
        self._take_over()
        files = {self._worker: self._own} | self._taken
        return tuple(
            Pile(worker, entries, worker == self._worker)
            for worker, file in files.items()
            if file is not None
            and (entries := tuple(entry for entry, _ in file.entries if entry is not None))
        )

    def _forget(self, worker: str, count: int) -> None:
        file = self._own if worker == self._worker else self._taken.get(worker)
        if file is None or not count:
            return
        readable = [number for number, (entry, _) in enumerate(file.entries, 1) if entry is not None]
        everything = count == len(readable)
        file.forget(len(file.entries) if everything else readable[count - 1])
        if everything and worker != self._worker:
            file.close()
            del self._taken[worker]

    def _close(self) -> None:
        for file in (self._own, *self._taken.values()):
            if file is not None:
                file.close()
        self._own = None
        self._taken.clear()

    def _file(self) -> _File:
        """This worker's."""
        if self._own is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._made()
            if not file.written:
                try:
                    file.begin()
                except OSError:
                    file.close()
                    raise
            self._own = file
        return self._own

    def _made(self) -> _File:
        # Somebody may hold the file just now to see whether it was left behind, or have it for that very reason.
        for number in range(_NAMES):
            path = self._folder / f"{self._worker}{f'-{number}' if number else ''}{SUFFIX}"
            file = _held(path, os.O_RDWR | os.O_CREAT)
            if file is not None:
                return file
        raise BlockingIOError(errno.EWOULDBLOCK, f"others hold the files of {self._worker}")

    def _take_over(self) -> None:
        try:
            paths = sorted(self._folder.glob(f"*{SUFFIX}"))
        except OSError:
            return
        for path in paths:
            if path.stem in self._taken:
                continue
            try:
                file = _held(path, os.O_RDWR)
            except OSError as error:
                _log.warning("%s cannot be taken over: %s", path, error)
                continue
            if file is None:
                continue
            if file.entries:
                self._taken[path.stem] = file
            else:
                file.close()


def _held(path: Path, flags: int) -> _File | None:
    """
    The file, held by this process and read; None: another one holds it, or has just removed it.

    Raises:
        OSError: it cannot be opened, or read.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, "files cannot be held on Windows: what waits stays in memory")
    fd = os.open(path, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            file = _File(path, fd)
            file.read()
            return file
    except BlockingIOError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _understood(payload: bytes, path: Path) -> Entry | None:
    try:
        return loads(payload)
    except ValueError as error:
        # Whole, but of another version, say. It is let go of with those around it: what it was is in the log.
        _log.error("an entry of %s is left out: %s: %s", path, error, payload.decode("utf-8", "replace"))
        return None


def _write(fd: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(fd, data, at)
        data, at = data[written:], at + written
