"""The `Ledger` port over SQLite."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, Self, TypeVar

import apsw

from gateway.adapters.sqlite import acts, schema, verify
from gateway.adapters.sqlite.connection import FILE, guard, reading, writing
from gateway.adapters.sqlite.queries import Reads
from gateway.adapters.sqlite.rows import Row, to_row
from gateway.adapters.sqlite.writer import Writer
from gateway.adapters.workers import Worker, is_gone, this_worker
from gateway.core.call import Call
from gateway.core.ledger import OpenCall, Settlement, Verdict, micros
from gateway.core.limits import Limit
from gateway.core.quota import Claim, Exceeded, Standing
from gateway.core.record import Record
from gateway.core.verify import Broken
from gateway.ports import DEAD_AFTER_S, StoreFailed, UnfitError

T = TypeVar("T")

PARDON_S: Final = 10.0
"""What others have to say that they live, after a time in which nobody could: two beats."""
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

    The clock is read when an act runs, not when it is asked for: it may have waited long for the lock.

    Args:
        folder: where the file lies. See `open`, which makes it fit.
        now: reads the clock of the store, epoch seconds. None: SQLite's own, whatever the clock of this process says.
        vfs: as in `connection.writing`.
    """

    def __init__(
        self, folder: Path, now: Callable[[], float] | None = None, *, vfs: str | None = None
    ) -> None:
        super().__init__(folder / FILE, vfs)
        self._now = now
        self._worker = this_worker()
        self._inode = 0
        self._writer = Writer(self._connect, self._is_there)

    @classmethod
    def open(
        cls,
        folder: Path,
        now: Callable[[], float] | None = None,
        *,
        vfs: str | None = None,
        make: bool = True,
    ) -> Self:
        """
        The ledger in this folder, made or brought up to date, and checked.

        Several processes may do so at once.

        Args:
            folder: where it lies or will lie.
            now: as of the class.
            vfs: likewise.
            make: whether it is made if it is not there. A worker that starts later must not: an empty ledger in place
                of one that has gone would give every budget anew.

        Raises:
            UnfitError: it cannot be used; the message says why and what to do.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UnfitError(f"The folder {folder} cannot be made: {error.strerror}.") from error
        guard(folder)
        file = folder / FILE
        if not make and not file.is_file():
            raise UnfitError(f"{file} has gone. Put it back, or stop the gateway and start it anew.")
        _opened(file, lambda: writing(file), _prepare)
        return cls(folder, now, vfs=vfs)

    @property
    def worker(self) -> str:
        """The name of this process."""
        return self._worker.id

    async def admit(self, claim: Claim) -> Standing | Exceeded:
        """Let a call in, if its limits do."""
        return await self._run(lambda db: acts.admit(db, claim, self._worker, self._time(db)))

    async def leave(self, call_id: str) -> None:
        """Give back the place of a call."""
        await self._writer.run(lambda db: acts.leave(db, call_id))

    async def reserve(
        self, call: OpenCall, claim: Claim | None = None, *, force: bool = False
    ) -> Standing | Exceeded:
        """Hold what a call may come to, if its limits let it, and note it."""
        return await self._run(
            lambda db: acts.reserve(db, call, claim, self._worker, self._time(db), force=force)
        )

    async def dispatch(self, record_id: str) -> bool:
        """Note that the request goes up."""
        return await self._writer.run(lambda db: acts.dispatch(db, record_id))

    async def entrust(
        self, record_id: str, response_id: str, deadline: float, asked: Call | None, *, leaves: bool = True
    ) -> bool:
        """Note that the call runs in the background, and what was asked."""
        return await self._writer.run(
            lambda db: acts.entrust(db, record_id, response_id, deadline, asked, leaves=leaves)
        )

    async def settle(self, record: Record, images: int = 0) -> Settlement:
        """Write a call's record and close the call."""
        said: list[Settlement] = []

        def act(db: apsw.Connection) -> Settlement:
            found = acts.settle(db, record, images)
            # Run again after a commit that failed, it may find what it wrote itself: that is no repetition.
            if said and found.verdict is Verdict.REPEATED and to_row(found.record) == to_row(said[0].record):
                return said[0]
            said[:] = [found]
            return found

        return await self._writer.run(act)

    async def beat(self, *, pardon: bool = False) -> None:
        """This worker lives, and so may others."""

        def act(db: apsw.Connection) -> None:
            now = self._time(db)
            acts.beat(db, self._worker, now)
            if pardon:
                _pardon(db, self._worker, now)

        await self._writer.run(act)

    async def adopt(self, held: Collection[str] = ()) -> tuple[OpenCall, ...]:
        """Take over the background calls of dead workers."""
        return await self._writer.run(lambda db: acts.adopt(db, self._worker, held, self._time(db)))

    async def reap(self) -> tuple[Record, ...]:
        """Settle as lost what dead workers left."""
        reaped: list[Record] = []
        while some := await self._writer.run(lambda db: acts.reap(db, self._worker, self._time(db))):
            reaped += [one.record for one in some if one.verdict is Verdict.WRITTEN]
        return tuple(reaped)

    async def prune(self, before: float) -> int:
        """Forget the records that arrived earlier."""
        pruned = 0
        while some := await self._writer.run(lambda db: acts.prune(db, before)):
            pruned += some
        await self._writer.run(lambda db: acts.tidy(db, self._time(db)))
        return pruned

    async def set_limits(self, scope: str, limits: Sequence[Limit] | None) -> None:
        """Put limits before those configured."""
        await self._writer.run(lambda db: acts.set_limits(db, scope, limits, self._time(db)))

    async def repair(self) -> tuple[Broken, ...]:
        """Mend what does not add up."""
        mended: dict[Broken, None] = {}

        def act(db: apsw.Connection) -> tuple[Broken, ...]:
            # Run again after a commit that failed, it may find its own work done.
            mended.update(dict.fromkeys(verify.repair(db)))
            return tuple(mended)

        return await self._writer.run(act)

    async def act(self, do: Callable[[apsw.Connection, Worker, float], T]) -> T:
        """
        What an act returns that lies with the ledger, once it is on the disk. It goes on if its caller is cancelled.

        Args:
            do: the act, given the connection, this worker and the time. Repeatable, as all of them.

        Raises:
            StoreFailed: as those of the ledger.
        """
        return await self._writer.run(lambda db: do(db, self._worker, self._time(db)))

    async def ping(self) -> None:
        """Returns if the ledger can be written to."""
        await self._writer.run(
            lambda db: db.execute("SELECT 1 FROM record LIMIT 1").fetchone(), optional=True
        )

    async def aclose(self) -> None:
        """Finish what was begun and close the file."""
        await super().aclose()
        await self._writer.aclose()

    def _time(self, db: apsw.Connection) -> float:
        if self._now is not None:
            return self._now()
        found: float = db.execute("SELECT unixepoch('now', 'subsec')").get
        return found

    def _connect(self) -> apsw.Connection:
        # `open` has made it. A new one in its place would be an empty ledger, and nobody would notice.
        if not self._file.is_file():
            raise apsw.CantOpenError(f"{self._file} has gone")
        db = writing(self._file, self._vfs)
        self._inode = self._file.stat().st_ino
        return db

    def _is_there(self) -> bool:
        """Whether the file that is open still lies in its place: what is written to a removed one is lost."""
        try:
            return self._file.stat().st_ino == self._inode
        except OSError:
            return False

    async def _run(self, act: Callable[[apsw.Connection], T]) -> T:
        try:
            return await self._writer.run(act, optional=True)
        except LookupError as error:  # of core.windows: no calendar for the store's time
            raise StoreFailed(str(error), unknown=False) from error


def _pardon(db: apsw.Connection, asking: Worker, now: float) -> None:
    registered: list[Row] = db.execute("SELECT id, host, pid, born, beat FROM worker").fetchall()
    living = [one for one in (Worker(*row) for row in registered) if not is_gone(one, asking.host)]
    # Once for each silence, and for as long as it takes to beat twice: who restarts again and again keeps no dead alive.
    until = micros(now - DEAD_AFTER_S + PARDON_S)
    db.executemany(
        "UPDATE worker SET beat = ?, pardoned = 1 WHERE id = ? AND beat < ? AND NOT pardoned",
        [(until, one.id, until) for one in living],
    )


def _prepare(db: apsw.Connection) -> None:
    try:
        # Only looked at where nothing is to be done: a gateway starts while nobody can write, and waits for that.
        schema.check(db)
    except UnfitError:
        schema.migrate(db)
    schema.see_that_it_is_whole(db)
    pages, size = db.pragma("page_count"), db.pragma("page_size")
    if int(pages) * int(size) <= CHECKED_AT_START_BYTES:
        found = db.execute("PRAGMA quick_check(1)").get
        if found != "ok":
            raise _damaged(db.filename, str(found))


def _opened(
    file: Path, connect: Callable[[], apsw.Connection], check: Callable[[apsw.Connection], None]
) -> None:
    try:
        db = connect()
        try:
            check(db)
        finally:
            db.close()
    except apsw.CorruptError as error:
        raise _damaged(str(file), str(error)) from error
    except apsw.Error as error:
        raise UnfitError(f"{file} cannot be opened: {type(error).__name__}: {error}.") from error


def _damaged(file: str, found: str) -> UnfitError:
    return UnfitError(
        f"{file} is damaged: {found}. Stop the gateway, keep a copy, and restore the last good backup."
    )
