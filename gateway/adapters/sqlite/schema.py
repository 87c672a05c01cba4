"""
What lies in ledger.db, version by version.

A version that was released never changes: the next one is a migration more. Amounts are integer nano-dollars, instants
integer microseconds of the epoch, durations milliseconds; every table is STRICT, so that SQLite holds us to it.

What limits count and what calls hold lies beside the records in the same file: whoever reserves or settles does it in
one transaction.
"""

from typing import Final

import apsw

from gateway.adapters.sqlite import marks
from gateway.ports import UnfitError

APPLICATION_ID: Final = 0x494D4754
"""`IMGT`, for file(1) and for us: a database of somebody else is left alone."""

_FIRST: Final = """
CREATE TABLE record (
    id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    method TEXT NOT NULL,
    outcome TEXT NOT NULL,
    status INTEGER,
    code TEXT,
    org TEXT,
    team TEXT,
    key TEXT,
    tags TEXT NOT NULL,
    route TEXT,
    model TEXT,
    tool_model TEXT,
    stream INTEGER NOT NULL,
    cache TEXT NOT NULL,
    images INTEGER NOT NULL,
    size TEXT,
    quality TEXT,
    partial_images_requested INTEGER,
    partial_images_delivered INTEGER NOT NULL,
    input_text_tokens INTEGER NOT NULL,
    input_image_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_image_tokens INTEGER NOT NULL,
    partial_image_tokens INTEGER NOT NULL,
    output_text_tokens INTEGER NOT NULL,
    tokens_from TEXT NOT NULL,
    priced_as TEXT,
    cost_nusd INTEGER NOT NULL,
    saved_nusd INTEGER NOT NULL,
    reserved_nusd INTEGER NOT NULL,
    lines TEXT NOT NULL,
    upstream_request_id TEXT,
    upstream_status INTEGER,
    response_id TEXT,
    credential TEXT,
    duration_ms REAL NOT NULL,
    upstream_ms REAL,
    first_byte_ms REAL,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    retry_count INTEGER NOT NULL
) STRICT;
CREATE INDEX record_at ON record (at, id);
CREATE INDEX record_team ON record (team, at, id);
CREATE INDEX record_key ON record (key, at, id);
CREATE UNIQUE INDEX record_response ON record (response_id)
    WHERE response_id IS NOT NULL AND cache NOT IN ('hit', 'collapsed');
CREATE TABLE open_call (
    id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    worker TEXT NOT NULL,
    dispatched INTEGER NOT NULL,
    deadline INTEGER,
    response_id TEXT,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX open_call_worker ON open_call (worker);
CREATE INDEX open_call_response ON open_call (response_id) WHERE response_id IS NOT NULL;
CREATE TABLE worker (
    id TEXT PRIMARY KEY NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    born INTEGER NOT NULL,
    beat INTEGER NOT NULL
) STRICT;
"""

_SECOND: Final = """
ALTER TABLE open_call ADD COLUMN asked TEXT;
ALTER TABLE worker ADD COLUMN pardoned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE record ADD COLUMN charged_day INTEGER;
ALTER TABLE record ADD COLUMN charged_images INTEGER NOT NULL DEFAULT 0;
CREATE TABLE tally (
    scope TEXT NOT NULL,
    grain TEXT NOT NULL,
    start INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    images INTEGER NOT NULL,
    image_tokens INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost_nusd INTEGER NOT NULL,
    held_images INTEGER NOT NULL,
    held_image_tokens INTEGER NOT NULL,
    held_tokens INTEGER NOT NULL,
    held_cost_nusd INTEGER NOT NULL,
    PRIMARY KEY (scope, grain, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX tally_age ON tally (grain, start);
CREATE TABLE admission (
    id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    worker TEXT NOT NULL,
    rows TEXT NOT NULL
) STRICT;
CREATE TABLE place (
    scope TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE hold (
    id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    rows TEXT NOT NULL,
    images INTEGER NOT NULL,
    image_tokens INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    cost_nusd INTEGER NOT NULL,
    lost INTEGER NOT NULL
) STRICT;
CREATE TABLE scope_limits (
    scope TEXT PRIMARY KEY NOT NULL,
    limits TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE mark (
    name TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL
) STRICT;
"""

_THIRD: Final = """
CREATE TABLE idempotency_key (
    name TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    worker TEXT NOT NULL,
    call TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE INDEX idempotency_key_at ON idempotency_key (at);
"""

MIGRATIONS: Final = (_FIRST, _SECOND, _THIRD)
"""The script of each version; the first makes version 1 of an empty file."""
VERSION: Final = len(MIGRATIONS)


def migrate(connection: apsw.Connection) -> None:
    """
    Bring the file to the version of this program, all or nothing; others who try at the same time wait.

    Raises:
        UnfitError: the file is of a newer version, or of another program.
    """
    connection.execute("BEGIN IMMEDIATE")
    with _ending(connection):
        found = _version(connection)
        if found == 0:
            connection.pragma("application_id", APPLICATION_ID)
        for script in MIGRATIONS[found:]:
            connection.execute(script)
        connection.pragma("user_version", VERSION)


def check(connection: apsw.Connection) -> None:
    """
    See that the file can be read as it is.

    Raises:
        UnfitError: it is of another version, or of another program.
    """
    found = _version(connection)
    if found < VERSION:
        raise UnfitError(
            f"{connection.filename} is of version {found}, this program reads {VERSION}. "
            "Start the gateway once: it brings the file up to date."
        )
    see_that_it_is_whole(connection)


def see_that_it_is_whole(connection: apsw.Connection) -> None:
    """
    See that it was not left half filled. Of a file that is up to date.

    Raises:
        UnfitError: it was.
    """
    if marks.mark(connection, marks.INCOMPLETE):
        raise UnfitError(
            f"{connection.filename} is incomplete: a migration to it was not finished. Run imagegate migrate again, with "
            "--resume."
        )


class _ending:  # noqa: N801 - used as a word of the language
    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")


def _version(connection: apsw.Connection) -> int:
    owner, version = connection.pragma("application_id"), connection.pragma("user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
    if owner != APPLICATION_ID and (version or tables):
        raise UnfitError(f"{connection.filename} is a database of another program. Name another folder.")
    if not isinstance(version, int) or version > VERSION:
        raise UnfitError(
            f"{connection.filename} is of version {version}, this program knows up to {VERSION}: a newer imagegate "
            "wrote it. Install that version again, or name another folder in store.url."
        )
    return version
