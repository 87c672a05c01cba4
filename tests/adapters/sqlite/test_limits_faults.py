"""Limits over a disk that fails: nobody is told that a call may pass, or may not, before it is known what lies there."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import apsw
import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.connection import FILE
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.adapters.sqlite.writer import Writer
from gateway.core.ledger import OpenCall, Verdict
from gateway.core.limits import Unit, parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Claimant, Exceeded, Standing
from gateway.core.record import Outcome
from gateway.core.units import NanoUSD
from gateway.ports import DEAD_AFTER_S, StoreFailed
from tests.conftest import SEED
from tests.support.clock import FakeClock
from tests.support.disks import Volume, filling_disk
from tests.support.ledger import Disk, failing_disk, noted, record

AT_ONCE = 20
KEY, TEAM = "key:design-1", "team:design"
FRAMES = ZoneCalendar("UTC").frames(FakeClock().now())
LOOKED_AT = tuple(
    map(
        parse_limit,
        ("1000000 images total", "$1000000 total", "1000000 requests total", "1000000 concurrent"),
    )
)
ESTIMATE = noted().cost_nusd
BILLED = record().cost_nusd


@pytest.fixture
def disk() -> Iterator[Disk]:
    with failing_disk("failing syncs") as made:
        yield made


@pytest.fixture
def volume() -> Iterator[Volume]:
    with filling_disk("filling") as made:
        yield made


def call_of(number: int, *limits: str) -> tuple[OpenCall, Claim]:
    """What the second door is asked for one picture."""
    claim = Claim(
        id=record(number).id,
        claimants=(Claimant(KEY, tuple(map(parse_limit, limits))), Claimant(TEAM), Claimant("org")),
        asked=FIRST_DOOR + Amounts(images=1, cost_nusd=ESTIMATE),
        frames=FRAMES,
    )
    return OpenCall(record=noted(number), dispatched=True), claim


@dataclass(frozen=True)
class Lies:
    """What lies on the disk, of all calls."""

    images: tuple[int, int]
    cost: tuple[int, int]
    requests: int
    places: int
    calls: frozenset[str]
    """That are open."""
    holds: frozenset[str]
    """Calls that hold something."""


async def lies(folder: Path) -> Lies:
    """As somebody reads it who has nothing to do with the disk's faults. The same for each scope."""
    reader = SqliteReader.open(folder)
    found = [
        {
            one.limit.unit: (one.used, one.held)
            for one in await reader.limits([Claimant(scope, LOOKED_AT)], FRAMES, FakeClock().now())
        }
        for scope in (KEY, TEAM, "org")
    ]
    calls = await reader.open_calls()
    assert await reader.verify() == ()
    await reader.aclose()
    with closing(apsw.Connection(str(folder / FILE))) as db:
        holds = frozenset(name for (name,) in db.execute("SELECT id FROM hold WHERE NOT lost"))
    assert found[0] == found[1] == found[2]
    of = found[0]
    return Lies(
        of[Unit.IMAGES],
        of[Unit.USD],
        of[Unit.REQUESTS][0],
        of[Unit.CONCURRENT][0],
        frozenset(call.record.id for call in calls),
        holds,
    )


def opened(folder: Path, vfs: str, clock: FakeClock | None = None) -> SqliteLedger:
    return SqliteLedger.open(folder, (clock or FakeClock()).now, vfs=vfs)


async def test_a_reservation_whose_commit_failed_once_is_told_as_it_lies_on_the_disk_and_held_once(
    tmp_path: Path, disk: Disk
) -> None:
    made = opened(tmp_path, "failing syncs")
    disk.fails = lambda name: name.endswith("-wal") and disk.failures < 1
    assert isinstance(await made.reserve(*call_of(1, "1 image per day")), Standing)
    assert disk.failures == 1
    assert isinstance(await made.reserve(*call_of(2, "1 image per day")), Exceeded)
    known = await lies(tmp_path)
    assert (known.images, known.cost, known.requests, known.places) == ((0, 1), (0, ESTIMATE), 1, 1)
    disk.fails = lambda name: name.endswith("-wal") and disk.failures < 2
    assert (await made.settle(record(1), 1)).verdict is Verdict.WRITTEN
    known = await lies(tmp_path)
    assert (known.images, known.cost, known.requests, known.places) == ((1, 0), (BILLED, 0), 1, 0)
    await made.aclose()


class Mute:
    """A store that has done what was asked, and says at times that it failed."""

    def __init__(self, fails: Callable[[], bool]) -> None:
        self._fails = fails
        self.failures = 0

    def committed(self, _db: apsw.Connection, _name: str, _pages: int) -> int:
        """SQLite calls it when a commit lies on the disk; what it raises, COMMIT raises."""
        if self._fails():
            self.failures += 1
            raise apsw.IOError("the answer was lost")
        return apsw.SQLITE_OK


@pytest.mark.parametrize("door", ["one act", "admitted before"])
async def test_what_took_place_though_it_was_said_to_have_failed_is_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    mute = Mute(lambda: mute.failures < 2)
    monkeypatch.setattr(Writer, "_committed", mute.committed)
    made = SqliteLedger.open(tmp_path, FakeClock().now)
    call, claim = call_of(1, "1 image per day", "1 request per day", "1 concurrent")
    if door == "admitted before":
        asked = replace(claim, asked=FIRST_DOOR)
        assert isinstance(await made.admit(asked), Standing)
    assert isinstance(await made.reserve(call, claim), Standing)
    assert mute.failures > 0
    known = await lies(tmp_path)
    assert (known.images, known.cost, known.requests, known.places) == ((0, 1), (0, ESTIMATE), 1, 1)
    mute.failures = 0
    assert (await made.settle(record(1), 1)).verdict is Verdict.WRITTEN
    assert mute.failures > 0
    known = await lies(tmp_path)
    assert (known.images, known.cost, known.requests, known.places) == ((1, 0), (BILLED, 0), 1, 0)
    await made.aclose()


async def test_exactly_as_many_pass_as_fit_though_commits_are_said_to_have_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    mute = Mute(lambda: mute.failures == 0 or chance.random() < 0.2)
    monkeypatch.setattr(Writer, "_committed", mute.committed)
    workers = [SqliteLedger.open(tmp_path, FakeClock().now) for _ in range(2)]
    most, passed = rounds * AT_ONCE // 2, set[int]()
    for first in range(0, rounds * AT_ONCE, AT_ONCE):
        numbers = range(first, first + AT_ONCE)
        asked = [workers[number % 2].reserve(*call_of(number, f"{most} images total")) for number in numbers]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        told, unknown = check(numbers, answers, await lies(tmp_path))
        for number in unknown:
            await landed(workers[0].settle, record(number), 1)
        passed |= told | unknown
    known = await lies(tmp_path)
    assert sum(known.images) == known.requests == len(passed) == most, f"seed {SEED}"
    assert mute.failures > 0
    for worker in workers:
        await worker.aclose()
    figure("commits under calls with limits that took place and were said to have failed", mute.failures)


async def test_a_refusal_whose_commit_failed_is_looked_up_again_before_it_is_told(
    tmp_path: Path, disk: Disk
) -> None:
    """Meanwhile another call may have ended: what is told is how it stands then."""
    made = opened(tmp_path, "failing syncs")
    await made.reserve(*call_of(1, "1 image per day"))
    disk.fails = lambda name: name.endswith("-wal") and disk.failures < 1
    refused = record(1, outcome=Outcome.REFUSED, cost_nusd=NanoUSD(0), lines=())
    _, found = await asyncio.gather(made.settle(refused), made.reserve(*call_of(2, "1 image per day")))
    assert disk.failures == 1
    assert isinstance(found, Standing)
    assert (await lies(tmp_path)).images == (0, 1)
    await made.aclose()


async def test_a_call_of_which_nobody_knows_holds_until_its_refusal_is_written_and_no_longer(
    tmp_path: Path, disk: Disk
) -> None:
    """What the gateway does with a caller whom it could not tell: it refuses, and says so as soon as it can."""
    made = opened(tmp_path, "failing syncs")
    await made.ping()
    disk.fails = lambda _: True
    with pytest.raises(StoreFailed) as failed:
        await made.reserve(*call_of(1, "1 image per day"))
    assert failed.value.unknown
    disk.fails = lambda _: False
    await made.settle(record(1, outcome=Outcome.REFUSED, cost_nusd=NanoUSD(0), lines=()))
    known = await lies(tmp_path)
    assert (known.images, known.cost, known.requests, known.places) == ((0, 0), (0, 0), 0, 0)
    assert known.calls == known.holds == frozenset()
    assert isinstance(await made.reserve(*call_of(2, "1 image per day")), Standing)
    await made.aclose()


async def landed(act: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Ask again until it is done, as whoever keeps a settlement does."""
    while True:
        try:
            await act(*arguments)
        except StoreFailed:
            continue
        return


def check(numbers: Iterable[int], answers: Iterable[object], known: Lies) -> tuple[set[int], set[int]]:
    """Everybody was told what lies on the disk. Those who passed, and those of whom nobody knows."""
    passed, unknown = set[int](), set[int]()
    for number, answer in zip(numbers, answers, strict=True):
        name = record(number).id
        match answer:
            case Standing():
                assert name in known.holds, f"{name} passed and holds nothing, seed {SEED}"
                passed.add(number)
            case StoreFailed(unknown=True):
                unknown.add(number)
            case Exceeded() | StoreFailed():
                assert name not in known.holds, f"{name} was refused and holds, seed {SEED}"
            case other:
                raise AssertionError(f"{name} was told {other!r}, seed {SEED}")
    return passed, unknown


async def test_under_failing_syncs_nothing_is_overspent_nor_both_refused_and_held(
    tmp_path: Path, disk: Disk, rounds: int, figure: Callable[[str, int], None]
) -> None:
    """Two workers, a budget that fits a part of what is asked for."""
    chance, clock, most = random.Random(SEED), FakeClock(), rounds * AT_ONCE // 2
    SqliteLedger.open(tmp_path, clock.now)
    workers = [SqliteLedger(tmp_path, clock.now, vfs="failing syncs") for _ in range(2)]
    disk.fails = lambda _: chance.random() < 0.1
    passed, settled = set[int](), set[int]()
    for first in range(0, rounds * AT_ONCE, AT_ONCE):
        numbers = range(first, first + AT_ONCE)
        asked = [
            workers[number % 2].reserve(*call_of(number, f"{most} images per day")) for number in numbers
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        known = await lies(tmp_path)
        assert sum(known.images) <= most, f"seed {SEED}"
        assert known.calls == known.holds
        told, unknown = check(numbers, answers, known)
        for number in unknown:
            refused = record(number, outcome=Outcome.REFUSED, cost_nusd=NanoUSD(0), lines=())
            await landed(workers[0].settle, refused)
        passed |= told
        for number in sorted(passed - settled):
            if chance.random() < 0.3:
                await landed(workers[number % 2].settle, record(number), 1)
                settled.add(number)
    for number in sorted(passed - settled):
        await landed(workers[number % 2].settle, record(number), 1)
    disk.fails = lambda _: False
    known = await lies(tmp_path)
    assert known.images == (len(passed), 0), f"seed {SEED}"
    assert known.cost == (len(passed) * BILLED, 0)
    assert (known.requests, known.places, known.holds) == (len(passed), 0, frozenset())
    assert disk.failures > 0
    for worker in workers:
        await worker.aclose()
    figure("failing syncs under calls with limits", disk.failures)


async def test_on_a_full_disk_nothing_passes_and_nothing_is_held(tmp_path: Path, volume: Volume) -> None:
    made = opened(tmp_path, "filling")
    assert isinstance(await made.reserve(*call_of(1, "3 images per day")), Standing)
    volume.is_full = lambda _: True
    answers = await asyncio.gather(
        *(made.reserve(*call_of(number, "3 images per day")) for number in range(2, 10)),
        return_exceptions=True,
    )
    assert {type(answer) for answer in answers} == {StoreFailed}
    # What it came to is not lost, only late.
    with pytest.raises(StoreFailed):
        await made.settle(record(1), 1)
    assert volume.refused > 0
    known = await lies(tmp_path)
    assert (known.images, known.requests, known.places) == ((0, 1), 1, 1)
    assert known.calls == known.holds == {record(1).id}
    volume.is_full = lambda _: False
    assert (await made.settle(record(1), 1)).verdict is Verdict.WRITTEN
    again = await asyncio.gather(
        *(made.reserve(*call_of(number, "3 images per day")) for number in range(2, 10))
    )
    assert [isinstance(answer, Standing) for answer in again].count(True) == 2
    await made.aclose()


async def test_a_disk_that_fills_up_and_is_emptied_again_and_again_lets_nobody_beyond_a_limit(
    tmp_path: Path, volume: Volume, rounds: int, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    made = opened(tmp_path, "filling")
    most, passed = rounds * AT_ONCE // 2, set[int]()
    volume.is_full = lambda _: chance.random() < 0.05
    for first in range(0, rounds * AT_ONCE, AT_ONCE):
        numbers = range(first, first + AT_ONCE)
        answers = await asyncio.gather(
            *(made.reserve(*call_of(number, f"{most} images total")) for number in numbers),
            return_exceptions=True,
        )
        known = await lies(tmp_path)
        assert sum(known.images) <= most, f"seed {SEED}"
        told, _ = check(numbers, answers, known)
        passed |= told
        for number in told:
            await landed(made.settle, record(number), 1)
    volume.is_full = lambda _: False
    # Those of whom nobody knew: this worker ends, and another one reaps them.
    clock = FakeClock()
    clock.seconds += DEAD_AFTER_S + 1
    other = SqliteLedger.open(tmp_path, clock.now)
    await other.reap()
    known = await lies(tmp_path)
    assert (known.holds, known.calls, known.places, known.images[1]) == (frozenset(), frozenset(), 0, 0)
    assert len(passed) <= known.images[0] <= most
    assert volume.refused > 0
    for each in (made, other):
        await each.aclose()
    figure("writes that found the disk full under calls with limits", volume.refused)


async def test_a_worker_that_was_silent_for_too_long_and_goes_on_keeps_what_it_takes_from_then_on(
    tmp_path: Path,
) -> None:
    """It takes its first call before its first beat."""
    clock = FakeClock()
    asleep, awake = (SqliteLedger.open(tmp_path, clock.now) for _ in range(2))
    for each in (asleep, awake):
        await each.beat()
    clock.seconds += DEAD_AFTER_S + 1
    await awake.beat()
    assert isinstance(await asleep.reserve(*call_of(1, "1 concurrent", "5 images per day")), Standing)
    assert await awake.reap() == ()
    assert isinstance(await awake.reserve(*call_of(2, "1 concurrent", "5 images per day")), Exceeded)
    for each in (asleep, awake):
        await each.aclose()
