"""Who leads which flight, and who follows: the tables of flights.db."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import apsw

from gateway.adapters.sqlite.flight_files import LeadFile
from gateway.adapters.workers import Worker, is_gone
from gateway.core.flight import Aloft, Flight, Landed, Lost
from gateway.core.ledger import micros
from gateway.core.tidings import landing_loads

T = TypeVar("T")

TABLES: Final = """
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
class Row:
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
            return Landed(landing_loads(self.landing), self.landed_us / 1e6)
        if micros(now) >= self.lease_us or is_gone(self.leader, host):
            return Landed(Lost(), now)
        return Aloft(self.lease_us / 1e6)


class Home(Protocol):
    """Where the two ends of a flight belong: the process's part in all flights."""

    worker: Worker
    now: Callable[[], float]

    async def run(self, act: Callable[[apsw.Connection], T]) -> T:
        """
        What the act returns, once it is committed.

        Raises:
            StoreFailed: it is not, or nobody knows.
        """
        ...

    def look(self, name: str) -> Row | None:
        """
        The row of a flight. It may block.

        Raises:
            apsw.Error: it cannot be read.
        """
        ...

    def land(self, token: int, file: LeadFile) -> None:
        """A lease is renewed no more, and the file goes with the next beat."""
        ...

    def give_up(self, token: int) -> None:
        """A lease is renewed no more."""
        ...


def row_of(db: apsw.Connection, name: str) -> Row | None:
    """The flight of this name; None: there is none."""
    found = db.execute(f"SELECT {_COLUMNS} FROM flight WHERE name = ?", (name,)).fetchone()  # noqa: S608 - our own
    if found is None:
        return None
    token, worker, host, pid, born, lease, landing, landed, size = found
    return Row(token, Worker(worker, host, pid, born), lease, landing, landed, size)
