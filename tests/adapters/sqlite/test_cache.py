"""What only this adapter can get wrong: files that are damaged, disks that fail, and processes that die or share it."""

import asyncio
import errno
import os
import random
import signal
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.adapters import room
from gateway.adapters.sqlite import cache, cache_acts, cache_file, cache_schema
from gateway.adapters.sqlite.cache import SqliteCache
from gateway.adapters.sqlite.cache_file import ASIDE, FILE
from gateway.core.entry import EVERYTHING, Entry, packed
from gateway.core.ledger import micros
from gateway.flow.tasks import spawn
from gateway.ports import Draft, StoreFailed, UnfitError
from tests.conftest import SEED
from tests.support.cache import body_of, entry, given, kept, key_of
from tests.support.cache_writer import body_numbered, name_of
from tests.support.clock import FakeClock
from tests.support.disks import Volume, filling_disk
from tests.support.ledger import NOON
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
MAX_BYTES = 64 << 20
MIB = 1 << 20


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., SqliteCache]]:
    made: list[SqliteCache] = []

    def make(**options: Any) -> SqliteCache:
        made.append(SqliteCache.at(tmp_path, clock.now, **{"max_bytes": MAX_BYTES} | options))
        return made[-1]

    yield make
    for one in made:
        asyncio.run(one.aclose())


@pytest.fixture
def store(make: Callable[..., SqliteCache]) -> SqliteCache:
    return make()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "blobs").glob("??/*") if path.parent.name != "tmp")


def unfinished(folder: Path) -> list[Path]:
    return list((folder / "blobs" / "tmp").iterdir())


def rows(folder: Path, query: str = "SELECT digest FROM blob", *values: object) -> list[Any]:
    with closing(apsw.Connection(str(folder / FILE))) as db:
        return [value for (value,) in db.execute(query, values)]


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"), reverse=True)


def lives(draft: Draft) -> bool:
    return draft.alive


def complaints(log: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in log.records if one.name == "imagegate.cache"]


async def only(store: SqliteCache, name: object) -> Entry:
    (found,) = await store.find(key_of(name))
    return found


async def names_in(store: SqliteCache, names: range) -> list[int]:
    return [name for name in names if await store.find(key_of(name))]


def is_whole(folder: Path) -> bool:
    """Every file has its row and every row its file, sums are sums, and nothing is unfinished."""
    with closing(apsw.Connection(str(folder / FILE))) as db:
        total = db.execute("SELECT entries, blobs, bytes FROM total").fetchone()
        counted = db.execute(
            "SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM blob), "
            "coalesce((SELECT sum(length(packed)) FROM entry), 0) "
            "+ coalesce((SELECT sum((size + 4095) / 4096 * 4096) FROM blob), 0)"
        ).fetchone()
        wrong = db.execute(
            "SELECT count(*) FROM blob WHERE refs <> (SELECT count(*) FROM entry WHERE entry.digest = blob.digest)"
        ).get
    assert total == counted
    assert wrong == 0
    assert [path.name for path in files(folder)] == sorted(rows(folder))
    assert unfinished(folder) == []
    return True


# Files that are not what they should be


def _flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def _lengthen(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("size", [1000, 5 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("harm", [_flip, _truncate, _lengthen, _empty, Path.unlink])
async def test_a_body_that_was_harmed_is_a_miss_and_is_forgotten_with_all_that_share_it(
    store: SqliteCache,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    size: int,
    harm: Callable[[Path], None],
) -> None:
    for name in range(2):
        assert await kept(store, body_of(1, size), entry(name, size))
    assert await kept(store, b"good", entry(2, 4))
    one = await only(store, 0)
    harm(tmp_path / "blobs" / one.digest[:2] / one.digest)
    assert await store.open(one) is None
    assert await names_in(store, range(3)) == [2]
    assert is_whole(tmp_path)
    assert len(complaints(caplog)) == 1
    assert await kept(store, body_of(1, size), entry(0, size)), "and it is kept again"
    assert await given(store, await only(store, 0)) == body_of(1, size)


async def test_a_folder_in_the_place_of_a_body_is_a_miss(store: SqliteCache, tmp_path: Path) -> None:
    assert await kept(store, b"body", entry(1, 4))
    _replace_by_folder(files(tmp_path)[0])
    assert await store.open(await only(store, 1)) is None
    assert await store.find(key_of(1)) == ()


async def test_a_harmed_body_that_was_mended_meanwhile_stays(store: SqliteCache, tmp_path: Path) -> None:
    assert await kept(store, b"body", entry(1, 4))
    one = await only(store, 1)
    harmed = files(tmp_path)[0].stat().st_ino
    assert await kept(store, b"body", entry(2, 4)), "the same body: it takes the place of the harmed one"
    await store._forget(one.digest, harmed)
    assert await given(store, one) == b"body"


async def test_keeping_the_same_body_again_mends_it(store: SqliteCache, tmp_path: Path) -> None:
    assert await kept(store, b"body", entry(1, 4))
    _flip(files(tmp_path)[0])
    assert await kept(store, b"body", entry(2, 4))
    assert await given(store, await only(store, 1)) == b"body"


async def test_a_body_that_cannot_be_opened_just_now_is_a_miss_and_stays(
    store: SqliteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await kept(store, b"body", entry(1, 4))
    one = await only(store, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _failing(errno.EMFILE))
        assert await store.open(one) is None
    assert await given(store, one) == b"body"


async def test_an_index_row_that_was_tampered_with_leads_nowhere(store: SqliteCache, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    assert await store.open(entry(1, 6, digest="../../secret")) is None
    assert await store.open(entry(1, 6, digest=f"{'a' * 64}/../../../secret")) is None


async def test_an_entry_of_another_version_is_a_miss_and_makes_room_for_a_new_one(
    store: SqliteCache, tmp_path: Path
) -> None:
    assert await kept(store, b"body", entry(1, 4))
    data = packed(await only(store, 1)).replace(b'"version":1', b'"version":9')
    with closing(apsw.Connection(str(tmp_path / FILE))) as db:
        db.execute("UPDATE entry SET packed = ?", (data,))
    assert await store.find(key_of(1)) == ()
    assert await kept(store, b"body", entry(1, 4))
    assert await given(store, await only(store, 1)) == b"body"
    assert rows(tmp_path, "SELECT count(*) FROM entry") == [1]


# What nobody refers to


async def test_tidying_removes_what_nobody_refers_to_and_leaves_what_is_not_ours(
    store: SqliteCache, tmp_path: Path
) -> None:
    assert await kept(store, b"body", entry(1, 4))
    orphan = tmp_path / "blobs" / "ab" / ("ab" * 32)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left by a process that died between two steps")
    note = tmp_path / "blobs" / "ab" / "note.txt"
    note.write_bytes(b"an operator's")
    dead = tmp_path / "blobs" / "tmp" / "0123"
    dead.write_bytes(b"left by a process that died while it wrote")
    draft = await store.draft()
    assert draft is not None
    await store.tidy(NOON)
    assert not orphan.exists()
    assert note.exists()
    assert not dead.exists()
    assert len(unfinished(tmp_path)) == 1, "what is under way is held by its lock, by this process too"
    assert await given(store, await only(store, 1)) == b"body"
    await draft.drop()
    note.unlink()
    assert is_whole(tmp_path)


async def test_tidying_forgets_entries_whose_file_has_gone(store: SqliteCache, tmp_path: Path) -> None:
    for name in range(3):
        assert await kept(store, body_of(name, 10), entry(name, 10))
    (tmp_path / "blobs" / (digest := (await only(store, 1)).digest)[:2] / digest).unlink()
    await store.tidy(NOON)
    assert await names_in(store, range(3)) == [0, 2]
    assert is_whole(tmp_path)


async def test_a_file_that_an_answer_was_just_put_into_is_not_removed(
    store: SqliteCache, tmp_path: Path
) -> None:
    """Tidying lists files without a lock: what it suspects may have got its row since."""
    assert await kept(store, b"body", entry(1, 4))
    (digest,) = rows(tmp_path)
    await store._run(lambda db: cache_acts.reconcile(db, store._blobs, [digest]))
    assert await given(store, await only(store, 1)) == b"body"


# Room


async def test_what_was_not_used_for_longest_goes_first(
    make: Callable[..., SqliteCache], clock: FakeClock, tmp_path: Path
) -> None:
    store = make(max_bytes=5 * MIB)
    for name in range(4):
        clock.seconds += 1
        assert await kept(store, body_of(name, MIB), entry(name, MIB))
    clock.seconds += 1
    await store.touch(await only(store, 0))
    for name in (4, 5):
        clock.seconds += 1
        assert await kept(store, body_of(name, MIB), entry(name, MIB))
    assert await names_in(store, range(6)) == [0, 3, 4, 5]
    assert (await store.stats()).bytes <= 5 * MIB
    assert is_whole(tmp_path)


async def test_a_touch_is_written_down_when_it_is_old_or_one_of_many_or_the_cache_is_closed(
    make: Callable[..., SqliteCache], clock: FakeClock, tmp_path: Path
) -> None:
    store = make()
    for name in range(cache.TOUCHES):
        assert await kept(store, b"x", entry(name, 1))
    entries = [await only(store, name) for name in range(cache.TOUCHES)]

    def noted() -> int:
        return len(rows(tmp_path, "SELECT 1 FROM entry WHERE used = ?", micros(clock.now())))

    clock.seconds += 1
    for one in entries[:-1]:
        await store.touch(one)
    assert noted() == 0
    await store.touch(entries[-1])
    assert noted() == cache.TOUCHES
    clock.seconds += 1
    await store.touch(entries[0])
    clock.seconds += cache.TOUCHED_S / 2
    await store.touch(entries[0])
    assert noted() == 0
    clock.seconds += cache.TOUCHED_S / 2
    await store.touch(entries[0])
    assert noted() == 1, "though it was touched again and again"
    clock.seconds += 1
    await store.touch(entries[1])
    assert noted() == 0
    await store.aclose()
    assert noted() == 1


async def test_a_cache_that_was_made_smaller_is_cut_back_when_it_is_tidied(
    make: Callable[..., SqliteCache], clock: FakeClock, tmp_path: Path
) -> None:
    store = make()
    for name in range(4):
        clock.seconds += 1
        assert await kept(store, body_of(name, MIB), entry(name, MIB))
    smaller = make(max_bytes=2 * MIB + 100_000)
    await smaller.tidy(clock.now())
    assert await names_in(smaller, range(4)) == [2, 3]
    assert is_whole(tmp_path)


async def test_a_slow_reader_keeps_a_large_body_that_is_evicted_meanwhile(
    make: Callable[..., SqliteCache], tmp_path: Path
) -> None:
    store = make(max_bytes=9 * MIB)
    size = cache.HELD_BYTES + MIB
    assert await kept(store, body_of(1, size), entry(1, size))
    body = await store.open(await only(store, 1))
    assert body is not None
    chunks = body.chunks()
    read = [await anext(chunks)]
    assert await kept(store, body_of(2, size), entry(2, size))
    assert await store.find(key_of(1)) == ()
    assert len(files(tmp_path)) == 1
    read += [chunk async for chunk in chunks]
    assert b"".join(read) == body_of(1, size)
    body.close()


async def test_large_bodies_pass_in_bounded_memory(store: SqliteCache) -> None:
    size = 24 * MIB
    piece = body_of(1, 64 * 1024)
    tracemalloc.start()
    draft = await store.draft()
    assert draft is not None
    for _ in range(size // len(piece)):
        await draft.write(bytes(piece))
    assert await draft.commit(entry(1, size))
    body = await store.open(await only(store, 1))
    assert body is not None
    taken = 0
    async for chunk in body.chunks():
        taken += len(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    body.close()
    await draft.drop()
    assert taken == size
    assert peak < 2 * MIB


async def test_bodies_that_are_held_take_bounded_memory_together(store: SqliteCache) -> None:
    size = cache.HELD_BYTES
    assert await kept(store, body_of(1, size), entry(1, size))
    one = await only(store, 1)
    opened = [body for _ in range(12) if (body := await store.open(one)) is not None]
    held = [bool(body._held) for body in opened]
    assert held == [True] * (cache.HELD_TOGETHER_BYTES // size) + [False] * (
        12 - cache.HELD_TOGETHER_BYTES // size
    )
    for body in opened:
        assert b"".join([chunk async for chunk in body.chunks()]) == body_of(1, size)
        body.close()
        body.close()
    for _ in range(2 * cache.HELD_TOGETHER_BYTES // size):
        assert await store.open(replace(one, digest="0" * 64)) is None
    again = await store.open(one)
    assert again is not None
    assert again._held
    again.close()


async def test_a_body_that_is_closed_cannot_be_read_on(store: SqliteCache) -> None:
    size = cache.HELD_BYTES + 1
    assert await kept(store, bytes(size), entry(1, size))
    body = await store.open(await only(store, 1))
    assert body is not None
    chunks = body.chunks()
    await anext(chunks)
    body.close()
    with pytest.raises(StoreFailed, match="closed"):
        await anext(chunks)


async def test_no_file_stays_open(store: SqliteCache, tmp_path: Path) -> None:
    assert await kept(store, bytes(MIB), entry(1, MIB))
    one = await only(store, 1)
    before = _open_bodies(tmp_path)
    for number in range(20):
        task = spawn("reader", given(store, one))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await until(lambda: _open_bodies(tmp_path) == before)
    assert before == 0


def _open_bodies(folder: Path) -> int:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.append(link.readlink())
        except OSError:
            continue
    return sum(path.is_relative_to(folder / "blobs") for path in found)


# Disks that fail


def _failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


async def test_a_disk_that_is_full_in_the_middle_of_a_body_costs_the_entry_only(
    store: SqliteCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    draft = await store.draft()
    assert draft is not None
    await draft.write(bytes(MIB))
    assert lives(draft)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", _failing(errno.ENOSPC))
        await draft.write(bytes(MIB))
    assert not lives(draft)
    await draft.write(bytes(MIB))
    with pytest.raises(StoreFailed):
        await draft.read(0, MIB)
    assert not await draft.commit(entry(1, 3 * MIB))
    assert unfinished(tmp_path) == [], "its room is given back at once"
    await draft.drop()
    assert any("No space left" in one for one in complaints(caplog))
    assert await kept(store, b"body", entry(1, 4)), "and goes on when there is room again"


async def test_a_disk_that_fills_up_at_the_last_bytes_costs_the_entry_only(
    store: SqliteCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", _failing(errno.ENOSPC))
        assert not await kept(store, b"body", entry(1, 4))
    assert await store.find(key_of(1)) == ()
    assert is_whole(tmp_path)


async def test_short_writes_are_written_to_their_end(
    store: SqliteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:7001], at))
        assert await kept(store, body_of(1, MIB), entry(1, MIB))
    assert await given(store, await only(store, 1)) == body_of(1, MIB)


async def test_the_last_of_a_disk_is_left_to_others(
    store: SqliteCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clock: FakeClock
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(room, "LEAST_FREE_BYTES", 1 << 62)
        assert [await store.draft() for _ in range(3)] == [None] * 3
        assert len(complaints(caplog)) == 1, "told once in a while"
        clock.seconds += cache.COMPLAINT_S
        assert await store.draft() is None
        assert len(complaints(caplog)) == 2
    assert await kept(store, b"body", entry(1, 4))


async def test_a_draft_that_comes_to_the_last_of_a_disk_dies(
    store: SqliteCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = await store.draft()
    assert draft is not None
    with monkeypatch.context() as patch:
        patch.setattr(room, "LEAST_FREE_BYTES", 1 << 62)
        await draft.write(body_of(1, 4 * MIB))
        assert not draft.alive
        assert not await draft.commit(entry(1, 4 * MIB))
    await draft.drop()


@pytest.fixture
def volume() -> Iterator[Volume]:
    with filling_disk("filling") as made:
        yield made


async def test_an_index_that_cannot_be_written_to_costs_the_entry_only(
    make: Callable[..., SqliteCache], tmp_path: Path, volume: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(vfs="filling")
    assert await kept(store, b"good", entry(1, 4))
    volume.is_full = lambda _: True
    assert not await kept(store, b"body", entry(2, 4))
    await store.touch(await only(store, 1))
    await store.tidy(NOON)
    with pytest.raises(StoreFailed):
        await store.purge(EVERYTHING)
    assert await given(store, await only(store, 1)) == b"good"
    assert complaints(caplog)
    volume.is_full = lambda _: False
    assert await kept(store, b"body", entry(2, 4))
    await store.tidy(NOON)
    assert await names_in(store, range(3)) == [1, 2]
    assert is_whole(tmp_path)


async def test_a_commit_that_failed_once_is_done_again(
    make: Callable[..., SqliteCache], tmp_path: Path, volume: Volume
) -> None:
    store = make(vfs="filling")
    assert await kept(store, b"good", entry(1, 4))
    volume.refused = 0
    volume.is_full = lambda name: name.endswith("-wal") and not volume.refused
    assert await kept(store, b"body", entry(2, 4))
    assert volume.refused == 1
    assert await given(store, await only(store, 2)) == b"body"
    assert is_whole(tmp_path)


async def test_a_draft_whose_file_was_taken_away_is_not_kept(store: SqliteCache, tmp_path: Path) -> None:
    draft = await store.draft()
    assert draft is not None
    await draft.write(b"body")
    unfinished(tmp_path)[0].unlink()
    assert not await draft.commit(entry(1, 4))
    await draft.drop()
    assert await store.find(key_of(1)) == ()
    assert is_whole(tmp_path)


async def test_without_its_folder_everything_is_a_miss_until_it_is_there_again(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "cache"
    place.write_bytes(b"a file where a folder should be")
    store = SqliteCache.at(place, clock.now, max_bytes=MAX_BYTES)
    assert await store.find(key_of(1)) == ()
    assert await store.draft() is None
    await store.tidy(NOON)
    assert complaints(caplog)
    with pytest.raises(StoreFailed):
        await store.stats()
    place.unlink()
    assert await kept(store, b"body", entry(1, 4))
    assert await given(store, await only(store, 1)) == b"body"
    await store.aclose()


async def test_a_cache_that_is_removed_while_it_runs_is_begun_anew(
    store: SqliteCache, tmp_path: Path
) -> None:
    assert await kept(store, b"body", entry(1, 4))
    await only(store, 1)
    for path in everything_in(tmp_path):
        path.rmdir() if path.is_dir() else path.unlink()
    assert await store.find(key_of(1)) == ()
    assert await kept(store, b"body", entry(2, 4))
    assert await given(store, await only(store, 2)) == b"body"
    assert is_whole(tmp_path)


# Other versions, other programs, damage


async def test_a_cache_of_another_version_is_emptied_at_the_start(
    make: Callable[..., SqliteCache], tmp_path: Path
) -> None:
    old = make()
    assert await kept(old, b"body", entry(1, 4))
    with closing(apsw.Connection(str(tmp_path / FILE))) as db:
        db.execute('ALTER TABLE entry RENAME COLUMN used TO "last use"')
        db.pragma("user_version", cache_schema.VERSION + 1)
    store = make()
    assert await store.find(key_of(1)) == ()
    await store.tidy(NOON)
    assert files(tmp_path) == []
    assert await kept(store, b"body", entry(1, 4))
    assert is_whole(tmp_path)


async def test_a_process_that_runs_leaves_the_cache_of_its_successor_alone(
    make: Callable[..., SqliteCache], tmp_path: Path
) -> None:
    old = make()
    with closing(apsw.Connection(str(tmp_path / FILE))) as db:
        db.execute("CREATE TABLE successor (x)")
        db.pragma("user_version", cache_schema.VERSION + 1)
    assert not await kept(old, b"body", entry(1, 4))
    assert await old.find(key_of(1)) == ()
    assert rows(tmp_path, "SELECT count(*) FROM successor") == [0]


async def test_a_database_of_another_program_is_left_alone(tmp_path: Path, clock: FakeClock) -> None:
    with closing(apsw.Connection(str(tmp_path / FILE))) as db:
        db.execute("CREATE TABLE dear (x)")
    with pytest.raises(UnfitError, match="another program"):
        SqliteCache.at(tmp_path, clock.now, max_bytes=MAX_BYTES)
    assert rows(tmp_path, "SELECT count(*) FROM dear") == [0]


@pytest.mark.parametrize("harm", [b"not a database at all" * 400, b""], ids=["garbage", "empty"])
async def test_an_index_that_is_damaged_is_put_aside_at_the_start(
    make: Callable[..., SqliteCache], tmp_path: Path, harm: bytes
) -> None:
    first = make()
    assert await kept(first, b"body", entry(1, 4))
    await first.aclose()
    (tmp_path / FILE).write_bytes(harm)
    store = make()
    assert await store.find(key_of(1)) == ()
    assert await kept(store, b"body", entry(2, 4))
    await store.tidy(NOON)
    assert is_whole(tmp_path)
    assert (tmp_path / ASIDE).exists() is bool(harm)


async def test_an_index_that_is_damaged_while_it_runs_is_put_aside_when_it_is_tidied(
    make: Callable[..., SqliteCache], tmp_path: Path
) -> None:
    store = make()
    for name in range(50):
        assert await kept(store, body_of(name, 10), entry(name, 10))
    await store.aclose()
    with (tmp_path / FILE).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    assert await store.find(key_of(1)) == ()
    await store.tidy(NOON)
    assert (tmp_path / ASIDE).exists()
    assert await kept(store, b"body", entry(1, 4))
    assert await given(store, await only(store, 1)) == b"body"
    await store.tidy(NOON)
    assert is_whole(tmp_path)


async def test_a_large_index_is_not_read_through_at_the_start(
    make: Callable[..., SqliteCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_file, "_CHECKED_BYTES", 0)
    assert await kept(make(), b"body", entry(1, 4))
    assert await given(make(), await only(make(), 1)) == b"body"


async def test_what_is_kept_is_its_owners_alone(store: SqliteCache, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert await kept(store, b"body", entry(1, 4))
        draft = await store.draft()
        assert draft is not None
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in everything_in(tmp_path)}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    await draft.drop()


# Several processes


@contextmanager
def process(
    folder: Path, name: str, count: int, max_bytes: int = MAX_BYTES
) -> Iterator[subprocess.Popen[str]]:
    arguments = [
        sys.executable,
        "-m",
        "tests.support.cache_writer",
        str(folder),
        name,
        str(count),
        str(max_bytes),
    ]
    with subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def told(started: subprocess.Popen[str], most: int | None = None) -> set[int]:
    assert started.stdout is not None
    found = set()
    for line in started.stdout:
        if line.endswith("\n"):
            found.add(int(line))
        if len(found) == most:
            break
    return found


async def test_two_processes_keep_the_same_bodies_at_once(
    make: Callable[..., SqliteCache], tmp_path: Path
) -> None:
    count = 60
    with process(tmp_path, "one", count) as one, process(tmp_path, "two", count) as two:
        said = await asyncio.gather(*(asyncio.to_thread(told, each) for each in (one, two)))
        assert [each.wait() for each in (one, two)] == [0, 0]
        assert [each.stderr.read() for each in (one, two) if each.stderr is not None] == ["", ""]
    assert said == [set(range(count))] * 2
    store = make()
    for number in range(count):
        for name in ("one", "two"):
            found = await only(store, name_of(name, number))
            assert await given(store, found) == body_numbered(number)
    stats = await store.stats()
    assert (stats.entries, stats.blobs) == (2 * count, count)
    assert is_whole(tmp_path)


@pytest.mark.parametrize("max_bytes", [1 << 30, 3 * MIB], ids=["roomy", "evicting"])
async def test_kill_9_leaves_no_half_of_an_entry_and_nothing_behind(
    make: Callable[..., SqliteCache],
    tmp_path: Path,
    rounds: int,
    figure: Callable[[str, int], None],
    max_bytes: int,
) -> None:
    chance = random.Random(SEED)
    store = make(max_bytes=max_bytes)
    found_whole = 0
    for number in range(max(3, rounds // 3)):
        names = (f"a{number}", f"b{number}")
        with (
            process(tmp_path, names[0], 10**6, max_bytes) as one,
            process(tmp_path, names[1], 10**6, max_bytes) as two,
        ):
            early = await asyncio.to_thread(told, one, chance.randrange(1, 40))
            for each in (one, two):
                each.send_signal(signal.SIGKILL)
            said = [early | told(one), told(two)]
            for each in (one, two):
                assert each.wait() == -signal.SIGKILL
        for name, kept_ones in zip(names, said, strict=True):
            for which in range(max(kept_ones, default=0) + 10):
                for entry_found in await store.find(key_of(name_of(name, which))):
                    assert await given(store, entry_found) == body_numbered(which)
                    kept_ones.discard(which)
                    found_whole += 1
            assert max_bytes == 3 * MIB or not kept_ones, "what was kept is found"
        await store.tidy(NOON)
        assert is_whole(tmp_path)
        assert (await store.stats()).bytes <= max_bytes
        await store.purge(EVERYTHING)
        assert files(tmp_path) == []
    figure("`kill -9` of two processes that keep answers: rounds", max(3, rounds // 3))
    figure("… entries found after it, all of them whole", found_whole)


async def test_tidying_beside_writers_takes_nothing_from_them(
    make: Callable[..., SqliteCache], tmp_path: Path
) -> None:
    count = 40
    store = make()
    with process(tmp_path, "one", count) as one:
        said = asyncio.to_thread(told, one)
        reading = spawn("reading", said)
        while not reading.done():
            await store.tidy(NOON)
        assert one.wait() == 0
    for number in range(count):
        assert await given(store, await only(store, name_of("one", number))) == body_numbered(number)
    assert is_whole(tmp_path)


async def test_several_processes_may_start_on_a_damaged_cache_at_once(
    tmp_path: Path, clock: FakeClock
) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 1000)
    made = await asyncio.gather(
        *(asyncio.to_thread(SqliteCache.at, tmp_path, clock.now, max_bytes=MAX_BYTES) for _ in range(4))
    )
    for name, store in enumerate(made):
        assert await kept(store, b"body", entry(name, 4))
    assert await names_in(made[0], range(4)) == [0, 1, 2, 3]
    for store in made:
        await store.aclose()
