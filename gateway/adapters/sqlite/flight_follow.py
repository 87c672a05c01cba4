"""The `FollowedFlight` port over SQLite and files: a file that is looked at, and now and then the leader."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import apsw

from gateway.adapters.sqlite.flight_files import FollowFile
from gateway.adapters.sqlite.flight_table import Home, Row
from gateway.core.flight import Aloft, Landing, Lost
from gateway.ports import Began, StoreFailed

POLL_S: Final = 0.025
LOOK_EVERY: Final = 20
"""Looks into a file that brought nothing between two looks at its leader: half a second."""


class SqliteFollow:
    """The `FollowedFlight` port: a file that is looked at, and now and then the leader."""

    def __init__(self, flights: Home, name: str, row: Row, number: int, file: FollowFile) -> None:
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
