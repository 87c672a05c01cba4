from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from gateway.adapters.sqlite.connection import FILE, UnfitError, writing
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.adapters.sqlite.schema import APPLICATION_ID, VERSION

OPENERS: list[Callable[[Path], object]] = [
    SqliteReader.open,
    lambda folder: SqliteLedger.open(folder, lambda: 0.0),
]


def prepared(folder: Path, script: str) -> None:
    with closing(writing(folder / FILE)) as db:
        db.execute(script)


@pytest.mark.parametrize("opener", OPENERS, ids=["reading", "writing"])
def test_a_newer_file_is_refused_with_words(tmp_path: Path, opener: Callable[[Path], object]) -> None:
    newer = VERSION + 1
    prepared(tmp_path, f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {newer}")
    with pytest.raises(
        UnfitError, match=f"is of version {newer}, this program knows up to {VERSION}: a newer"
    ):
        opener(tmp_path)


@pytest.mark.parametrize("opener", OPENERS, ids=["reading", "writing"])
def test_a_database_of_another_program_is_left_alone(
    tmp_path: Path, opener: Callable[[Path], object]
) -> None:
    prepared(tmp_path, "CREATE TABLE theirs (a)")
    with pytest.raises(UnfitError, match="is a database of another program"):
        opener(tmp_path)
    with closing(apsw.Connection(str(tmp_path / FILE))) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_file_that_is_not_up_to_date_is_not_read(tmp_path: Path) -> None:
    prepared(tmp_path, f"PRAGMA application_id = {APPLICATION_ID}")
    with pytest.raises(UnfitError, match="Start the gateway once"):
        SqliteReader.open(tmp_path)


def test_several_may_make_the_file_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: SqliteLedger.open(folder, lambda: 0.0), range(16)))
    SqliteReader.open(folder)
    assert (folder.stat().st_mode & 0o077) == 0


def test_the_file_is_kept_as_the_promise_needs_it(tmp_path: Path) -> None:
    SqliteLedger.open(tmp_path, lambda: 0.0)
    with closing(writing(tmp_path / FILE)) as db:
        full = 2
        assert (db.pragma("journal_mode"), db.pragma("synchronous")) == ("wal", full)
        strict = db.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict").fetchall()
        assert {name for (name,) in strict} == {"record", "open_call", "worker"}
