"""What is kept lasts: through kill -9, torn writes, disks that are full, and is left to others by the dead."""

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.adapters import outbox
from gateway.adapters.outbox import ROOM_BYTES, FileOutbox
from gateway.core.kept import Due, Entry
from gateway.ports import Outbox, Pile, StoreFailed
from tests.conftest import SEED
from tests.support.ledger import record

ROOT = Path(__file__).parents[2]
WRITES_FOR_EVER = """
import asyncio, os, sys
from pathlib import Path
from gateway.adapters.outbox import FileOutbox
from gateway.core.kept import Due
from tests.support.ledger import record

async def main() -> None:
    kept = FileOutbox.open(Path(sys.argv[1]), "dead")
    number = 0
    while True:
        numbers = range(number, number + 5)
        await asyncio.gather(*(kept.keep(Due(record(one))) for one in numbers))
        os.write(1, b"".join(b"%d\\n" % one for one in numbers))
        number += 5

asyncio.run(main())
"""


def due(number: int) -> Due:
    return Due(record(number), number)


async def entries(kept: Outbox) -> list[Entry]:
    return [entry for pile in await kept.waiting() for entry in pile.entries]


def files(folder: Path) -> list[str]:
    """Whose files are there."""
    return sorted(path.stem for path in folder.iterdir())


def dies(kept: FileOutbox) -> None:
    """As if its process had ended: its locks are gone, its files are not."""
    assert kept._own is not None
    os.close(kept._own.fd)


async def test_its_room_is_taken_at_the_start(tmp_path: Path) -> None:
    kept = FileOutbox.open(tmp_path / "outbox", "w1")
    stat = (tmp_path / "outbox" / "w1.wal").stat()
    assert stat.st_size == ROOM_BYTES
    assert stat.st_blocks * 512 >= ROOM_BYTES
    assert (stat.st_mode & 0o777, (tmp_path / "outbox").stat().st_mode & 0o777) == (0o600, 0o700)
    assert await kept.waiting() == ()
    await kept.aclose()
    assert files(tmp_path / "outbox") == [], "nothing waits in it"


async def test_what_is_kept_waits_in_its_order_until_it_has_landed(tmp_path: Path) -> None:
    kept = FileOutbox.open(tmp_path, "w1")
    for number in range(5):
        await kept.keep(due(number))
    assert await kept.waiting() == (Pile("w1", tuple(map(due, range(5))), is_own=True),)
    await kept.landed("w1", 2)
    assert await entries(kept) == [due(2), due(3), due(4)]
    await kept.keep(due(5))
    await kept.landed("w1", 4)
    assert await kept.waiting() == ()
    await kept.aclose()


async def test_those_that_come_together_wait_for_the_disk_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = FileOutbox.open(tmp_path, "w1")
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    with kept._lock:
        keeping = [asyncio.get_running_loop().create_task(kept.keep(due(number))) for number in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*keeping)
    assert len(syncs) == 1
    assert await entries(kept) == [due(number) for number in range(50)]
    await kept.aclose()


@pytest.mark.parametrize("landed", [0, 2])
async def test_what_a_dead_worker_left_goes_to_one_other(tmp_path: Path, landed: int) -> None:
    dead = FileOutbox.open(tmp_path, "dead")
    heirs = [FileOutbox.open(tmp_path, name) for name in ("one", "two")]
    for number in range(4):
        await dead.keep(due(number))
    await dead.landed("dead", landed)
    assert [await heir.waiting() for heir in heirs] == [(), ()], "it lives"
    dies(dead)
    expected = Pile("dead", tuple(map(due, range(landed, 4))), is_own=False)
    assert await heirs[0].waiting() == (expected,)
    assert await heirs[1].waiting() == ()
    assert await heirs[0].waiting() == (expected,), "until it has landed"
    await heirs[0].landed("dead", 1)
    await heirs[0].landed("dead", 3 - landed)
    assert await heirs[0].waiting() == ()
    assert files(tmp_path) == ["one", "two"]
    for heir in heirs:
        await heir.aclose()


async def test_what_waits_when_it_is_closed_waits_for_the_next_start_and_it_works_after_that_too(
    tmp_path: Path,
) -> None:
    kept = FileOutbox.open(tmp_path, "w1")
    await kept.keep(due(1))
    await kept.aclose()
    await kept.keep(due(2))
    assert await entries(kept) == [due(1), due(2)]
    await kept.aclose()
    await kept.aclose()
    after = FileOutbox.open(tmp_path, "w2")
    assert await entries(after) == [due(1), due(2)]
    await kept.keep(due(3))
    assert await entries(kept) == [due(3)], "its old file is somebody else's by now"
    await kept.aclose()
    await after.aclose()


async def test_a_new_generation_is_not_mixed_up_with_what_lay_there_before(tmp_path: Path) -> None:
    """Entries of the same length: the old ones begin exactly where the new one ends, if the zero behind it is torn off."""
    dead = FileOutbox.open(tmp_path, "dead")
    for number in range(6):
        await dead.keep(due(number))
    before = (tmp_path / "dead.wal").read_bytes()
    await dead.landed("dead", 6)
    await dead.keep(due(7))
    assert dead._own is not None
    with (tmp_path / "dead.wal").open("r+b") as file:
        file.seek(dead._own.end)
        file.write(before[dead._own.end :])
    dies(dead)
    after = FileOutbox.open(tmp_path, "w2")
    assert await entries(after) == [due(7)]
    await after.aclose()


async def test_a_torn_tail_is_left_out_and_what_lies_before_it_is_there(tmp_path: Path) -> None:
    dead = FileOutbox.open(tmp_path, "dead")
    for number in range(3):
        await dead.keep(due(number))
    own = dead._own
    assert own is not None
    second = own.entries[1][1]
    chance = random.Random(SEED)
    with (tmp_path / "dead.wal").open("r+b") as file:
        file.seek(second + chance.randrange(8, own.end - second))
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 0x40]))
    dies(dead)
    after = FileOutbox.open(tmp_path, "w2")
    assert await entries(after) == [due(0), due(1)], f"seed {SEED}"
    await after.aclose()


@pytest.mark.parametrize("length", [0, 3, 80, 5000])
async def test_a_file_cut_anywhere_is_read_as_far_as_it_is_whole(tmp_path: Path, length: int) -> None:
    dead = FileOutbox.open(tmp_path, "dead")
    for number in range(3):
        await dead.keep(due(number))
    dies(dead)
    os.truncate(tmp_path / "dead.wal", length)
    after = FileOutbox.open(tmp_path, "w2")
    found = await entries(after)
    assert found == [due(number) for number in range(len(found))]
    assert len(found) < 3
    await after.aclose()


async def test_a_header_that_was_torn_leaves_the_one_before(tmp_path: Path) -> None:
    dead = FileOutbox.open(tmp_path, "dead")
    for number in range(3):
        await dead.keep(due(number))
    await dead.landed("dead", 1)
    with (tmp_path / "dead.wal").open("r+b") as file:
        file.seek(2048 + 20)
        file.write(b"\xff")
    dies(dead)
    after = FileOutbox.open(tmp_path, "w2")
    assert await entries(after) == [due(0), due(1), due(2)], "it lands once more, which is harmless"
    await after.aclose()


async def _kept_until_full(kept: FileOutbox) -> int:
    for number in range(1000):
        try:
            await kept.keep(due(number))
        except StoreFailed as failed:
            assert "No space left" in str(failed)  # noqa: PT017 - which one fails is what is asked
            return number
    raise AssertionError("it never came to its end")


async def test_a_full_disk_stops_it_only_when_its_room_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "ROOM_BYTES", 16 << 10)
    kept = FileOutbox.open(tmp_path, "w1")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        number = await _kept_until_full(kept)
        assert number >= 8
    expected = [due(one) for one in range(number)]
    assert await entries(kept) == expected
    await kept.keep(due(number))
    assert await entries(kept) == [*expected, due(number)], "there is room again"
    assert (tmp_path / "w1.wal").stat().st_size == 32 << 10
    await kept.landed("w1", number + 1)
    await kept.aclose()


async def test_a_disk_that_fails_is_told_and_nothing_is_taken_for_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = FileOutbox.open(tmp_path, "w1")

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(StoreFailed, match="Input/output error") as failed:
            await kept.keep(due(1))
        assert not failed.value.unknown
    await kept.keep(due(2))
    assert await entries(kept) == [due(2)]
    await kept.landed("w1", 1)
    await kept.aclose()


async def test_what_could_not_be_forgotten_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = FileOutbox.open(tmp_path, "w1")
    await kept.keep(due(1))

    def fails(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fails)
        with pytest.raises(StoreFailed, match="Input/output error"):
            await kept.landed("w1", 1)
    await kept.keep(due(2))
    assert await entries(kept) == [due(1), due(2)]
    await kept.landed("w1", 2)
    await kept.aclose()


async def test_a_folder_that_cannot_be_made_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "outbox").write_text("in the way")
    kept = FileOutbox.open(tmp_path / "outbox", "w1")
    assert "cannot be made" in caplog.text
    with pytest.raises(StoreFailed, match="cannot be written to"):
        await kept.keep(due(1))
    assert await kept.waiting() == ()
    (tmp_path / "outbox").unlink()
    await kept.keep(due(1))
    assert await entries(kept) == [due(1)]
    await kept.landed("w1", 1)
    await kept.aclose()


async def test_an_entry_that_nobody_understands_is_told_and_those_around_it_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dead = FileOutbox.open(tmp_path, "dead")
    await dead.keep(due(1))
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "dumps", lambda _: b'{"of":"a later version"}')
        await dead.keep(due(2))
    await dead.keep(due(3))
    dies(dead)
    after = FileOutbox.open(tmp_path, "w2")
    assert await entries(after) == [due(1), due(3)]
    assert "a later version" in caplog.text
    await after.landed("dead", 1)
    assert await entries(after) == [due(3)]
    await after.landed("dead", 1)
    assert files(tmp_path) == ["w2"]
    await after.aclose()


def killed_after(folder: Path, lines: int) -> int:
    """A process that keeps entries without pause is killed once it has said so much. Returns the last that it said."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        return int((process.stdout.read().splitlines() or ["0"])[-1])


async def test_nothing_that_was_kept_is_lost_by_kill_9(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    for _ in range(3):
        said = await asyncio.to_thread(killed_after, tmp_path, chance.randrange(1, 60))
        after = FileOutbox.open(tmp_path, "after")
        (pile,) = await after.waiting()
        found = [entry.call_id for entry in pile.entries]
        assert found == [record(number).id for number in range(len(found))]
        assert len(found) > said, f"seed {SEED}"
        await after.landed(pile.worker, len(found))
        await after.aclose()
        assert files(tmp_path) == []


async def test_an_entry_that_cannot_be_written_fails_for_all_that_came_with_it(tmp_path: Path) -> None:
    """None of them may believe that it was kept."""
    outbox = FileOutbox.open(tmp_path, "one")
    poisoned = Due(record(0), 2**70)
    kept = await asyncio.gather(
        *(outbox.keep(Due(record(number), 0)) for number in range(1, 10)),
        outbox.keep(poisoned),
        return_exceptions=True,
    )
    piles = await outbox.waiting()
    waiting = {entry.call_id for pile in piles for entry in pile.entries}
    believed = {record(number).id for number, error in enumerate(kept, 1) if error is None}
    assert isinstance(kept[-1], StoreFailed)
    assert believed == waiting
    await outbox.aclose()
