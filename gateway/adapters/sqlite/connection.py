"""
Opening the file: how it is written, how long it waits for others, and where it refuses to work.

Several processes of one machine share the file by SQLite's locks. That rests on a local filesystem, and on a SQLite
without the bug that corrupts a WAL file when two connections reset it at once (3.7.0 to 3.51.2,
https://sqlite.org/wal.html#walresetbug).

Not here: what lies in the file (schema.py).
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import apsw

from gateway.ports import UnfitError

FILE: Final = "ledger.db"
OLDEST_SQLITE: Final = (3, 51, 3)
BUSY_WAIT_MS: Final = 5000
"""How long a connection waits for the lock of another one before it gives up."""
_JOURNAL_BYTES: Final = 64 << 20
"""The WAL file is cut back to this when it is reset."""
_SHARED_FILESYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs"})
_MOUNTS: Final = Path("/proc/mounts")


def writing(file: Path, vfs: str | None = None) -> apsw.Connection:
    """
    A connection that writes, and lasts: what it has committed survives the loss of power (`synchronous=FULL`).

    Args:
        file: made if it is not there, but not its folder.
        vfs: SQLite's name of another way to the disk; tests break it.

    Raises:
        apsw.Error: it cannot be opened.
    """
    # Who spent what is for the owner's eyes; SQLite gives its other files the permissions of this one.
    with suppress(OSError):  # SQLite says below what is wrong with the place.
        file.touch(mode=0o600)
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = apsw.Connection(str(file), flags=flags, vfs=vfs)
    connection.set_busy_handler(_patience)
    _into_wal(connection)
    connection.pragma("synchronous", "FULL")
    connection.pragma("foreign_keys", value=True)
    connection.pragma("journal_size_limit", _JOURNAL_BYTES)
    # The writer moves the WAL into the file when nobody waits for it (writer.py).
    connection.wal_autocheckpoint(0)
    return connection


def reading(file: Path, vfs: str | None = None) -> apsw.Connection:
    """
    A connection that cannot write.

    Raises:
        apsw.Error: it cannot be opened; CantOpenError where there is no file.
    """
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    connection.set_busy_handler(_patience)
    return connection


def guard(folder: Path, mounts: Path = _MOUNTS, version: str | None = None) -> None:
    """
    Refuse to work where the file would not be safe.

    Args:
        folder: where the file lies or will lie.
        mounts: the table of mounted filesystems; where there is none, none is refused.
        version: SQLite's; None for the one in use.

    Raises:
        UnfitError: the SQLite is too old, or the folder lies on a filesystem that is shared over a network.
    """
    found = version or apsw.sqlite_lib_version()
    if tuple(int(part) for part in found.split(".")) < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise UnfitError(
            f"SQLite {found} can corrupt a file that several connections write to; {oldest} is needed. "
            "Install apsw from its wheel, which brings one."
        )
    kind = _filesystem(folder.resolve(), mounts)
    if kind in _SHARED_FILESYSTEMS or kind.startswith("fuse.sshfs"):
        raise UnfitError(
            f"{folder} lies on a network filesystem ({kind}), whose locks SQLite cannot rely on. "
            "Name a folder on a local disk in store.url, or use redis:// to share a store between machines."
        )


def _patience(tries: int) -> bool:
    # SQLite's own back-off grows to 100 ms a step, in which others overtake again and again: of two processes that
    # wrote without pause one waited 266 ms for a single write with it, 12 ms at most with this (2 cores, local disk).
    if tries >= BUSY_WAIT_MS:
        return False
    time.sleep(0.001)
    return True


def _into_wal(connection: apsw.Connection) -> None:
    # The one change for which SQLite does not ask the busy handler: two processes may make the file at once.
    tries = 0
    while True:
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            if not _patience(tries):
                raise
            tries += 1
            continue
        if mode != "wal":
            raise UnfitError(f"SQLite cannot keep a write-ahead log beside {connection.filename}.")
        return


def _filesystem(folder: Path, mounts: Path) -> str:
    best, kind = -1, ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, place, found, *_ = [*line.split(), "", "", ""]
        place = place.replace("\\040", " ")
        # Later mounts hide earlier ones at the same place.
        if place.startswith("/") and folder.is_relative_to(place) and len(Path(place).parts) >= best:
            best, kind = len(Path(place).parts), found
    return kind
