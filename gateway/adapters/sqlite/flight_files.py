"""
The files through which one process shares what it receives with others of the machine.

The leader appends, followers read what has come since. A file begins with a mark, so that an empty one says that it was
given up: that can be said on a full disk, too.

    8 bytes   mark
    then      frames: length (4 bytes, big-endian), kind (1 byte), content

The leader holds a lock (flock) on its file as long as it lives: a file that nobody holds was left by a dead one. Nothing
here waits for the disk: after a crash of the machine nobody follows.

Not here: who leads (flights.py).
"""

import errno
import os
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from gateway.adapters.room import leave_room
from gateway.core.flight import Landing, Lost
from gateway.core.headers import Header
from gateway.core.tidings import head_dumps, head_loads, landing_dumps, landing_loads
from gateway.ports import Began

if sys.platform != "win32":
    import fcntl

SUFFIX: Final = ".flight"
BLOCK_BYTES: Final = 256 * 1024
"""In one frame, and read at once."""

_UNHELD: Final = ".new"
_MARK: Final = b"IGFLGHT1"
_FRAME: Final = struct.Struct(">IB")
_HEAD, _PIECE, _END = range(3)

News: TypeAlias = Began | bytes | Landing


class LeadFile:
    """
    The leader's end. Every method may block, and works from any thread.

    Args:
        path: of the file, which is not there yet; its folder is.

    Raises:
        OSError: it cannot be made; nothing is left behind.
    """

    def __init__(self, path: Path) -> None:
        # Under another name until it is held: somebody who clears away may come in between.
        self.path = path.with_name(path.name + _UNHELD)
        self.size = 0
        """Bytes of the body."""
        self._lock = threading.Lock()
        self._fd: int | None = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            _hold(self._fd)
            self._append(_MARK)
            self.path = self.path.rename(path)
        except OSError:
            self.give_up()
            raise

    def began(self, status: int, headers: Sequence[Header]) -> None:
        """Write the head. Raises OSError."""
        self._append(_frame(_HEAD, head_dumps(status, headers)))

    def write(self, piece: bytes) -> None:
        """Write the next bytes. Raises OSError."""
        for at in range(0, len(piece), BLOCK_BYTES):
            self._append(_frame(_PIECE, piece[at : at + BLOCK_BYTES]))
        self.size += len(piece)

    def end(self, landing: Landing) -> None:
        """Write how it ended. Raises OSError."""
        self._append(_frame(_END, landing_dumps(landing)))

    def give_up(self) -> None:
        """Tell whoever follows that no more comes, and remove it."""
        try:
            with self._lock:
                if self._fd is not None:
                    os.ftruncate(self._fd, 0)
        finally:
            self.remove()

    def remove(self) -> None:
        """Remove it; whoever reads it reads on."""
        with self._lock:
            if self._fd is not None:
                self.path.unlink(missing_ok=True)
                os.close(self._fd)
                self._fd = None

    def _append(self, data: bytes) -> None:
        with self._lock:
            if self._fd is not None:
                leave_room(self._fd)
            while data and self._fd is not None:
                data = data[os.write(self._fd, data) :]


class FollowFile:
    """
    A follower's end. Every method may block, and works from any thread.

    Args:
        path: of the file.

    Raises:
        OSError: it is not there, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        """Bytes of the body that were read."""
        self._lock = threading.Lock()
        self._at = 0
        self._beginning = bytearray()
        self._fd: int | None = os.open(path, os.O_RDONLY)

    def read(self) -> tuple[News, ...]:
        """
        What has come since the last time, some of it if it is much; empty: nothing that is whole.

        `Lost`: it was given up, or closed.
        """
        with self._lock:
            if self._fd is None:
                return (Lost(),)
            try:
                while block := os.pread(self._fd, BLOCK_BYTES, self._at):
                    self._beginning += block if self._at else block[len(_MARK) :]
                    self._at += len(block)
                    if news := tuple(self._frames()):
                        return news
                is_given_up = os.fstat(self._fd).st_size < max(self._at, len(_MARK))
            except OSError:
                return (Lost(),)
            return (Lost(),) if is_given_up else ()

    def close(self) -> None:
        """Read no more; more than once."""
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None

    def _frames(self) -> Iterator[News]:
        at = 0
        while len(self._beginning) >= at + _FRAME.size:
            length, kind = _FRAME.unpack_from(self._beginning, at)
            end = at + _FRAME.size + length
            if len(self._beginning) < end:
                break
            content = bytes(self._beginning[at + _FRAME.size : end])
            at = end
            if kind == _PIECE:
                self.size += length
            yield _understood(kind, content)
        del self._beginning[:at]


def remove_left(folder: Path) -> None:
    """Remove the files that dead processes left. Raises OSError."""
    for path in folder.glob(f"*{SUFFIX}*"):
        try:
            fd = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            _hold(fd)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass  # Its leader lives.
        finally:
            os.close(fd)


def _hold(fd: int) -> None:
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, "files cannot be held on Windows: flights are not shared")
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _frame(kind: int, content: bytes) -> bytes:
    return _FRAME.pack(len(content), kind) + content


def _understood(kind: int, content: bytes) -> News:
    match kind:
        case 0:  # _HEAD
            return Began(*head_loads(content))
        case 1:  # _PIECE
            return content
        case _:
            return landing_loads(content)
