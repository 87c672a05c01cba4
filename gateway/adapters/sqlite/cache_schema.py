"""
What lies in cache.db, the index of the cache.

A row of `entry` for each kept answer, one of `blob` for each body: `refs` counts the entries that have it. Triggers
count, so that no statement can forget to; `total` is what they come to, bodies in blocks of 4096 bytes, as the disk
counts them. A blob without entries stays in its table until its file is gone: so a file that has to go is not forgotten
when the process dies.

There are no migrations: a cache of another version is emptied, and filled again.
"""

from typing import Final

import apsw

from gateway.ports import UnfitError

APPLICATION_ID: Final = 0x494D4743
"""`IMGC`, for file(1) and for us: a database of somebody else is left alone."""
VERSION: Final = 1

_SCRIPT: Final = """
CREATE TABLE entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    form TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    useful_until INTEGER NOT NULL,
    used INTEGER NOT NULL,
    key_id TEXT,
    team TEXT,
    model TEXT,
    tool_model TEXT,
    response_id TEXT,
    packed BLOB NOT NULL,
    UNIQUE (key, form)
) STRICT;
CREATE INDEX entry_digest ON entry (digest);
CREATE INDEX entry_used ON entry (used, id);
CREATE INDEX entry_useful ON entry (useful_until);
CREATE INDEX entry_team ON entry (team, size);
CREATE INDEX entry_response ON entry (response_id) WHERE response_id IS NOT NULL;
CREATE TABLE blob (
    digest TEXT PRIMARY KEY NOT NULL,
    size INTEGER NOT NULL,
    refs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX blob_unused ON blob (digest) WHERE refs = 0;
CREATE TABLE total (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    entries INTEGER NOT NULL,
    blobs INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO total VALUES (1, 0, 0, 0);
CREATE TRIGGER entry_comes AFTER INSERT ON entry BEGIN
    UPDATE total SET entries = entries + 1, bytes = bytes + length(new.packed);
    INSERT INTO blob VALUES (new.digest, new.size, 0) ON CONFLICT DO NOTHING;
    UPDATE blob SET refs = refs + 1 WHERE digest = new.digest;
END;
CREATE TRIGGER entry_goes AFTER DELETE ON entry BEGIN
    UPDATE total SET entries = entries - 1, bytes = bytes - length(old.packed);
    UPDATE blob SET refs = refs - 1 WHERE digest = old.digest;
END;
CREATE TRIGGER blob_comes AFTER UPDATE OF refs ON blob WHEN old.refs = 0 AND new.refs > 0 BEGIN
    UPDATE total SET blobs = blobs + 1,
        bytes = bytes + (new.size + 4095) / 4096 * 4096;
END;
CREATE TRIGGER blob_goes AFTER UPDATE OF refs ON blob WHEN old.refs > 0 AND new.refs = 0 BEGIN
    UPDATE total SET blobs = blobs - 1,
        bytes = bytes - (new.size + 4095) / 4096 * 4096;
END;
"""


def check(db: apsw.Connection) -> None:
    """
    See that the file is an index of this version.

    Raises:
        UnfitError: it is not.
    """
    if not _is_current(db):
        raise UnfitError(f"{db.filename} is not an index of version {VERSION}.")


def prepare(db: apsw.Connection, *, anew: bool) -> None:
    """
    Make an index of an empty file; one of this version stays as it is. All or nothing; others who try wait.

    Args:
        db: open for writing.
        anew: an index of another version is emptied. Only a process that starts may do so: one that runs would fight
            with its successor.

    Raises:
        UnfitError: the file is another program's, or of another version that has to stay.
    """
    if _is_current(db):
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        _make(db, anew=anew)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _make(db: apsw.Connection, *, anew: bool) -> None:
    if _is_current(db):
        return
    tables = [
        str(name)
        for (name,) in db.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
        )
    ]
    if tables and _made_by(db) != APPLICATION_ID:
        raise UnfitError(f"{db.filename} is a database of another program. Name another folder.")
    if tables and not anew:
        raise UnfitError(
            f"{db.filename} is of version {db.pragma('user_version')}, this process reads {VERSION}."
        )
    for name in tables:
        quoted = name.replace('"', '""')
        db.execute(f'DROP TABLE "{quoted}"')
    db.pragma("application_id", APPLICATION_ID)
    db.execute(_SCRIPT)
    db.pragma("user_version", VERSION)


def _is_current(db: apsw.Connection) -> bool:
    return bool(_made_by(db) == APPLICATION_ID and db.pragma("user_version") == VERSION)


def _made_by(db: apsw.Connection) -> object:
    return db.pragma("application_id")
