"""
The bodies of the cache: files that are named by the SHA-256 of what is in them.

    blobs/aa/aa…   a body
    blobs/tmp/     bodies that are not complete, each held by a lock (flock) as long as its writer lives
    blobs/mark     what tells the folder from those of other machines, where their gateways share an index

A body is written beside and put in its place by a rename, which replaces whatever lay there: the same content, or one
that was damaged. Nothing waits for the disk (fsync). What `kill -9` leaves is whole, as the system has it; what a loss
of power leaves need not be, and is found out by its digest, which every body is held against before it is given.

An index that lies on another machine gives no lock under which a file is safe from being removed between its placing
and the writing of its entry. Under such a one bodies are laid rather than placed: a file then says since when it lies,
and is spared while it is young.

Not here: which bodies are wanted. Their index says so.
"""

import errno
import hashlib
import os
import re
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from gateway.adapters.room import leave_room

if sys.platform != "win32":
    import fcntl

PIECE_BYTES: Final = 256 * 1024
"""Read and handed out at once."""
YOUNG_S: Final = 60.0
"""For so long after it was laid a body may have an entry that is not written down yet."""
PREFIXES: Final = tuple(f"{number:02x}" for number in range(256))

_FOLDER: Final = "blobs"
_UNFINISHED: Final = "tmp"
_MARK: Final = "mark"
_A_MARK: Final = re.compile(r"[0-9a-f]{16}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Handle:
    """
    An open file that is closed once nobody is at it: its number would soon be another file's.

    For any thread. One that nobody closed is closed when it is forgotten: whoever was cancelled while a thread opened it
    never had it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._users = 0
        self._closed = False
        self._lock = threading.Lock()

    def stat(self) -> os.stat_result:
        """
        What the system says of it.

        Raises:
            OSError: it is closed, or the disk fails.
        """
        with self._used() as fd:
            return os.fstat(fd)

    def read(self, start: int, size: int) -> bytes:
        """
        So many bytes.

        Raises:
            OSError: it has fewer of them, is closed, or the disk fails.
        """
        with self._used() as fd:
            parts = []
            while size:
                part = os.pread(fd, size, start)
                if not part:
                    raise OSError(errno.ENODATA, "the file is shorter than it was")
                parts.append(part)
                start += len(part)
                size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, data: bytes, at: int) -> None:
        """
        All of it.

        Raises:
            OSError: it is closed, or the disk fails or has no room.
        """
        with self._used() as fd:
            leave_room(fd)
            rest = memoryview(data)
            while rest:
                written = os.pwrite(fd, rest, at)
                rest, at = rest[written:], at + written

    def close(self) -> None:
        """More than once."""
        with self._lock:
            was_closed, self._closed = self._closed, True
            closes = not was_closed and not self._users
        if closes:
            os.close(self._fd)

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def _used(self) -> Iterator[int]:
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, "the file is closed")
            self._users += 1
        try:
            yield self._fd
        finally:
            if self._is_left():
                os.close(self._fd)

    def _is_left(self) -> bool:
        """One user less; whether it was the last one of a file that was closed meanwhile."""
        with self._lock:
            self._users -= 1
            return self._closed and not self._users


class DamagedError(Exception):
    """A body that is not what its name says, or not there; `inode` is of its file, None where there is none."""

    def __init__(self, reason: str, inode: int | None) -> None:
        super().__init__(reason)
        self.inode = inode


class Blobs:
    """
    The files.

    Args:
        folder: in which they lie, in one of their own; made by `make`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER
        self._unfinished = self._folder / _UNFINISHED

    def make(self) -> None:
        """
        Make what is not there, for its owner alone.

        Raises:
            OSError: it cannot be made.
        """
        for folder in (self._folder.parent, self._folder, self._unfinished):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """
        Run a block that no other process is in at the same time.

        Raises:
            OSError: the folder is not there.
        """
        if sys.platform == "win32":
            yield
            return
        fd = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def begin(self) -> tuple[Handle, Path]:
        """
        A new file for a body to be written to, held by its lock.

        Raises:
            OSError: it cannot be made, or there is no room for one.
        """
        if sys.platform == "win32":
            raise OSError(errno.ENOTSUP, "files cannot be held on Windows: nothing is kept")
        self.make()
        while True:
            path = self._unfinished / uuid.uuid4().hex
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                leave_room(fd)
                # Whoever sweeps may have been faster than the lock.
                fcntl.flock(fd, fcntl.LOCK_EX)
                is_there = os.fstat(fd).st_nlink > 0
            except BaseException:
                path.unlink(missing_ok=True)
                os.close(fd)
                raise
            if is_there:
                return Handle(fd), path
            os.close(fd)

    def place(self, unfinished: Path, digest: str) -> None:
        """
        Put a body in its place; done once, it is done.

        Raises:
            OSError: it cannot be put there.
        """
        place = self._path(digest)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            unfinished.replace(place)
        except FileNotFoundError:
            if not place.exists():
                raise

    def lay(self, unfinished: Path, digest: str, now: float) -> None:
        """
        Put a body in its place, where `remove_old` spares it for a while. Raises as `place`.

        Args:
            unfinished: its file.
            digest: of it.
            now: epoch seconds.
        """
        with self.alone():
            os.utime(unfinished, (now, now))
            self.place(unfinished, digest)

    def mark(self, wanted: str = "") -> str:
        """
        What tells this folder from others: chosen by whoever asks first.

        Args:
            wanted: if there is none.

        Raises:
            OSError: it cannot be read or written.
        """
        self.make()
        path = self._folder / _MARK
        with self.alone():
            with suppress(FileNotFoundError):
                if _A_MARK.fullmatch(found := path.read_text("ascii", "replace")):
                    return found
            mark = wanted or uuid.uuid4().hex[:16]
            beside = self._folder / f"{_MARK}.new"
            beside.write_text(mark, "ascii")
            beside.replace(path)
        return mark

    def has(self, digest: str) -> bool:
        """
        Whether there is a file.

        Raises:
            OSError: that cannot be told.
        """
        with suppress(FileNotFoundError):
            self._path(digest).stat()
            return True
        return False

    def inode(self, digest: str) -> int | None:
        """Of its file; None: there is none."""
        try:
            return self._path(digest).stat().st_ino
        except OSError:
            return None

    def remove(self, digest: str) -> bool:
        """Whether it is gone now. Whoever has it open keeps it."""
        with suppress(OSError):
            self._path(digest).unlink(missing_ok=True)
            return True
        return False

    def remove_old(self, digest: str, now: float) -> None:
        """
        Remove a body, unless it is young.

        Raises:
            OSError: it cannot be removed.
        """
        with self.alone():
            if not self._is_young(digest, now):
                self._path(digest).unlink(missing_ok=True)

    def opened(self, digest: str, size: int, *, hold: bool) -> tuple[Handle, list[bytes]]:
        """
        A body that is what its name says, read through, and its pieces where they are to be held.

        Raises:
            DamagedError: it is not, or not there.
            OSError: it cannot be opened now.
        """
        if not _DIGEST.fullmatch(digest):
            raise DamagedError("its index row has no digest", None)
        try:
            handle = Handle(os.open(self._path(digest), os.O_RDONLY))
        except FileNotFoundError:
            raise DamagedError("its file is gone", None) from None
        inode = None
        try:
            found = handle.stat()
            inode = found.st_ino
            pieces = _verified(handle, found.st_size, digest, size, hold=hold)
        except (OSError, ValueError) as error:
            handle.close()
            raise DamagedError(str(error), inode) from error
        return handle, pieces

    def listed(self, prefix: str) -> set[str]:
        """The digests that begin like this and have a file."""
        try:
            names = [path.name for path in (self._folder / prefix).iterdir()]
        except OSError:
            return set()
        return {name for name in names if _DIGEST.fullmatch(name) and name.startswith(prefix)}

    def old(self, now: float) -> list[str]:
        """The digests of all bodies that are not young."""
        return [
            digest
            for prefix in PREFIXES
            for digest in sorted(self.listed(prefix))
            if not self._is_young(digest, now)
        ]

    def sweep(self) -> None:
        """Remove the unfinished bodies whose writers are dead."""
        if sys.platform == "win32":
            return
        with suppress(OSError):
            for path in list(self._unfinished.iterdir()):
                with suppress(OSError):
                    _remove_if_left(path)

    def _is_young(self, digest: str, now: float) -> bool:
        # Of one that lies in the future a clock was set back since: it is as old as it is far off.
        with suppress(FileNotFoundError):
            return abs(now - self._path(digest).stat().st_mtime) < YOUNG_S
        return False

    def _path(self, digest: str) -> Path:
        # What an index says that was tampered with must not lead elsewhere.
        if not _DIGEST.fullmatch(digest):
            raise OSError(errno.EINVAL, f"{digest[:80]!r} is no digest")
        return self._folder / digest[:2] / digest


def _verified(handle: Handle, found: int, digest: str, size: int, *, hold: bool) -> list[bytes]:
    if found != size:
        raise ValueError(f"its file has {found} bytes instead of {size}")
    hashed = hashlib.sha256()
    pieces = []
    for at in range(0, size, PIECE_BYTES):
        piece = handle.read(at, min(PIECE_BYTES, size - at))
        hashed.update(piece)
        if hold:
            pieces.append(piece)
    if hashed.hexdigest() != digest:
        raise ValueError("its bytes are not those that were kept")
    return pieces


def _remove_if_left(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have got its place since its name was read: then its name is gone, and this removes nothing.
        path.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    finally:
        os.close(fd)
