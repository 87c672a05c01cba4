from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from gateway.adapters.sqlite.connection import FILE, writing
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.adapters.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION
from gateway.core.ledger import Verdict
from gateway.core.record import Outcome, TokensFrom
from gateway.core.units import NanoUSD
from gateway.ports import UnfitError

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


RECORD = """
INSERT INTO record (id, at, method, outcome, tags, stream, cache, images, partial_images_delivered, input_text_tokens,
    input_image_tokens, cached_input_tokens, output_image_tokens, partial_image_tokens, output_text_tokens, tokens_from,
    cost_nusd, saved_nusd, reserved_nusd, lines, duration_ms, bytes_in, bytes_out, retry_count)
VALUES ('igr_0', 1800014400000000, 'POST', 'completed', '[["a","b"]]', 0, 'off', 1, 0, 11, 0, 0, 272, 0, 0, 'reported',
    8160000, 0, 20000000, '[{"model":"gpt-image-2","role":"image","cost_nusd":8160000}]', 1.5, 3, 4, 0);
"""
OPEN = """
INSERT INTO open_call (id, at, worker, dispatched, deadline, response_id, record) VALUES
    ('igr_1', 1800014400000000, 'dead', 1, NULL, NULL, '{"id":"igr_1","at":1800014400.0,"method":"POST",
        "outcome":"failed","route":"images.generations","model":"gpt-image-2","reserved_nusd":20000000,"duration_ms":1.0,
        "cost_nusd":0,"lines":[],"tokens_from":"none"}'),
    ('igr_2', 1800014401000000, 'dead', 1, 1800099999000000, 'resp_2', '{"id":"igr_2","at":1800014401.0,"method":"POST",
        "outcome":"failed","route":"responses.create","model":"gpt-5","reserved_nusd":30000000,"duration_ms":1.0,
        "cost_nusd":0,"lines":[],"tokens_from":"none","response_id":"resp_2"}');
INSERT INTO worker (id, host, pid, born, beat) VALUES ('dead', 'elsewhere', 1, 0, 1800014400000000);
"""
"""Two calls as version 1 noted them, one of them in the background, and their worker."""


async def test_a_file_of_version_1_is_brought_up_to_date_and_its_open_calls_are_settled(
    tmp_path: Path,
) -> None:
    prepared(tmp_path, f"{MIGRATIONS[0]} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;")
    prepared(tmp_path, RECORD + OPEN)
    ledger = SqliteLedger.open(tmp_path, lambda: 1_800_014_460.0)
    with closing(writing(tmp_path / FILE)) as db:
        assert db.pragma("user_version") == VERSION
    kept = await ledger.record("igr_0")
    assert kept is not None
    assert (kept.cost_nusd, kept.tags) == (8_160_000, (("a", "b"),))
    (adopted,) = await ledger.adopt()
    assert (adopted.record.id, adopted.call) == ("igr_2", None)
    (lost,) = await ledger.reap()
    assert (lost.id, lost.outcome, lost.tokens_from) == ("igr_1", Outcome.LOST, TokensFrom.ESTIMATED)
    assert lost.cost_nusd == 20_000_000 == sum(line.cost_nusd for line in lost.lines)
    assert (await ledger.settle(replace(adopted.record, cost_nusd=NanoUSD(7)))).verdict is Verdict.WRITTEN
    assert await ledger.open_calls() == ()
    await ledger.aclose()


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
        assert {name for (name,) in strict} == {
            "record",
            "open_call",
            "worker",
            "tally",
            "admission",
            "place",
            "hold",
            "scope_limits",
            "mark",
            "idempotency_key",
        }
