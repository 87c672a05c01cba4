"""What only this adapter can get wrong: processes that share the file, die in the middle, and disks that fail."""

import asyncio
import random
import signal
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from gateway.adapters.clock import SystemClock
from gateway.adapters.sqlite import acts, ledger
from gateway.adapters.sqlite.connection import FILE, writing
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.core.ledger import FIELDS, LedgerFilter, OpenCall, Verdict
from gateway.core.quota import Standing
from gateway.core.record import Outcome
from gateway.ports import LedgerReader, StoreFailed, UnfitError
from tests.conftest import SEED
from tests.support.ledger import Disk, failing_disk, record

now = SystemClock().now
ROOT = Path(__file__).parents[3]


@contextmanager
def process(folder: Path, name: str, calls: int) -> Iterator[subprocess.Popen[str]]:
    arguments = [sys.executable, "-m", "tests.support.ledger_writer", str(folder), name, str(calls)]
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def told(started: subprocess.Popen[str], most: int | None = None) -> list[tuple[str, str]]:
    """What it says, up to so many lines, or to its end. A line that it died in the middle of is not said."""
    assert started.stdout is not None
    found = []
    for line in started.stdout:
        if line.endswith("\n"):
            what, _, record_id = line.strip().partition(" ")
            found.append((what, record_id))
        if len(found) == most:
            break
    return found


async def ids(reader: LedgerReader) -> Counter[str]:
    return Counter([one.id async for one in reader.export(LedgerFilter())])


async def test_processes_that_write_at_once_lose_nothing_and_sum_up_exactly(tmp_path: Path) -> None:
    calls = 1000
    with process(tmp_path, "one", calls) as one, process(tmp_path, "two", calls) as two:
        said = await asyncio.gather(*(asyncio.to_thread(told, each) for each in (one, two)))
        assert [each.wait() for each in (one, two)] == [0, 0]
        complaints = [each.stderr.read() for each in (one, two) if each.stderr is not None]
    assert complaints == ["", ""]
    assert [len(each) for each in said] == [2 * calls] * 2
    reader = SqliteReader.open(tmp_path)
    (row,) = [row async for row in reader.usage(())]
    assert (row.requests, row.cost_nusd) == (2 * calls, calls * (calls - 1))
    assert await reader.open_calls() == ()
    assert set((await ids(reader)).values()) == {1}
    await reader.aclose()


async def test_nothing_acknowledged_is_lost_by_kill_9_and_the_dead_are_reaped_once(
    tmp_path: Path, rounds: int, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    begun: set[str] = set()
    settled: set[str] = set()
    lost: Counter[str] = Counter()
    for number in range(rounds):
        with process(tmp_path, f"a{number}", 10**6) as one, process(tmp_path, f"b{number}", 10**6) as two:
            early = await asyncio.to_thread(told, one, chance.randrange(1, 600))
            for each in (one, two):
                each.send_signal(signal.SIGKILL)
            said = early + [line for each in (one, two) for line in told(each)]
            for each in (one, two):
                assert each.wait() == -signal.SIGKILL
        begun |= {record_id for what, record_id in said if what == "b"}
        settled |= {record_id for what, record_id in said if what == "s"}
        workers = [SqliteLedger.open(tmp_path, now) for _ in range(2)]
        for reaped in await asyncio.gather(*(worker.reap() for worker in workers)):
            lost.update(one.id for one in reaped)
        assert await workers[0].open_calls() == ()
        for worker in workers:
            await worker.aclose()
    reader = SqliteReader.open(tmp_path)
    found = {one.id: one async for one in reader.export(LedgerFilter())}
    assert set((await ids(reader)).values()) == {1}
    assert begun <= found.keys(), "every call that was begun has its record"
    assert all(found[record_id].outcome is Outcome.COMPLETED for record_id in settled)
    assert {one.id for one in found.values() if one.outcome is Outcome.LOST} == lost.keys()
    assert set(lost.values()) <= {1}
    await reader.aclose()
    figure("`kill -9` of two processes that write to the ledger: rounds", rounds)
    figure("… acknowledged records, all there once", len(settled))
    figure("… open calls of the dead, reaped once", len(lost))


async def test_an_export_takes_bounded_memory(
    tmp_path: Path, rounds: int, figure: Callable[[str, int], None]
) -> None:
    """At its full count 200 000 records: kept at once they would take some 100 times as much."""
    total = rounds * 2000
    reader = SqliteLedger.open(tmp_path, now)
    others = ", ".join(FIELDS[2:])
    copies = (
        f"INSERT INTO record SELECT printf('igr_%08d', n), at + n, {others}, NULL, 0 FROM kept CROSS JOIN n"  # noqa: S608 - names of columns
    )
    with closing(writing(tmp_path / FILE)) as db, db:
        acts.settle(db, record(0), 0)
        db.execute("CREATE TEMP TABLE kept AS SELECT * FROM record")
        db.execute(
            "CREATE TEMP TABLE n AS WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) "
            "SELECT n FROM c",
            (total - 1,),
        )
        db.execute(copies)
    count = 0
    tracemalloc.start()
    async for _ in reader.export(LedgerFilter()):
        count += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == total
    assert peak < 8 << 20
    await reader.aclose()
    figure("records exported from a ledger in less than 8 MiB", total)


@pytest.fixture
def disk() -> Iterator[Disk]:
    with failing_disk("failing") as made:
        yield made


@pytest.fixture
def on_disk(tmp_path: Path, disk: Disk) -> SqliteLedger:
    return SqliteLedger.open(tmp_path, now, vfs="failing")


async def test_every_commit_waits_for_the_disk(on_disk: SqliteLedger, disk: Disk) -> None:
    await on_disk.settle(record(1))
    before = disk.syncs
    await on_disk.settle(record(2))
    assert disk.syncs > before
    await on_disk.aclose()


async def test_a_commit_that_failed_once_is_answered_with_what_is_on_the_disk(
    on_disk: SqliteLedger, disk: Disk
) -> None:
    await on_disk.reserve(OpenCall(record=record(1)))
    disk.fails = lambda name: name.endswith("-wal") and disk.failures < 1
    assert (await on_disk.settle(record(1))).verdict is Verdict.WRITTEN
    assert disk.failures == 1
    assert await ids(on_disk) == {record(1).id: 1}
    assert await on_disk.open_calls() == ()
    await on_disk.aclose()


async def test_a_disk_that_fails_for_good_is_never_taken_for_a_success(
    on_disk: SqliteLedger, disk: Disk
) -> None:
    await on_disk.settle(record(1))
    disk.fails = lambda _: True
    with pytest.raises(StoreFailed, match="not known") as failed:
        await on_disk.settle(record(2))
    assert failed.value.unknown
    with pytest.raises(StoreFailed) as failed:
        await on_disk.settle(record(3))
    assert not failed.value.unknown, "the doubt about the log comes first: it did not even begin"
    disk.fails = lambda _: False
    await on_disk.settle(record(2))
    assert await on_disk.record(record(3).id) is None
    assert await ids(on_disk) == {record(1).id: 1, record(2).id: 1}
    await on_disk.aclose()


async def test_under_failing_syncs_every_acknowledged_record_is_there_once(
    tmp_path: Path, disk: Disk, rounds: int, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    disk.fails = lambda _: chance.random() < 0.2
    made: SqliteLedger | None = None
    while made is None:
        try:
            made = SqliteLedger.open(tmp_path, now, vfs="failing")
        except UnfitError:
            continue
    acknowledged, refused = set(), set()
    for first in range(0, rounds * 30, 10):
        several = [record(number) for number in range(first, first + 10)]
        answers = await asyncio.gather(*map(made.settle, several), return_exceptions=True)
        for one, answer in zip(several, answers, strict=True):
            if isinstance(answer, StoreFailed):
                refused.add(one.id)
            else:
                assert not isinstance(answer, BaseException)
                assert answer.verdict is Verdict.WRITTEN
                acknowledged.add(one.id)
    await made.aclose()
    disk.fails = lambda _: False
    reader = SqliteReader.open(tmp_path)
    found = await ids(reader)
    await reader.aclose()
    assert set(found.values()) == {1}
    assert acknowledged <= found.keys() <= acknowledged | refused
    assert disk.failures > 0
    figure("failing syncs under writes to the ledger", disk.failures)


async def test_a_lock_that_is_never_given_back_is_told_and_nothing_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.adapters.sqlite.connection.BUSY_WAIT_MS", 5)
    made = SqliteLedger.open(tmp_path, now)
    with closing(writing(tmp_path / FILE)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed, match="another process holds the lock") as failed:
            await made.ping()
        assert not failed.value.unknown
        other.execute("ROLLBACK")
    await made.ping()
    await made.aclose()


async def test_a_file_that_has_gone_is_told_to_readers(tmp_path: Path) -> None:
    made = SqliteLedger.open(tmp_path, now)
    (tmp_path / FILE).unlink()
    for question in (made.record("x"), made.page(LedgerFilter()), anext(aiter(made.usage(())))):
        with pytest.raises(StoreFailed, match="CantOpen"):
            await question
    await made.aclose()


def test_a_folder_without_a_ledger_is_told_to_readers(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"There is no ledger at .*ledger\.db"):
        SqliteReader.open(tmp_path)


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(UnfitError, match="cannot be opened: NotADBError"):
        SqliteLedger.open(tmp_path, now)


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteLedger.open(tmp_path, now)
    with closing(writing(tmp_path / FILE)) as db, db:
        for number in range(1000):
            acts.settle(db, record(number), 0)
    file = tmp_path / FILE
    whole = bytearray(file.read_bytes())
    whole[-8 * 4096 :] = bytes(8 * 4096)
    file.write_bytes(whole)
    with pytest.raises(UnfitError, match="damaged"):
        SqliteLedger.open(tmp_path, now)
    monkeypatch.setattr(ledger, "CHECKED_AT_START_BYTES", 0)
    SqliteLedger.open(tmp_path, now)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnfitError, match="cannot be made: Not a directory"):
        SqliteLedger.open(tmp_path / "file" / "data", now)


async def test_the_write_ahead_log_does_not_grow_without_end(tmp_path: Path) -> None:
    made = SqliteLedger.open(tmp_path, now)
    for first in range(0, 6000, 100):
        await asyncio.gather(*(made.settle(record(number)) for number in range(first, first + 100)))
    wal = tmp_path / f"{FILE}-wal"
    assert wal.stat().st_size < 12 << 20
    assert (tmp_path / FILE).stat().st_size > 1 << 20
    await made.aclose()
    assert not wal.exists()


def test_the_columns_of_the_table_are_the_fields_of_a_record(tmp_path: Path) -> None:
    """A new field of the record is a migration more."""
    SqliteLedger.open(tmp_path, now)
    with closing(apsw.Connection(str(tmp_path / FILE))) as db:
        found = [name for (name,) in db.execute("SELECT name FROM pragma_table_info('record')")]
    assert tuple(found) == (*FIELDS, "charged_day", "charged_images")


async def test_the_store_tells_time_by_its_own_clock(tmp_path: Path) -> None:
    made = SqliteLedger.open(tmp_path)
    before = SystemClock().now()
    found = await made.reserve(OpenCall(record=record(1)))
    assert isinstance(found, Standing)
    # It counts milliseconds.
    assert before - 0.001 <= found.at_us / 1e6 <= SystemClock().now() + 0.001
    await made.aclose()


def test_a_worker_that_starts_later_makes_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="has gone"):
        SqliteLedger.open(tmp_path, make=False)
    assert not (tmp_path / FILE).exists()
