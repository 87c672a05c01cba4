"""
The reads of the ledger, over connections that cannot write, in threads.

A page is a short read of its own: whoever reads millions of records slowly holds no snapshot open, which would keep the
write-ahead log from shrinking.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
import orjson

from gateway.adapters.sqlite import quota, rows, schema, verify
from gateway.adapters.sqlite.connection import reading
from gateway.core.ledger import (
    COUNTS,
    DAY,
    GROUPS,
    SUMS,
    TAG,
    Day,
    LedgerFilter,
    OpenCall,
    Page,
    Place,
    UsageRow,
    micros,
    place_of,
    seconds,
)
from gateway.core.limits import Limit
from gateway.core.quota import Claimant, Reading
from gateway.core.record import Record
from gateway.core.verify import Broken
from gateway.core.windows import Frames
from gateway.ports import StoreFailed

T = TypeVar("T")
EXPORTED_AT_ONCE: Final = 500
SUMMED_AT_ONCE: Final = 500
_IDLE: Final = 4
"""Connections kept open while nobody reads."""

_OPEN_CALLS: Final = f"{rows.CALLS} WHERE :worker IS NULL OR worker = :worker ORDER BY at, id"
_TALLY: Final = ", ".join(
    [
        "count(*)",
        "coalesce(sum(cache = 'hit'), 0)",
        *(f"coalesce(sum({field}), 0)" for field in SUMS.values()),
    ]
)
_TALLIED: Final = ("requests", "hits", *SUMS)
assert set(_TALLIED) == {*COUNTS, "cost_nusd", "saved_nusd"}, "every figure of a row is summed"  # noqa: S101 - house


class Reads:
    """
    The reading half of the Ledger port.

    Args:
        file: the database.
        vfs: as in `connection.reading`.
    """

    def __init__(self, file: Path, vfs: str | None = None) -> None:
        self._file = file
        self._vfs = vfs
        self._idle: list[apsw.Connection] = []

    async def record(self, record_id: str) -> Record | None:
        """The record with this id."""
        return await self._read(lambda db: _record(db, f"{rows.RECORDS} WHERE id = ?", record_id))

    async def response(self, response_id: str) -> Record | OpenCall | None:
        """What pays for this response."""
        return await self._read(lambda db: _response(db, response_id))

    async def open_calls(self, worker: str | None = None) -> tuple[OpenCall, ...]:
        """The calls that have no record yet, oldest first."""
        found = await self._read(lambda db: db.execute(_OPEN_CALLS, {"worker": worker}).fetchall())
        return tuple(rows.from_open_row(row) for row in found)

    async def open_count(self) -> int:
        """How many calls have no record yet."""
        return int(await self._read(lambda db: db.execute("SELECT count(*) FROM open_call").get))

    async def page(self, asked: LedgerFilter, after: Place | None = None, limit: int = 100) -> Page:
        """Up to `limit` records beyond a place, newest first."""
        return await self._read(lambda db: _page(db, asked, after, limit))

    async def export(self, asked: LedgerFilter) -> AsyncIterator[Record]:
        """All of them, newest first."""
        after: Place | None = None
        while True:
            page = await self.page(asked, after, EXPORTED_AT_ONCE)
            for record in page.records:
                yield record
            if page.next_cursor is None:
                return
            after = place_of(page.records[-1])

    async def span(
        self, since: float | None = None, until: float | None = None
    ) -> tuple[float, float] | None:
        """Arrival of the oldest and of the newest."""
        where, values = _conditions(LedgerFilter(since=since, until=until))
        statement = f"SELECT (SELECT min(at) FROM record{where}), (SELECT max(at) FROM record{where})"  # noqa: S608 - our own names and conditions, no value
        edges: rows.Row = (await self._read(lambda db: db.execute(statement, values).fetchall()))[0]
        oldest, newest = edges
        return None if oldest is None else (seconds(oldest), seconds(newest))

    async def usage(
        self,
        by: Sequence[str],
        since: float | None = None,
        until: float | None = None,
        days: Sequence[Day] = (),
    ) -> AsyncIterator[UsageRow]:
        """Sums by group."""
        statement, values = _usage(by, LedgerFilter(since=since, until=until), days)
        db = await asyncio.to_thread(self._take)
        try:
            found = await _asked(lambda: db.execute(statement, values))
            while batch := await _asked(lambda: list(islice(found, SUMMED_AT_ONCE))):
                for row in batch:
                    yield _usage_row(row, len(by))
        finally:
            # Closed, not kept: whoever stopped half-way left a statement in it, and whoever was cancelled a thread that
            # still counts. It ends here; if it has not let go yet, the connection closes when it does.
            db.interrupt()
            with suppress(apsw.Error):
                await asyncio.to_thread(db.close, True)  # noqa: FBT003 - apsw's own: raise nothing

    async def limits(self, claimants: Sequence[Claimant], frames: Frames, at: float) -> tuple[Reading, ...]:
        """How the limits of these scopes stand."""
        return await self._read(lambda db: _limits(db, claimants, frames, micros(at)))

    async def changed_limits(self) -> Mapping[str, tuple[Limit, ...]]:
        """The limits that were set while running."""
        return await self._read(quota.changed_limits)

    async def verify(self) -> tuple[Broken, ...]:
        """What does not add up."""
        return await self._read(verify.verify)

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            await asyncio.to_thread(self._idle.pop().close)

    async def _read(self, query: Callable[[apsw.Connection], T]) -> T:
        return await asyncio.to_thread(self._read_here, query)

    def _read_here(self, query: Callable[[apsw.Connection], T]) -> T:
        db = self._take()
        try:
            answer = query(db)
        except BaseException as error:
            db.close(True)  # noqa: FBT003 - apsw's own: raise nothing
            if isinstance(error, apsw.Error):
                raise _failed(error) from error
            raise
        if len(self._idle) < _IDLE:
            self._idle.append(db)
        else:
            db.close()
        return answer

    def _take(self) -> apsw.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            pass
        try:
            db = reading(self._file, self._vfs)
            schema.check(db)
        except apsw.Error as error:
            raise _failed(error) from error
        return db


async def _asked(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except apsw.Error as error:
        raise _failed(error) from error


def _failed(error: apsw.Error) -> StoreFailed:
    return StoreFailed(f"{type(error).__name__}: {error}", unknown=False)


def _record(db: apsw.Connection, statement: str, value: str) -> Record | None:
    row = db.execute(statement, (value,)).fetchone()
    return None if row is None else rows.from_row(row)


def _response(db: apsw.Connection, response_id: str) -> Record | OpenCall | None:
    with db:  # one state of the ledger for both questions
        record = _record(db, rows.PAYING, response_id)
        row = db.execute(rows.CALLED_FOR, (response_id,)).fetchone()
    return record or (None if row is None else rows.from_open_row(row))


def _limits(
    db: apsw.Connection, claimants: Sequence[Claimant], frames: Frames, at_us: int
) -> tuple[Reading, ...]:
    db.execute("BEGIN")  # one state of the ledger for all of them
    try:
        return quota.read(db, quota.in_force(db, claimants), frames.at(at_us), at_us)
    finally:
        db.execute("ROLLBACK")


def _page(db: apsw.Connection, asked: LedgerFilter, after: Place | None, limit: int) -> Page:
    where, values = _conditions(asked, after)
    statement = f"{rows.RECORDS}{where} ORDER BY at DESC, id DESC LIMIT {limit + 1:d}"
    found = [rows.from_row(row) for row in db.execute(statement, values)]
    shown = tuple(found[:limit])
    return Page(shown, place_of(shown[-1]).cursor() if len(found) > limit else None)


def _conditions(asked: LedgerFilter, after: Place | None = None) -> tuple[str, dict[str, Any]]:
    """` WHERE …` with names for the values, and the values. Any: what SQLite takes."""
    parts = {
        "team = :team": asked.team,
        "key = :key": asked.key,
        "model = :model": asked.model,
        "outcome = :outcome": None if asked.outcome is None else asked.outcome.value,
        "at >= :since": None if asked.since is None else micros(asked.since),
        "at < :until": None if asked.until is None else micros(asked.until),
        "(at, id) < (:after_at, :after_id)": None if after is None else after.at_us,
    }
    given = {part: value for part, value in parts.items() if value is not None}
    values: dict[str, Any] = {
        part.partition(":")[2].partition(",")[0]: value for part, value in given.items()
    }
    if after is not None:
        values["after_id"] = after.id
    return (" WHERE " + " AND ".join(given) if given else ""), values


def _usage(by: Sequence[str], asked: LedgerFilter, days: Sequence[Day]) -> tuple[str, dict[str, Any]]:
    where, values = _conditions(asked)
    source = "record"
    groups = []
    for number, name in enumerate(by):
        if name == DAY:
            # Each day reads its piece of the index on `at`.
            source = (
                "(SELECT value ->> 0 AS name, value ->> 1 AS first, value ->> 2 AS stop FROM json_each(:days)) AS day "
                "CROSS JOIN record ON at >= day.first AND at < day.stop"
            )
            bounds = [[day.name, micros(day.start), micros(day.end)] for day in days]
            values["days"] = orjson.dumps(bounds).decode()
            groups.append("day.name")
        elif name in GROUPS:
            groups.append(name)
        else:
            values[f"tag{number}"] = name.removeprefix(TAG)
            # The last of several with one name, as a dictionary has it.
            groups.append(
                f"(SELECT value ->> 1 FROM json_each(tags) WHERE value ->> 0 = :tag{number} ORDER BY key DESC LIMIT 1)"  # noqa: S608 - our own names and conditions, no value
            )
    columns = ", ".join([*groups, _TALLY])
    numbers = ", ".join(str(number + 1) for number in range(len(groups)))
    ending = f" GROUP BY {numbers} ORDER BY {numbers}" if groups else ""
    return f"SELECT {columns} FROM {source}{where}{ending}", values  # noqa: S608 - our own names and conditions, no value


def _usage_row(row: rows.Row, groups: int) -> UsageRow:
    return UsageRow(group=tuple(row[:groups]), **dict(zip(_TALLIED, row[groups:], strict=True)))
