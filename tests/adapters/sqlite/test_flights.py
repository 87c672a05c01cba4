"""What only SQLite and files can get wrong: processes that die, files that go, disks that are full."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest

from gateway.adapters.clock import SystemClock
from gateway.adapters.sqlite.flight_lead import SqliteLead
from gateway.adapters.sqlite.flights import FILE, FOLDER, SqliteFlights
from gateway.adapters.sqlite.writer import Act
from gateway.adapters.workers import this_worker
from gateway.core.errors import UpstreamFailed
from gateway.core.flight import Duty, Entrance, Lost, Stored
from gateway.flow.flights import Flights, Lead, Stranded
from gateway.flow.reel import Reel
from gateway.ports import Began, FollowedFlight, Follows, Leads, StoreFailed
from tests.support.clock import FakeClock
from tests.support.disks import filling_disk
from tests.support.flight_leader import leading
from tests.support.flights import Client, Hands, Upstream, follow, lead, take_off
from tests.support.waiting import until

T = TypeVar("T")
CLOCK = SystemClock()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[SqliteFlights]:
    made = SqliteFlights(tmp_path, CLOCK.now)
    yield made
    await made.aclose()


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[SqliteFlights]:
    made = SqliteFlights(tmp_path, CLOCK.now)
    yield made
    await made.aclose()


async def board(flights: SqliteFlights) -> Leads | Follows | Entrance:
    return await flights.board("n", looked_at=CLOCK.now(), hit_for_miss_s=15.0)


async def leads(flights: SqliteFlights) -> SqliteLead:
    found = await board(flights)
    assert isinstance(found, Leads)
    assert isinstance(found.flight, SqliteLead)
    return found.flight


async def follows(flights: SqliteFlights) -> FollowedFlight:
    found = await board(flights)
    assert isinstance(found, Follows)
    return found.flight


async def heard(flight: FollowedFlight) -> list[object]:
    return [one async for one in flight.news()]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER).iterdir())


def flying(shared: SqliteFlights) -> Flights:
    return Flights(CLOCK, max_wait_s=60.0, hit_for_miss_s=15.0, reel=Reel(), shared=shared)


# A leader that is killed


async def test_when_the_leading_process_is_killed_one_who_was_sent_nothing_leads(
    tmp_path: Path, here: SqliteFlights, there: SqliteFlights
) -> None:
    processes = [flying(here), flying(there)]
    sent, unsent = [Client(), Client()], [Client(holds=True), Client(holds=True)]
    with leading(tmp_path) as process:
        clients = list(zip(processes * 2, sent + unsent, strict=True))
        listening = [await follow(flights, client, looked_at=CLOCK.now()) for flights, client in clients]
        await until(lambda: all(client.got == b"half" for client in sent + unsent), every_s=0.001)
        process.kill()
        process.wait()
        await asyncio.gather(*listening)
    for client in sent:
        assert isinstance(client.error, UpstreamFailed), (
            "never the beginning of one answer and the end of another"
        )
    for client in unsent:
        assert isinstance(client.error, Stranded)
        assert client.error.duty is Duty.ELECT
    found = await asyncio.gather(
        *(one.join("n", looked_at=CLOCK.now(), has_sent=lambda: False) for one in processes)
    )
    assert sum(isinstance(one, Lead) for one in found) == 1
    await here.beat()
    assert len(files(tmp_path)) == 1, "the file of the dead is gone, the new leader's is not"


async def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path, here: SqliteFlights) -> None:
    with leading(tmp_path) as process:
        await here.beat()
        assert len(files(tmp_path)) == 1
        process.kill()
        process.wait()
    await here.beat()
    assert files(tmp_path) == []


async def test_a_follower_that_died_follows_no_more(tmp_path: Path, here: SqliteFlights) -> None:
    led = await leads(here)
    gone = SqliteFlights(tmp_path, CLOCK.now, worker=replace(this_worker(), pid=2**22 + 1))
    await follows(gone)
    assert not await led.followed()
    await gone.aclose()


async def test_a_leader_that_could_not_say_the_end_is_believed_by_those_who_have_it_all(
    here: SqliteFlights, there: SqliteFlights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    led = await leads(here)
    following = await follows(there)
    await led.write(b"all")
    monkeypatch.setattr(led.file, "end", full)
    assert await led.land(Stored())
    assert await heard(following) == [b"all", Stored()]


# Files that go


async def test_when_its_file_vanishes_followers_read_on_and_newcomers_go_alone(
    tmp_path: Path, here: SqliteFlights, there: SqliteFlights
) -> None:
    led = await leads(here)
    following = await follows(there)
    for name in files(tmp_path):
        (tmp_path / FOLDER / name).unlink()
    assert await board(there) is Entrance.ALONE
    await led.write(b"all")
    assert await led.land(Stored())
    assert await heard(following) == [b"all", Stored()]


async def test_a_leader_whose_file_has_vanished_leads_no_more_from_the_next_beat_on(
    tmp_path: Path, here: SqliteFlights, there: SqliteFlights
) -> None:
    led = await leads(here)
    for name in files(tmp_path):
        (tmp_path / FOLDER / name).unlink()
    await here.beat()
    assert not await led.leads()
    await leads(there)


async def test_when_the_database_is_removed_nobody_lands_and_everybody_goes_on(
    tmp_path: Path, here: SqliteFlights, there: SqliteFlights
) -> None:
    led = await leads(here)
    following = await follows(there)
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"{FILE}{suffix}").unlink()
    assert not await led.land(Stored())
    assert await heard(following) == [Lost()]
    await leads(there)


async def test_files_are_removed_when_nobody_needs_them_any_more(
    tmp_path: Path, here: SqliteFlights, there: SqliteFlights
) -> None:
    led = await leads(here)
    following = await follows(there)
    await led.began(200, ())
    await led.land(Stored())
    assert len(files(tmp_path)) == 1, "somebody may be about to open it"
    await here.beat()
    assert files(tmp_path) == []
    assert await heard(following) == [Began(200, ()), Stored()], "who has opened it reads on"


async def test_rows_are_removed_when_they_say_nothing_any_more(tmp_path: Path) -> None:
    clock = FakeClock()
    here = SqliteFlights(tmp_path, clock.now)
    for name in ("one", "two"):
        found = await here.board(name, looked_at=0.0, hit_for_miss_s=15.0)
        assert isinstance(found, Leads)
        if name == "one":
            await found.flight.land(Stored())
    here._led.clear()  # As if its process had hung.
    clock.seconds += 3600
    await here.beat()
    assert (here.look("one"), here.look("two")) == (None, None)
    await here.aclose()


# Disks that fail


async def test_a_disk_that_fills_up_loses_the_followers_elsewhere_and_nobody_here(
    tmp_path: Path, here: SqliteFlights, there: SqliteFlights, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = flying(here), flying(there)
    upstream, own, other, elsewhere = Upstream(), Client(), Client(), Client(holds=True)
    led = await lead(ours, looked_at=CLOCK.now())
    passage = take_off(led, upstream, Hands())
    listening = [
        asyncio.get_running_loop().create_task(own.listen(passage)),
        await follow(ours, other),
        await follow(theirs, elsewhere),
    ]
    upstream.answers()
    upstream.says(b"one")
    await until(lambda: elsewhere.got == b"one", every_s=0.001)
    write = os.write

    def full(fd: int, data: Any) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, "no space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    upstream.says(b"x" * 2000)
    await listening[2]
    assert isinstance(elsewhere.error, Stranded)
    upstream.says(b"three")
    upstream.ends()
    await asyncio.gather(*listening)
    assert own.got == other.got == b"one" + b"x" * 2000 + b"three"
    assert await led.over() == Stored()
    assert files(tmp_path) == []


async def test_on_a_full_disk_calls_are_shared_within_the_process(tmp_path: Path) -> None:
    with filling_disk("flights-full") as volume:
        shared = SqliteFlights(tmp_path, CLOCK.now, vfs="flights-full")
        volume.is_full = lambda _: True
        with pytest.raises(StoreFailed):
            await board(shared)
        flights, upstream, client = flying(shared), Upstream(), Client()
        led = await lead(flights)
        take_off(led, upstream, Hands())
        listening = await follow(flights, client)
        upstream.answers()
        upstream.says(b"all")
        upstream.ends()
        await listening
        assert (client.got, await led.over()) == (b"all", Stored())
        await shared.beat()
        assert files(tmp_path) == []
        volume.is_full = lambda _: False
        await leads(shared)
        await shared.aclose()


async def test_when_the_disk_fills_up_before_the_landing_followers_have_what_there_is(tmp_path: Path) -> None:
    with filling_disk("flights-late") as volume:
        here = SqliteFlights(tmp_path, CLOCK.now, vfs="flights-late")
        there = SqliteFlights(tmp_path, CLOCK.now)
        led = await leads(here)
        following = await follows(there)
        await led.write(b"all")
        volume.is_full = lambda _: True
        with pytest.raises(StoreFailed):
            await led.land(Stored())
        await led.release()
        volume.is_full = lambda _: False
        assert await heard(following) in ([Lost()], [b"all", Lost()])
        await here.aclose()
        await there.aclose()


class UndoneError(Exception):
    """A transaction that did not take place."""


@pytest.mark.parametrize("first", ["took place", "was undone"])
async def test_what_is_done_again_as_nobody_knows_of_the_first_time_is_done_once(
    here: SqliteFlights, there: SqliteFlights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: str
) -> None:
    run = here._writer.run

    async def again(act: Act[T], *, optional: bool = False) -> T:
        def undone(db: apsw.Connection) -> None:
            act(db)
            raise UndoneError

        if first == "took place":
            await run(act)
        else:
            with suppress(UndoneError):
                await run(undone)
        return await run(act, optional=optional)

    monkeypatch.setattr(here._writer, "run", again)
    led = await leads(here)
    assert len(files(tmp_path)) == 1
    following = await follows(there)
    await led.write(b"all")
    assert await led.land(Stored())
    assert await heard(following) == [b"all", Stored()]
    assert isinstance(await board(here), Leads)


async def test_a_folder_that_cannot_be_made_is_a_store_that_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    flights = SqliteFlights(tmp_path / "file", CLOCK.now)
    with pytest.raises(StoreFailed):
        await board(flights)
    await flights.beat()
    await flights.aclose()
