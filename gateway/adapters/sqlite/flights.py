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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, Literal, TypeVar

import apsw

from gateway.adapters.sqlite.connection import reading, writing
from gateway.adapters.sqlite.flight_files import SUFFIX, FollowFile, LeadFile, remove_left
from gateway.adapters.sqlite.flight_follow import SqliteFollow
from gateway.adapters.sqlite.flight_lead import SqliteLead
from gateway.adapters.sqlite.flight_table import TABLES, Row, row_of
from gateway.adapters.sqlite.writer import Writer
from gateway.adapters.workers import Worker, this_worker
from gateway.core.flight import Entrance, enter
from gateway.core.ledger import micros
from gateway.flow.tasks import spawn
from gateway.ports import LEASE_S, Follows, Leads, StoreFailed

T = TypeVar("T")

FILE: Final = "flights.db"
FOLDER: Final = "flights"


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

    def look(self, name: str) -> Row | None:
        """
        The row of a flight. It may block.

        Raises:
            apsw.Error: it cannot be read.
        """
        with self._reader_lock:
            try:
                if self._reader is None:
                    self._reader = reading(self._file, self._vfs)
                found = row_of(self._reader, name)
            except apsw.Error:
                self._reader = None
                raise
            if found is None:
                self._reader = None  # Another file may lie there by now.
            return found

    def land(self, token: int, file: LeadFile) -> None:
        """A lease is renewed no more, and the file goes with the next beat."""
        if self._led.pop(token, None) is not None:
            self._landed.append(file)

    def give_up(self, token: int) -> None:
        """A lease is renewed no more."""
        self._led.pop(token, None)

    # Coming in

    async def _come(self, boarding: "_Boarding", looked_at: float, hit_for_miss_s: float) -> None:
        now, name = self.now(), boarding.name

        def act(db: apsw.Connection) -> None:
            row = row_of(db, name)
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

    def _lead(self, db: apsw.Connection, name: str, now: float, hit_for_miss_s: float) -> SqliteLead:
        token = int(db.execute("UPDATE fence SET token = token + 1 RETURNING token").get)
        mine = self.worker
        db.execute(
            "INSERT OR REPLACE INTO flight (name, token, worker, host, pid, born, lease) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, token, mine.id, mine.host, mine.pid, mine.born, micros(now + LEASE_S)),
        )
        # Before others see the row: a file that is not there has been removed.
        file = LeadFile(self._path(token, mine.id))
        return SqliteLead(self, name, token, file, hit_for_miss_s)

    def _follow(self, db: apsw.Connection, boarding: "_Boarding", row: Row) -> SqliteFollow | None:
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
        db.execute(f"BEGIN IMMEDIATE; {TABLES} COMMIT")
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
    lead: SqliteLead | None = None
    follow: SqliteFollow | None = None
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
