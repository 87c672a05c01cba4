"""The `LeadingFlight` port over SQLite and files: a row and a file."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import apsw

from gateway.adapters.sqlite.flight_files import LeadFile
from gateway.adapters.sqlite.flight_table import Home, row_of
from gateway.adapters.workers import Worker, is_gone
from gateway.core.flight import Landing, Stored, marker_s
from gateway.core.headers import Header
from gateway.core.ledger import micros
from gateway.core.tidings import landing_dumps
from gateway.ports import LEASE_S, StoreFailed

LINGER_S: Final = 30.0
"""For so long a row says that an answer was kept: for those who had looked just before."""


class SqliteLead:
    """The `LeadingFlight` port: a row and a file."""

    def __init__(self, flights: Home, name: str, token: int, file: LeadFile, hit_for_miss_s: float) -> None:
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
        now, said = self._flights.now(), landing_dumps(landing).decode()
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
        self._flights.land(self.token, self.file)
        return True

    async def release(self) -> None:
        """Lead no more."""
        if self._is_over:
            return
        self._is_over = True
        self._flights.give_up(self.token)
        with suppress(OSError):
            await asyncio.to_thread(self.file.give_up)
        with suppress(StoreFailed):
            await self._flights.run(
                lambda db: db.execute(
                    "DELETE FROM flight WHERE name = ? AND token = ?", (self._name, self.token)
                ).fetchall()
            )

    def _is_ours(self, db: apsw.Connection) -> bool:
        row = row_of(db, self._name)
        return row is not None and row.token == self.token

    async def _write(self, act: Callable[[], None]) -> None:
        if self._is_over:
            return
        try:
            await asyncio.to_thread(act)
        except OSError as error:
            raise StoreFailed(f"{self.file.path}: {error.strerror}", unknown=False) from error
