"""
The reads and writes of the cache's index, each within a transaction of its caller.

Files are placed and removed inside these transactions: the lock that SQLite gives one process at a time keeps a file
from being removed by one while another is about to refer to it. A file goes in two steps, its last entry first: so no
entry that comes back when a transaction fails has lost its file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import apsw

from gateway.adapters.blobs import Blobs
from gateway.core.entry import CacheFilter, CacheStats, Entry, Share, fit, packed, unpacked
from gateway.core.ledger import micros

AT_ONCE: Final = 500
"""Entries forgotten in one transaction."""
FILES_AT_ONCE: Final = 32
"""Removed in one transaction: others wait for its lock, and a large file takes a while to go."""
_FOREVER_US: Final = 1 << 62

_INSERT: Final = """
INSERT INTO entry
    (key, form, digest, size, useful_until, used, key_id, team, model, tool_model, response_id, packed)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

Touches = Mapping[tuple[str, str], int]
"""(key, form) -> epoch microseconds of its last use."""


def find(db: apsw.Connection, key: str) -> tuple[Entry, ...]:
    """The entries of a key that can be read, the one that was kept last first."""
    rows: list[tuple[Any, ...]] = db.execute(
        "SELECT packed FROM entry WHERE key = ? ORDER BY id DESC", (key,)
    ).fetchall()
    return tuple(entry for (data,) in rows if (entry := _understood(data)) is not None)


def keep(
    db: apsw.Connection,
    entry: Entry,
    place: Callable[[], None],
    *,
    used_us: int,
    stale_if_error_s: float,
    max_bytes: int,
) -> None:
    """
    Put an entry into the place of an older one, and what is too much then out.

    Args:
        db: in a transaction.
        entry: with its digest.
        place: puts its file in its place; repeatable.
        used_us: now, in epoch microseconds.
        stale_if_error_s: as `Life.useful_s` has it.
        max_bytes: of all entries.
    """
    place()
    one = entry.original
    until = entry.life.kept_at + entry.life.useful_s(stale_if_error_s)
    db.execute("DELETE FROM entry WHERE key = ? AND form = ?", (entry.key, entry.form.name))
    names = (fit(name) for name in (one.key, one.team, one.model, one.tool_model, one.response_id))
    db.execute(
        _INSERT,
        (
            entry.key,
            entry.form.name,
            entry.digest,
            entry.size,
            min(micros(until), _FOREVER_US),
            used_us,
            *names,
            packed(entry),
        ),
    )
    evict(db, max_bytes)


def evict(db: apsw.Connection, max_bytes: int) -> None:
    """Forget the entries that were not used for longest, as long as there is too much."""
    while _bytes(db) > max_bytes:
        db.execute("DELETE FROM entry WHERE id = (SELECT id FROM entry ORDER BY used, id LIMIT 1)")
        if not db.changes():
            return


def touch(db: apsw.Connection, touches: Touches) -> None:
    """Note when entries were of use last."""
    db.executemany(
        "UPDATE entry SET used = max(used, ?) WHERE key = ? AND form = ?",
        [(used_us, key, form) for (key, form), used_us in touches.items()],
    )


def expire(db: apsw.Connection, now_us: int) -> int:
    """Forget some of the entries that nobody may be given any more. Returns how many."""
    return _forget(db, "useful_until <= :now", {"now": now_us})


def last(db: apsw.Connection) -> int:
    """The number of the entry that was kept last."""
    return int(db.execute("SELECT coalesce(max(id), 0) FROM entry").get)


def purge(db: apsw.Connection, which: CacheFilter, until_id: int) -> int:
    """Forget some of these entries, up to this number. Returns how many."""
    parts = {
        "key_id = :key_id": which.key_id,
        "team = :team": which.team,
        ":model IN (model, tool_model)": which.model,
        "response_id = :response_id": which.response_id,
    }
    given = {part: fit(value) for part, value in parts.items() if value is not None}
    values = {part.partition(":")[2].partition(" ")[0]: value for part, value in given.items()}
    return _forget(db, " AND ".join(["id <= :until", *given]), {"until": until_id, **values})


def forget_blob(db: apsw.Connection, blobs: Blobs, digest: str, inode: int | None) -> None:
    """
    Forget the entries with a damaged body, unless a good one has taken its place since.

    Args:
        db: in a transaction.
        blobs: where it lies.
        digest: of the body.
        inode: of the file that was found damaged; None: there was none.
    """
    if blobs.inode(digest) == inode:
        db.execute("DELETE FROM entry WHERE digest = ?", (digest,))


def remove_unused(db: apsw.Connection, blobs: Blobs) -> int:
    """Remove some of the files that no entry has. Returns how many."""
    unused: list[tuple[Any, ...]] = db.execute(
        "SELECT digest FROM blob WHERE refs = 0 LIMIT ?", (FILES_AT_ONCE,)
    ).fetchall()
    gone = [(digest,) for (digest,) in unused if blobs.remove(digest)]
    db.executemany("DELETE FROM blob WHERE digest = ?", gone)
    return len(gone)


def known(db: apsw.Connection, prefix: str) -> set[str]:
    """The digests of the bodies that the index knows and that begin like this."""
    rows = db.execute("SELECT digest FROM blob WHERE digest >= ? AND digest < ?", (prefix, f"{prefix}g"))
    return {digest for (digest,) in rows}


def reconcile(db: apsw.Connection, blobs: Blobs, digests: Sequence[str]) -> None:
    """Forget entries whose file is not there, and remove files that the index does not know."""
    for digest in digests:
        if blobs.inode(digest) is None:
            db.execute("DELETE FROM entry WHERE digest = ?", (digest,))
        elif db.execute("SELECT 1 FROM blob WHERE digest = ?", (digest,)).fetchone() is None:
            blobs.remove(digest)


def look(db: apsw.Connection) -> None:
    """Read something."""
    db.execute("SELECT entries FROM total").fetchone()


def stats(db: apsw.Connection, max_bytes: int, *, by_team: bool) -> CacheStats:
    """How full it is, and of whom."""
    with db:  # one state of the index for both questions
        entries, blobs, size = db.execute("SELECT entries, blobs, bytes FROM total").fetchone() or (0, 0, 0)
        teams: list[tuple[Any, ...]] = []
        if by_team:
            teams = db.execute(
                "SELECT team, count(*), sum(size) FROM entry WHERE team IS NOT NULL GROUP BY team"
            ).fetchall()
    shares = {team: Share(count, taken) for team, count, taken in teams}
    return CacheStats(entries=entries, blobs=blobs, bytes=size, max_bytes=max_bytes, teams=shares)


def _understood(data: bytes) -> Entry | None:
    try:
        return unpacked(data)
    except ValueError:  # another version's: it goes when its time is over, or another takes its place
        return None


def _bytes(db: apsw.Connection) -> int:
    return int(db.execute("SELECT bytes FROM total").get)


def _forget(db: apsw.Connection, condition: str, values: Mapping[str, Any]) -> int:
    # Any: what SQLite takes.
    db.execute(
        f"DELETE FROM entry WHERE id IN (SELECT id FROM entry WHERE {condition} LIMIT {AT_ONCE:d})",  # noqa: S608 - our own conditions, no value
        values,
    )
    return db.changes()
