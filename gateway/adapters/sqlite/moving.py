"""The ports `LedgerSource` and `LedgerTarget` over SQLite: a whole ledger that is moved."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Final, Self, TypeVar, assert_never

import apsw
import orjson

from gateway.adapters.sqlite import marks, quota, rows, schema, verify
from gateway.adapters.sqlite.connection import FILE, guard, writing
from gateway.adapters.sqlite.ledger import SqliteReader
from gateway.adapters.sqlite.living import alive
from gateway.adapters.workers import this_worker
from gateway.core.idempotency import KeyName, State
from gateway.core.ledger import FIELDS
from gateway.core.limits import Limit
from gateway.core.moving import (
    AT_ONCE,
    Counted,
    Holding,
    Keyed,
    Limited,
    Opened,
    Piece,
    Seated,
    Serving,
    Settled,
    Whole,
)
from gateway.core.quota import Amounts, Tally
from gateway.core.units import NanoUSD
from gateway.core.verify import Broken
from gateway.ports import StoreFailed, UnfitError

T = TypeVar("T")
_TABLES: Final = (
    *("record", "open_call", "tally", "admission", "place", "hold", "scope_limits", "idempotency_key"),
    *("worker", "mark"),
)
_HELD: Final = _TABLES[:-2]
"""Of them those that make a ledger one that holds something."""
_CHECKPOINT_PAGES: Final = 1000
_RECORDS: Final = f"SELECT {rows.COLUMNS}, charged_day, charged_images FROM record ORDER BY at, id"  # noqa: S608 - our own names, no value
_INSERTS: Final = {
    "record": f"({rows.COLUMNS}, charged_day, charged_images) VALUES ({'?, ' * len(FIELDS)}?, ?)",
    "open_call": f"({rows.OPEN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    "tally": "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "admission": "VALUES (?, ?, ?, ?)",
    "place": "VALUES (?, ?)",
    "hold": "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    "scope_limits": "VALUES (?, ?, ?)",
    "idempotency_key": "VALUES (?, ?, ?, ?, ?, ?)",
    "worker": "(id, host, pid, born, beat) VALUES (?, ?, ?, ?, ?)",
    "mark": "VALUES (?, ?)",
}
_Row = tuple[str, tuple[rows.Value, ...]]
"""A table, and what goes into it."""


class SqliteSource(SqliteReader):
    """The `LedgerSource` port. See `open`."""

    name: str | None = None

    async def living(self) -> int:
        """How many workers are alive on it."""
        return await self._read(_living)

    async def pieces(self) -> AsyncIterator[Sequence[Piece]]:
        """All that it holds, in the state that it has now."""
        db = await asyncio.to_thread(self._take)
        try:
            await _done(lambda: db.execute("BEGIN").fetchall())
            found = chain(_all_but_records(db), _settled(db))
            while pieces := await _done(lambda: list(islice(found, AT_ONCE))):
                yield pieces
        finally:
            db.close()


class SqliteTarget:
    """
    The `LedgerTarget` port. See `open`.

    Args:
        db: of a file that is up to date. To be written to by one thread at a time.
    """

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self._token = secrets.randbits(62) | 1
        """Of this filling: whoever begins anew has another one."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """
        A ledger that is to be filled in this folder, made if it is not there.

        Raises:
            UnfitError: it cannot be used; the message says why and what to do.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UnfitError(f"The folder {folder} cannot be made: {error.strerror}.") from error
        guard(folder)
        try:
            db = writing(folder / FILE)
            schema.migrate(db)
        except apsw.Error as error:
            raise UnfitError(f"{folder / FILE} cannot be opened: {type(error).__name__}: {error}.") from error
        db.wal_autocheckpoint(_CHECKPOINT_PAGES)  # nobody else moves the log into the file meanwhile
        return cls(db)

    async def begin(self, limits: Iterable[Limit], *, anew: bool) -> None:
        """Make sure that it holds nothing, and mark it as incomplete."""
        del limits  # all of them fit
        await self._write(lambda db: _begin(db, self._token, anew=anew))

    async def take(self, pieces: Sequence[Piece]) -> None:
        """Keep some pieces."""

        def act(db: apsw.Connection) -> None:
            self._see_that_it_is_ours()
            for piece in pieces:
                for table, values in _rows(piece):
                    db.execute(f"INSERT INTO {table} {_INSERTS[table]}", values)

        await self._write(act)

    async def verify(self) -> tuple[Broken, ...]:
        """What does not add up."""
        return await _done(lambda: verify.verify(self._db))

    async def finish(self) -> None:
        """It is complete."""

        def act(db: apsw.Connection) -> None:
            self._see_that_it_is_ours()
            db.execute("DELETE FROM mark WHERE name = ?", (marks.INCOMPLETE,))

        await self._write(act)

    async def aclose(self) -> None:
        """Close the file."""
        await asyncio.to_thread(self._db.close)

    def _see_that_it_is_ours(self) -> None:
        if marks.mark(self._db, marks.INCOMPLETE) != self._token:
            raise StoreFailed("another migration has begun anew on it", unknown=False)

    async def _write(self, act: Callable[[apsw.Connection], T]) -> T:
        def acted() -> T:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                found = act(self._db)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            return found

        return await _done(acted)


async def _done(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except apsw.Error as error:
        raise StoreFailed(f"{type(error).__name__}: {error}", unknown=False) from error


def _living(db: apsw.Connection) -> int:
    now: float = db.execute("SELECT unixepoch('now', 'subsec')").get
    return len(alive(db, this_worker(), now)) - 1


def _begin(db: apsw.Connection, token: int, *, anew: bool) -> None:
    if marks.mark(db, marks.INCOMPLETE):
        if not anew:
            raise UnfitError(
                f"{db.filename} was left incomplete by a migration. Say --resume to empty it and begin again."
            )
    elif _living(db):
        raise UnfitError(f"A gateway runs on {db.filename}. Stop it, and try again.")
    elif any(db.execute(f"SELECT 1 FROM {table} LIMIT 1").get for table in _HELD):  # noqa: S608 - our own names
        raise UnfitError(
            f"{db.filename} is not empty, and is not overwritten. Name another folder, or move this one away."
        )
    for table in _TABLES:
        db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
    marks.move(db, marks.INCOMPLETE, token)


def _all_but_records(db: apsw.Connection) -> Iterator[Piece]:
    for row in db.execute("SELECT id, host, pid, born, beat FROM worker"):
        yield Serving(*row)
    for scope, limits in quota.changed_limits(db).items():
        yield Limited(scope, limits)
    keys = "SELECT name, at, worker, call, fingerprint, state FROM idempotency_key"
    for name, at_us, worker, call, fingerprint, state in db.execute(keys):
        yield Keyed(KeyName(name), at_us, worker, call, fingerprint, State(state))
    for scope, grain, start, requests, *counts in db.execute(verify.TALLIES):
        used = _amounts(counts[:4], requests)
        yield Counted((scope, grain, start), Tally(used, _amounts(counts[4:])))
    holds = "SELECT id, at, rows, lost, images, image_tokens, tokens, cost_nusd FROM hold"
    for id_, at_us, posted, lost, *counts in db.execute(holds):
        yield Holding(id_, at_us, quota.loads(posted), _amounts(counts), bool(lost))
    for id_, at_us, worker, posted in db.execute("SELECT id, at, worker, rows FROM admission"):
        yield Seated(id_, at_us, worker, quota.loads(posted))
    for row in db.execute(rows.CALLS):
        yield Opened(rows.from_open_row(row))
    yield Whole(marks.mark(db, marks.PRUNED), marks.mark(db, marks.FOLDED))


def _settled(db: apsw.Connection) -> Iterator[Piece]:
    for *columns, day_us, images in db.execute(_RECORDS):
        yield Settled(rows.from_row(tuple(columns)), day_us, images)


def _rows(piece: Piece) -> list[_Row]:
    match piece:
        case Counted(row, tally):
            counts = (tally.used.requests, *quota.counts_of(tally.used), *quota.counts_of(tally.held))
            return [("tally", (*row, *counts))]
        case Limited(scope, limits):
            return [("scope_limits", (scope, orjson.dumps([one.text for one in limits]).decode(), 0))]
        case Serving(id_, host, pid, born, beat_us):
            return [("worker", (id_, host, pid, born, beat_us))]
        case Whole(pruned_us, folded_us):
            known = {marks.PRUNED: pruned_us, marks.FOLDED: folded_us}
            return [("mark", (name, at_us)) for name, at_us in known.items() if at_us]
        case _:
            return _rows_of_call(piece)


def _rows_of_call(piece: Settled | Opened | Holding | Seated | Keyed) -> list[_Row]:
    match piece:
        case Settled(record, day_us, images):
            return [("record", (*rows.to_row(record), day_us, images))]
        case Opened(call):
            return [("open_call", rows.to_open_row(call, call.worker or ""))]
        case Holding(id_, at_us, posted, amounts, is_guess):
            held = (id_, at_us, quota.dumps(posted), *quota.counts_of(amounts), int(is_guess))
            return [("hold", held)]
        case Seated(id_, at_us, worker, posted):
            scopes = dict.fromkeys(scope for scope, _, _ in posted)
            admission = ("admission", (id_, at_us, worker, quota.dumps(posted)))
            return [admission, *(("place", (scope, id_)) for scope in scopes)]
        case Keyed(key, at_us, worker, call_id, fingerprint, state):
            return [("idempotency_key", (key, at_us, worker, call_id, fingerprint, state.value))]
        case _:
            assert_never(piece)


def _amounts(counts: Sequence[int], requests: int = 0) -> Amounts:
    images, image_tokens, tokens, cost = counts
    return Amounts(
        requests=requests, images=images, image_tokens=image_tokens, tokens=tokens, cost_nusd=NanoUSD(cost)
    )
