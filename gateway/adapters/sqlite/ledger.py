"""The `Ledger` port over SQLite."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Self

import apsw

from gateway.adapters.sqlite import acts, schema
from gateway.adapters.sqlite.connection import FILE, UnfitError, guard, reading, writing
from gateway.adapters.sqlite.queries import Reads
from gateway.adapters.sqlite.rows import to_row
from gateway.adapters.sqlite.workers import this_worker
from gateway.adapters.sqlite.writer import Writer
from gateway.core.ledger import OpenCall, Settlement, Verdict
from gateway.core.record import Record

CHECKED_AT_START_BYTES: Final = 256 << 20
"""Up to this size the file is read through at the start; of larger ones only the head."""


class SqliteReader(Reads):
    """
    The `LedgerReader` port: reads a ledger, whether a gateway runs or not.

    Args:
        folder: the one that `store.url` names.
    """

    def __init__(self, folder: Path, *, vfs: str | None = None) -> None:
        super().__init__(folder / FILE, vfs)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """
        A reader of the ledger in this folder.

        Raises:
            UnfitError: there is none, or it cannot be read; the message says what to do.
        """
        file = folder / FILE
        if not file.is_file():
            raise UnfitError(
                f"There is no ledger at {file}: no gateway has kept one there yet. store.url names the folder, "
                "from the working directory unless it begins with four slashes."
            )
        _opened(file, lambda: reading(file), schema.check)
        return cls(folder)


class SqliteLedger(Reads):
    """
    The `Ledger` port over a file that all workers of one machine share.

    Args:
        folder: where the file lies. See `open`, which makes it fit.
        now: reads the clock, epoch seconds.
        vfs: as in `connection.writing`.
    """

    def __init__(self, folder: Path, now: Callable[[], float], *, vfs: str | None = None) -> None:
        super().__init__(folder / FILE, vfs)
        self._now = now
        self._worker = this_worker()
        self._writer = Writer(lambda: writing(self._file, vfs))

    @classmethod
    def open(cls, folder: Path, now: Callable[[], float], *, vfs: str | None = None) -> Self:
        """
        The ledger in this folder, made or brought up to date, and checked.

        Several processes may do so at once.

        Raises:
            UnfitError: it cannot be used; the message says why and what to do.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UnfitError(f"The folder {folder} cannot be made: {error.strerror}.") from error
        guard(folder)
        file = folder / FILE
        _opened(file, lambda: writing(file), _prepare)
        return cls(folder, now, vfs=vfs)

    @property
    def worker(self) -> str:
        """The name of this process."""
        return self._worker.id

    async def begin(self, call: OpenCall) -> None:
        """Note a call that starts."""
        now = self._now()
        await self._writer.run(lambda db: acts.begin(db, call, self._worker, now))

    async def dispatch(self, record_id: str) -> bool:
        """Note that the request goes up."""
        return await self._writer.run(lambda db: acts.dispatch(db, record_id))

    async def entrust(self, record_id: str, response_id: str, deadline: float) -> bool:
        """Note that the call runs in the background."""
        return await self._writer.run(lambda db: acts.entrust(db, record_id, response_id, deadline))

    async def settle(self, record: Record) -> Settlement:
        """Write a call's record and close the call."""
        said: list[Settlement] = []

        def act(db: apsw.Connection) -> Settlement:
            found = acts.settle(db, record)
            # Run again after a commit that failed, it may find what it wrote itself: that is no repetition.
            if said and found.verdict is Verdict.REPEATED and to_row(found.record) == to_row(said[0].record):
                return said[0]
            said[:] = [found]
            return found

        return await self._writer.run(act)

    async def beat(self) -> None:
        """This worker lives."""
        now = self._now()
        await self._writer.run(lambda db: acts.beat(db, self._worker, now))

    async def adopt(self, held: Collection[str] = ()) -> tuple[OpenCall, ...]:
        """Take over the background calls of dead workers."""
        now = self._now()
        return await self._writer.run(lambda db: acts.adopt(db, self._worker, held, now))

    async def reap(self) -> tuple[Record, ...]:
        """Settle as lost what dead workers left."""
        now = self._now()
        reaped: list[Record] = []
        while some := await self._writer.run(lambda db: acts.reap(db, self._worker, now)):
            reaped += [one.record for one in some if one.verdict is Verdict.WRITTEN]
        return tuple(reaped)

    async def prune(self, before: float) -> int:
        """Forget the records that arrived earlier."""
        pruned = 0
        while some := await self._writer.run(lambda db: acts.prune(db, before)):
            pruned += some
        return pruned

    async def ping(self) -> None:
        """Returns if the ledger can be written to."""
        await self._writer.run(lambda db: db.execute("SELECT 1 FROM record LIMIT 1").fetchone())

    async def aclose(self) -> None:
        """Finish what was begun and close the file."""
        await super().aclose()
        await self._writer.aclose()


def _prepare(db: apsw.Connection) -> None:
    schema.migrate(db)
    pages, size = db.pragma("page_count"), db.pragma("page_size")
    if int(pages) * int(size) <= CHECKED_AT_START_BYTES:
        found = db.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            raise UnfitError(
                f"{db.filename} is damaged: {found}. Stop the gateway, keep a copy, and restore the last good backup."
            )


def _opened(
    file: Path, connect: Callable[[], apsw.Connection], check: Callable[[apsw.Connection], None]
) -> None:
    try:
        db = connect()
        try:
            check(db)
        finally:
            db.close()
    except apsw.Error as error:
        raise UnfitError(f"{file} cannot be opened: {type(error).__name__}: {error}.") from error
