"""
The `Flights` port over SQLite and files: for the processes of one machine.

Who leads is a row in flights.db, and what a leader receives is in a file (flight_files.py). So a chunk costs no
transaction, and a follower looks at a file every 25 ms, which is nothing beside a call of ten seconds; nobody looks while
nobody follows. The database may lose its last second with the power, and may be removed at any time: then calls are
shared less, and none fails.

A leader that was taken for dead has lost its row to another token, and cannot land. What it had written until then is
whole: a follower that has all of an answer may finish though its leader died right after.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, Literal, TypeVar

import apsw

from gateway.adapters.sqlite.connection import reading, writing
from gateway.adapters.sqlite.flight_files import SUFFIX, FollowFile, LeadFile, dumps, loads, remove_left
from gateway.adapters.sqlite.workers import Worker, is_gone, this_worker
from gateway.adapters.sqlite.writer import Writer
from gateway.core.flight import Aloft, Entrance, Flight, Landed, Landing, Lost, Stored, enter, marker_s
from gateway.core.headers import Header
from gateway.core.ledger import micros
from gateway.flow.tasks import spawn
from gateway.ports import LEASE_S, Began, Follows, Leads, StoreFailed

T = TypeVar("T")

FILE: Final = "flights.db"
FOLDER: Final = "flights"
POLL_S: Final = 0.025
LOOK_EVERY: Final = 20
"""Looks into a file that brought nothing between two looks at its leader: half a second."""
LINGER_S: Final = 30.0
"""For so long a row says that an answer was kept: for those who had looked just before."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS flight (
    name TEXT PRIMARY KEY NOT NULL,
    token INTEGER NOT NULL,
    worker TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    born INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    landing TEXT,
    landed INTEGER,
    useful_until INTEGER,
    size INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS follower (
    token INTEGER NOT NULL,
    worker TEXT NOT NULL,
    number INTEGER NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    born INTEGER NOT NULL,
    PRIMARY KEY (token, worker, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fence (token INTEGER NOT NULL) STRICT;
INSERT INTO fence SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM fence);
"""
_COLUMNS: Final = "token, worker, host, pid, born, lease, landing, landed, size"


@dataclass(frozen=True, slots=True)
class _Row:
    """A flight, as the database has it."""

    token: int
    leader: Worker
    lease_us: int
    landing: str | None
    landed_us: int | None
    size: int | None

    def seen(self, now: float, host: str) -> Flight:
        """As it is for whoever looks now, from this host."""
        if self.landing is not None and self.landed_us is not None:
            return Landed(loads(self.landing), self.landed_us / 1e6)
        if micros(now) >= self.lease_us or is_gone(self.leader, host):
            return Landed(Lost(), now)
        return Aloft(self.lease_us / 1e6)


class SqliteFlights:
    """
    The `Flights` port over a folder that all workers of one machine share.

    Args:
        folder: where the store lies.
        now: reads the clock of the machine: epoch seconds.
        worker: this process; tests pretend to be another one.
        vfs: as in `connection.writing`.
    """

    def __init__(
        self,
        folder: Path,
        now: Callable[[], float],
        *,
        worker: Worker | None = None,
        vfs: str | None = None,
    ) -> None:
        self.now = now
        self.worker = worker or this_worker()
        self._file = folder / FILE
        self._folder = folder / FOLDER
        self._vfs = vfs
        self._writer = Writer(self._connect, self._is_there)
        self._inode = 0
        self._numbers = count()
        self._reader: apsw.Connection | None = None
        self._reader_lock = threading.Lock()
        self._led: dict[int, SqliteLead] = {}
        self._landed: list[LeadFile] = []
        """Removed at the next beat: somebody may be about to open them."""

    async def board(
        self, name: str, *, looked_at: float, hit_for_miss_s: float
    ) -> Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        """Lead, follow, look again, or go alone."""
        boarding = _Boarding(name, next(self._numbers))
        coming = spawn("board", self._come(boarding, looked_at, hit_for_miss_s))
        try:
            await asyncio.wait([coming])
        except asyncio.CancelledError:
            spawn("board no more", self._disembark(boarding, coming))
            raise
        return boarding.joined()

    async def beat(self) -> None:
        """Renew the leases, and clear away."""
        now, tokens = self.now(), tuple(self._led)
        landed, self._landed = self._landed, []

        def act(db: apsw.Connection) -> None:
            db.executemany(
                "UPDATE flight SET lease = ? WHERE token = ? AND landing IS NULL",
                [(micros(now + LEASE_S), token) for token in tokens],
            )
            db.execute("DELETE FROM flight WHERE useful_until <= ?", (micros(now),))
            # Followers of a dead leader need a while to notice; after that its row is of no use to anybody.
            db.execute("DELETE FROM flight WHERE lease < ? AND landing IS NULL", (micros(now - 4 * LEASE_S),))
            db.execute("DELETE FROM follower WHERE token NOT IN (SELECT token FROM flight)")

        def clear() -> list[SqliteLead]:
            for file in landed:
                file.remove()
            remove_left(self._folder)
            return [lead for lead in tuple(self._led.values()) if not lead.file.path.exists()]

        with suppress(StoreFailed):
            await self.run(act)
        with suppress(OSError):
            for lead in await asyncio.to_thread(clear):
                # Nobody can follow it any more. Who does already has lost nothing yet, but would, with the next leader.
                await lead.release()

    async def ping(self) -> None:
        """Returns if the database can be asked."""
        await self.run(lambda db: db.execute("SELECT 1 FROM flight LIMIT 1").fetchone())

    async def aclose(self) -> None:
        """Release what is led, and close the file."""
        for lead in tuple(self._led.values()):
            await lead.release()
        for file in self._landed:
            with suppress(OSError):
                await asyncio.to_thread(file.remove)
        self._landed.clear()
        await self._writer.aclose()
        with self._reader_lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    # For flights

    async def run(self, act: Callable[[apsw.Connection], T]) -> T:
        """
        What the act returns, once it is committed.

        Raises:
            StoreFailed: it is not, or nobody knows.
        """
        try:
            return await self._writer.run(act)
        except (OSError, apsw.Error) as error:
            raise StoreFailed(f"{type(error).__name__}: {error}", unknown=False) from error

    def look(self, name: str) -> _Row | None:
        """
        The row of a flight. It may block.

        Raises:
            apsw.Error: it cannot be read.
        """
        with self._reader_lock:
            try:
                if self._reader is None:
                    self._reader = reading(self._file, self._vfs)
                found = _row(self._reader, name)
            except apsw.Error:
                self._reader = None
                raise
            if found is None:
                self._reader = None  # Another file may lie there by now.
            return found

    def land(self, lead: "SqliteLead") -> None:
        """Its lease is renewed no more, and its file goes with the next beat."""
        if self._led.pop(lead.token, None) is not None:
            self._landed.append(lead.file)

    def give_up(self, lead: "SqliteLead") -> None:
        """Its lease is renewed no more."""
        self._led.pop(lead.token, None)

    # Coming in

    async def _come(self, boarding: "_Boarding", looked_at: float, hit_for_miss_s: float) -> None:
        now, name = self.now(), boarding.name

        def act(db: apsw.Connection) -> None:
            row = _row(db, name)
            if boarding.lead is not None and row is not None and row.token == boarding.lead.token:
                return  # This is the second time: the first had been committed after all.
            boarding.undo()
            found = None if row is None else row.seen(now, self.worker.host)
            how = enter(found, now=now, looked_at=looked_at, hit_for_miss_s=hit_for_miss_s)
            if how is Entrance.LEAD:
                boarding.lead = self._lead(db, name, now, hit_for_miss_s)
            elif how is Entrance.FOLLOW and row is not None:
                boarding.follow = self._follow(db, boarding, row)
            elif how is Entrance.LOOK_AGAIN:
                boarding.entrance = how

        try:
            await self.run(act)
        except StoreFailed as failed:
            boarding.undo()
            boarding.failed = failed
        if boarding.lead is not None:
            self._led[boarding.lead.token] = boarding.lead

    def _lead(self, db: apsw.Connection, name: str, now: float, hit_for_miss_s: float) -> "SqliteLead":
        token = int(db.execute("UPDATE fence SET token = token + 1 RETURNING token").get)
        mine = self.worker
        db.execute(
            "INSERT OR REPLACE INTO flight (name, token, worker, host, pid, born, lease) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, token, mine.id, mine.host, mine.pid, mine.born, micros(now + LEASE_S)),
        )
        # Before others see the row: a file that is not there has been removed.
        file = LeadFile(self._path(token, mine.id))
        return SqliteLead(self, name, token, file, hit_for_miss_s)

    def _follow(self, db: apsw.Connection, boarding: "_Boarding", row: _Row) -> "SqliteFollow | None":
        try:
            file = FollowFile(self._path(row.token, row.leader.id))
        except OSError:
            return None
        mine, number = self.worker, boarding.number
        db.execute(
            "INSERT OR REPLACE INTO follower (token, worker, number, host, pid, born) VALUES (?, ?, ?, ?, ?, ?)",
            (row.token, mine.id, number, mine.host, mine.pid, mine.born),
        )
        return SqliteFollow(self, boarding.name, row, number, file)

    async def _disembark(self, boarding: "_Boarding", coming: asyncio.Task[object]) -> None:
        await asyncio.wait([coming])
        if boarding.lead is not None:
            await boarding.lead.release()
        if boarding.follow is not None:
            await boarding.follow.leave()

    def _path(self, token: int, worker: str) -> Path:
        return self._folder / f"{worker}-{token}{SUFFIX}"

    def _connect(self) -> apsw.Connection:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        db = writing(self._file, self._vfs)
        db.pragma("synchronous", "NORMAL")
        db.execute(f"BEGIN IMMEDIATE; {_TABLES} COMMIT")
        self._inode = self._file.stat().st_ino
        return db

    def _is_there(self) -> bool:
        try:
            return self._folder.is_dir() and self._file.stat().st_ino == self._inode
        except OSError:
            return False


@dataclass(slots=True)
class _Boarding:
    """Somebody who comes in, and what it gets; by default the advice to go alone."""

    name: str
    number: int
    """Of all that came in here: a follower that comes back is another one."""
    failed: StoreFailed | None = None
    lead: "SqliteLead | None" = None
    follow: "SqliteFollow | None" = None
    entrance: Literal[Entrance.LOOK_AGAIN, Entrance.ALONE] = Entrance.ALONE

    def joined(self) -> Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        if self.failed is not None:
            raise self.failed
        if self.lead is not None:
            return Leads(self.lead)
        return self.entrance if self.follow is None else Follows(self.follow)

    def undo(self) -> None:
        """The transaction in which it was made was undone."""
        if self.lead is not None:
            self.lead.file.remove()
        if self.follow is not None:
            self.follow.file.close()
        self.lead, self.follow, self.entrance = None, None, Entrance.ALONE


class SqliteLead:
    """The `LeadingFlight` port: a row and a file."""

    def __init__(
        self, flights: SqliteFlights, name: str, token: int, file: LeadFile, hit_for_miss_s: float
    ) -> None:
        self.token = token
        self.file = file
        self._flights = flights
        self._name = name
        self._hit_for_miss_s = hit_for_miss_s
        self._is_over = False

    async def began(self, status: int, headers: Sequence[Header]) -> None:
        """The head has come."""
        await self._write(lambda: self.file.began(status, headers))

    async def write(self, piece: bytes) -> None:
        """The next bytes have come."""
        await self._write(lambda: self.file.write(piece))

    async def leads(self) -> bool:
        """Whether the row is still ours."""
        return await self._flights.run(self._is_ours)

    async def followed(self) -> bool:
        """Whether another process follows that lives."""
        mine = self._flights.worker

        def act(db: apsw.Connection) -> list[Worker]:
            rows = db.execute("SELECT worker, host, pid, born FROM follower WHERE token = ?", (self.token,))
            return [Worker(*row) for row in rows]

        found = await self._flights.run(act)
        return any(not is_gone(one, mine.host) for one in found if one.id != mine.id)

    async def land(self, landing: Landing) -> bool:
        """Tell how it ended: the row first, which only its leader can change."""
        if self._is_over:
            return False
        now, said = self._flights.now(), dumps(landing).decode()
        useful_s = LINGER_S if isinstance(landing, Stored) else marker_s(landing, self._hit_for_miss_s)
        # Followers that find no end in the file look at the row, some of them later.
        until = micros(now + max(useful_s, LEASE_S))

        def act(db: apsw.Connection) -> bool:
            db.execute(
                "UPDATE flight SET landing = ?, landed = ?, useful_until = ?, size = ? WHERE name = ? AND token = ? "
                "AND (landing IS NULL OR landing = ?)",
                (said, micros(now), until, self.file.size, self._name, self.token, said),
            )
            return db.changes() > 0

        if not await self._flights.run(act):
            await self.release()
            return False
        self._is_over = True
        with suppress(OSError):  # The row says so, too.
            await asyncio.to_thread(self.file.end, landing)
        self._flights.land(self)
        return True

    async def release(self) -> None:
        """Lead no more."""
        if self._is_over:
            return
        self._is_over = True
        self._flights.give_up(self)
        with suppress(OSError):
            await asyncio.to_thread(self.file.give_up)
        with suppress(StoreFailed):
            await self._flights.run(
                lambda db: db.execute(
                    "DELETE FROM flight WHERE name = ? AND token = ?", (self._name, self.token)
                ).fetchall()
            )

    def _is_ours(self, db: apsw.Connection) -> bool:
        row = _row(db, self._name)
        return row is not None and row.token == self.token

    async def _write(self, act: Callable[[], None]) -> None:
        if self._is_over:
            return
        try:
            await asyncio.to_thread(act)
        except OSError as error:
            raise StoreFailed(f"{self.file.path}: {error.strerror}", unknown=False) from error


class SqliteFollow:
    """The `FollowedFlight` port: a file that is looked at, and now and then the leader."""

    def __init__(self, flights: SqliteFlights, name: str, row: _Row, number: int, file: FollowFile) -> None:
        self.file = file
        self._flights = flights
        self._name = name
        self._row = row
        self._number = number

    async def news(self) -> AsyncIterator[Began | bytes | Landing]:
        """What has come and what comes, until it has landed."""
        quiet, is_sure = 0, False
        while True:
            some = await asyncio.to_thread(self.file.read)
            for one in some:
                yield one
                if not isinstance(one, Began | bytes):
                    return
            landing = None
            if not some and quiet % LOOK_EVERY == 0:
                landing = await asyncio.to_thread(self._look)
            if landing is not None and is_sure:
                yield landing
                return
            # Its leader may have written its last just before it ended: read once more, and look again.
            is_sure = landing is not None
            if some:
                quiet = 0
            elif not is_sure:
                quiet += 1
                await asyncio.sleep(POLL_S)

    async def leave(self) -> None:
        """Follow no more."""
        await asyncio.to_thread(self.file.close)
        with suppress(StoreFailed):
            await self._flights.run(
                lambda db: db.execute(
                    "DELETE FROM follower WHERE token = ? AND worker = ? AND number = ?",
                    (self._row.token, self._flights.worker.id, self._number),
                ).fetchall()
            )

    def _look(self) -> Landing | None:
        """How it ended, as far as the database or the system knows; None: it is aloft."""
        try:
            row = self._flights.look(self._name)
        except apsw.Error:
            row = self._row  # As it was when it was last seen: its lease ends, if nobody can renew it.
        if row is None or row.token != self._row.token:
            return Lost()
        self._row = row
        seen = row.seen(self._flights.now(), self._flights.worker.host)
        if isinstance(seen, Aloft):
            return None
        # A landing whose leader could not write down its end is worth something to those only who have all of it.
        return seen.landing if row.size is None or row.size == self.file.size else Lost()


def _row(db: apsw.Connection, name: str) -> _Row | None:
    found = db.execute(f"SELECT {_COLUMNS} FROM flight WHERE name = ?", (name,)).fetchone()  # noqa: S608 - our own
    if found is None:
        return None
    token, worker, host, pid, born, lease, landing, landed, size = found
    return _Row(token, Worker(worker, host, pid, born), lease, landing, landed, size)
