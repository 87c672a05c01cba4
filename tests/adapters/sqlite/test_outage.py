"""A store that is down, for real: locked by another process, on a disk that fails or is full, or gone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.adapters.outbox import FileOutbox
from gateway.adapters.sqlite import connection
from gateway.adapters.sqlite.connection import FILE, writing
from gateway.adapters.sqlite.ledger import PARDON_S, SqliteLedger
from gateway.adapters.workers import Worker, this_worker
from gateway.core.ledger import LedgerFilter, OpenCall, micros
from gateway.core.limits import parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Claimant
from gateway.core.record import Outcome
from gateway.core.units import NanoUSD
from gateway.flow import keep
from gateway.flow.keep import Keeper
from gateway.ports import DEAD_AFTER_S, StoreFailed
from tests.support.clock import FakeClock
from tests.support.gateway import ListJournal
from tests.support.ledger import Disk, failing_disk, noted, record
from tests.support.locker import locked

CLOCK = SystemClock()
CLAIMANTS = (Claimant("key:k", (parse_limit("$1 per month"), parse_limit("100 concurrent"))), Claimant("org"))
ASKED = FIRST_DOOR + Amounts(images=1, cost_nusd=noted().cost_nusd)
NOTHING: dict[str, Any] = {
    "outcome": Outcome.REFUSED,
    "cost_nusd": NanoUSD(0),
    "lines": (),
    "output_image_tokens": 0,
    "input_text_tokens": 0,
}


class Worked:
    """A worker: a ledger, an outbox, and what goes between them."""

    def __init__(self, folder: Path, vfs: str | None = None) -> None:
        self.calendar = ZoneCalendar("UTC")
        self.ledger = SqliteLedger.open(folder, CLOCK.now, vfs=vfs)
        self.outbox = FileOutbox.open(folder / "outbox", self.ledger.worker)
        self.journal = ListJournal()
        self.keeper = Keeper(self.ledger, self.outbox, self.journal, CLOCK, self.calendar)

    async def reserve(self, number: int) -> None:
        frames = self.calendar.frames(CLOCK.now())
        claim = Claim(id=record(number).id, claimants=CLAIMANTS, asked=ASKED, frames=frames)
        noted_now = noted(number, at=CLOCK.now())
        await self.keeper.reserve(OpenCall(record=noted_now, dispatched=True), claim)

    async def settle(self, number: int, **changes: Any) -> None:
        await self.keeper.settle(record(number, at=CLOCK.now(), **changes), 1)

    async def counted(self) -> list[tuple[int, int]]:
        """Used and held: money, places."""
        at = CLOCK.now()
        found = await self.ledger.limits(CLAIMANTS, self.calendar.frames(at), at)
        return [(one.used, one.held) for one in found]

    async def check_all_landed(self, *numbers: int) -> None:
        """These calls have their records, and what they cost is counted; nothing is held by anybody."""
        assert await self.outbox.waiting() == ()
        assert await self.ledger.open_calls() == ()
        found = [one async for one in self.ledger.export(LedgerFilter(outcome=Outcome.COMPLETED))]
        assert sorted(one.id for one in found) == [record(number).id for number in numbers]
        assert await self.counted() == [(len(numbers) * record().cost_nusd, 0), (0, 0)]

    async def aclose(self) -> None:
        await self.keeper.aclose()
        await self.ledger.aclose()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep, "ANSWER_S", 0.1)
    monkeypatch.setattr(keep, "LANDING_S", 0.2)
    monkeypatch.setattr(connection, "BUSY_WAIT_MS", 300)


@pytest.fixture
async def worked(tmp_path: Path) -> AsyncIterator[Worked]:
    made = Worked(tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
async def on_disk(tmp_path: Path) -> AsyncIterator[tuple[Worked, Disk]]:
    with failing_disk("failing") as disk:
        made = Worked(tmp_path, "failing")
        yield made, disk
        await made.aclose()


async def landed(worked: Worked) -> None:
    """Rounds until nothing waits."""
    async with asyncio.timeout(20):
        while worked.keeper._is_away or await worked.outbox.waiting():
            await worked.keeper.catch_up()


async def test_while_another_process_has_the_lock_nothing_passes_and_afterwards_all_is_there(
    tmp_path: Path, worked: Worked
) -> None:
    for number in range(3):
        await worked.reserve(number)
    with locked(tmp_path / FILE):
        for number in range(3):
            await worked.settle(number)
        for number in range(10, 30):
            with pytest.raises(StoreFailed):
                await worked.reserve(number)
            await worked.settle(number, **NOTHING)
        (pile,) = await worked.outbox.waiting()
        assert [one.call_id for one in pile.entries][:3] == [record(number).id for number in range(3)]
    await landed(worked)
    await worked.check_all_landed(0, 1, 2)
    await worked.reserve(5)
    await worked.settle(5)
    await worked.check_all_landed(0, 1, 2, 5)


async def test_what_nobody_waits_for_any_more_is_not_done_when_the_lock_is_gone(
    tmp_path: Path, worked: Worked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a thousand reservations that were refused long ago, but the settlements among them."""
    monkeypatch.setattr(connection, "BUSY_WAIT_MS", 20_000)
    await worked.reserve(0)
    done: list[object] = []
    with locked(tmp_path / FILE):
        frames = worked.calendar.frames(CLOCK.now())
        asking = [
            asyncio.get_running_loop().create_task(
                worked.ledger.reserve(
                    OpenCall(record=noted(number), dispatched=True),
                    Claim(id=record(number).id, claimants=CLAIMANTS, asked=ASKED, frames=frames),
                )
            )
            for number in range(1, 1001)
        ]
        settling = asyncio.get_running_loop().create_task(worked.ledger.settle(record(0), 1))
        await asyncio.sleep(0)
        for task in (*asking, settling):
            task.cancel()
        done += await asyncio.gather(*asking, settling, return_exceptions=True)
    assert {type(one) for one in done} == {asyncio.CancelledError}
    await worked.ledger.beat()
    await worked.check_all_landed(0)


async def test_a_lock_that_outlasts_everybodys_patience_leaves_no_queue_behind(
    tmp_path: Path, worked: Worked
) -> None:
    await worked.reserve(0)
    with locked(tmp_path / FILE):
        for _ in range(4):
            await asyncio.gather(
                *(worked.ledger.settle(record(1)) for _ in range(20)), return_exceptions=True
            )
        assert worked.ledger._writer._jobs.empty()
    await worked.settle(0)
    await landed(worked)
    await worked.check_all_landed(0)


@pytest.mark.parametrize(
    "breaks",
    [lambda disk: setattr(disk, "fails", lambda _: True), lambda disk: setattr(disk, "is_full", True)],
    ids=["every sync fails", "the disk is full"],
)
async def test_a_disk_that_does_not_write_costs_no_settlement(
    on_disk: tuple[Worked, Disk], breaks: Callable[[Disk], None]
) -> None:
    worked, disk = on_disk
    for number in range(3):
        await worked.reserve(number)
    breaks(disk)
    for number in range(3):
        await worked.settle(number)
    for number in range(10, 20):
        with pytest.raises(StoreFailed):
            await worked.reserve(number)
        await worked.settle(number, **NOTHING)
    await worked.keeper.catch_up()
    assert disk.failures > 0
    assert len(await worked.outbox.waiting()) == 1
    disk.fails, disk.is_full = (lambda _: False), False
    await landed(worked)
    await worked.check_all_landed(0, 1, 2)


async def test_a_file_that_has_gone_is_noticed_and_no_empty_one_takes_its_place(
    tmp_path: Path, worked: Worked
) -> None:
    await worked.reserve(0)
    await worked.ledger.aclose()
    (tmp_path / FILE).rename(tmp_path / "elsewhere")
    with pytest.raises(StoreFailed, match="has gone"):
        await worked.reserve(1)
    await worked.settle(0)
    assert not (tmp_path / FILE).exists()
    (tmp_path / "elsewhere").rename(tmp_path / FILE)
    await landed(worked)
    await worked.check_all_landed(0)


async def test_one_that_is_removed_while_it_is_open_is_noticed_too(tmp_path: Path, worked: Worked) -> None:
    await worked.ledger.beat()
    for ending in ("", "-wal", "-shm"):
        (tmp_path / f"{FILE}{ending}").unlink()
    with pytest.raises(StoreFailed, match="has gone"):
        await worked.ledger.beat()
    await worked.ledger.aclose()
    SqliteLedger.open(tmp_path, CLOCK.now)
    await worked.ledger.beat()


async def test_what_a_dead_worker_kept_lands_by_another_one_as_the_truth(tmp_path: Path) -> None:
    first = Worked(tmp_path)
    await first.reserve(1)
    with locked(tmp_path / FILE):
        await first.settle(1)
    assert first.outbox._own is not None
    pile = await first.outbox.waiting()
    assert [one.is_own for one in pile] == [True]
    await first.outbox.aclose()
    second = Worked(tmp_path)
    await second.ledger.settle(noted(1, outcome=Outcome.LOST, at=CLOCK.now()), 1)
    await second.keeper.catch_up()
    await second.check_all_landed(1)
    await first.aclose()
    await second.aclose()


async def test_a_pardon_is_for_all_that_are_not_known_to_be_gone(tmp_path: Path) -> None:
    clock = FakeClock()
    asking = SqliteLedger.open(tmp_path, clock.now)
    await asking.beat()
    here = this_worker()
    others = [
        Worker("living", here.host, here.pid, here.born),
        Worker("gone", here.host, here.pid, here.born + 1),
        Worker("elsewhere", "another machine", here.pid, here.born + 1),
    ]
    with closing(writing(tmp_path / FILE)) as db:
        _register(db, others, clock.now())
    clock.seconds += DEAD_AFTER_S + 1
    await asking.beat(pardon=True)
    alive = micros(clock.now() - DEAD_AFTER_S)
    assert await alive_since(tmp_path, alive) == {asking.worker, "living", "elsewhere"}
    clock.seconds += PARDON_S - 1
    await asking.beat(pardon=True)
    assert "elsewhere" in await alive_since(tmp_path, micros(clock.now() - DEAD_AFTER_S))
    clock.seconds += 2
    await asking.beat(pardon=True)
    late = await alive_since(tmp_path, micros(clock.now() - DEAD_AFTER_S))
    assert late == {asking.worker}, "who starts again and again keeps no dead alive"
    await asking.aclose()


async def alive_since(folder: Path, at_us: int) -> set[str]:
    with closing(writing(folder / FILE)) as db:
        return {str(name) for (name,) in db.execute("SELECT id FROM worker WHERE beat >= ?", (at_us,))}


def _register(db: apsw.Connection, workers: list[Worker], at: float) -> None:
    db.executemany(
        "INSERT INTO worker (id, host, pid, born, beat) VALUES (?, ?, ?, ?, ?)",
        [(one.id, one.host, one.pid, one.born, micros(at)) for one in workers],
    )
