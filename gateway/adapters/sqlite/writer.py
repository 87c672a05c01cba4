"""
The one thread of this process that writes to the file.

Who wants something written hands an act over and waits for its answer. The thread takes all that have come together,
runs them in one transaction, each behind a savepoint of its own, and answers when the one COMMIT has reached the disk:
a hundred acts cost one wait for it. An act that raises is undone alone.

A COMMIT that failed may have taken place. So the connection is opened anew and the same acts run once more: they are
repeatable by id, find what they did if they did, and their answers are the truth. What the failed one left in the
write-ahead log is first copied into the database file and synced there: after a failed fsync a system may call pages
clean that never reached the disk, so a second fsync of the same pages proves nothing. If all that fails too, the answer
is that nobody knows.

While the store is down every transaction costs its patience, and what has come meanwhile is the next one: so nothing
piles up but what came in the last seconds. Of that, what nobody waits for any more is not done, where its caller said
that it need not be: a call that was refused must not take its place later.

It closes when it is told to, and opens again when something comes later: a settlement always lands.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import apsw

from gateway.ports import StoreFailed

T = TypeVar("T")
Act = Callable[[apsw.Connection], T]

TOGETHER: Final = 512
"""Acts in one transaction at most: other processes wait for its lock."""
ATTEMPTS: Final = 3
CHECKPOINT_PAGES: Final = 1000
"""Pages in the WAL from which it is moved into the file when nobody waits (SQLite's own figure)."""
CHECKPOINT_PAGES_BUSY: Final = 8000
"""And when somebody does: 32 MB."""

_log = logging.getLogger("imagegate.store")
# An act's own fault, or a bug in it; every other error of SQLite is the store's, and concerns the whole transaction.
_FAULTS_OF_ACTS: Final = (
    apsw.ConstraintError,
    apsw.SQLError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.TooBigError,
    apsw.BindingsError,
)


@dataclass(frozen=True, slots=True)
class _Job:
    act: Act[object]
    answer: asyncio.Future[Any]
    """Any: the act's own type, which `run` gives back."""
    loop: asyncio.AbstractEventLoop
    optional: bool


@dataclass(frozen=True, slots=True)
class _Raised:
    error: Exception


class _CommitFailedError(Exception):
    """The transaction may have taken place."""


class Writer:
    """
    Runs acts in transactions.

    Args:
        connect: opens a connection that can write; called in the thread, and again after a failure.
        is_there: whether what it opened is still in its place; if not, it is opened again before the next transaction.
    """

    def __init__(
        self, connect: Callable[[], apsw.Connection], is_there: Callable[[], bool] = lambda: True
    ) -> None:
        self._connect = connect
        self._is_there = is_there
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._db: apsw.Connection | None = None
        self._wal_pages = 0
        self._in_doubt = False

    async def run(self, act: Act[T], *, optional: bool = False) -> T:
        """
        What the act returns, once it is on the disk. It goes on if its caller is cancelled.

        Args:
            act: to be done.
            optional: not, if its caller has been cancelled before it began.

        Raises:
            StoreFailed: the store's doing.
            Exception: what the act raised; it was undone.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(act, answer, loop, optional))
        if self._thread is None:
            self._start()
        return await answer

    async def aclose(self) -> None:
        """Do what has come so far, then close."""
        thread = self._thread
        if thread is None:
            return
        self._jobs.put(None)
        await asyncio.to_thread(thread.join)
        if self._thread is thread:
            self._thread = None
            if not self._jobs.empty():
                self._start()

    def _start(self) -> None:
        # A daemon: a process that ends without closing does not wait for it, and loses nothing that was answered.
        self._thread = threading.Thread(target=self._work, name="sqlite writer", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        going = True
        while going:
            jobs, going = self._next()
            if jobs:
                answers = self._answers(jobs)
                for job, answer in zip(jobs, answers, strict=True):
                    _tell(job, answer)
                self._checkpoint()
        self._forget()

    def _next(self) -> tuple[list[_Job], bool]:
        """What has come, waiting for the first; and whether to go on."""
        jobs: list[_Job] = []
        first = self._jobs.get()
        while first is not None:
            jobs.append(first)
            if len(jobs) == TOGETHER:
                return jobs, True
            try:
                first = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _answers(self, jobs: Sequence[_Job]) -> Sequence[object]:
        unknown = False
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                return self._transaction(jobs)
            except _CommitFailedError as error:
                unknown = self._in_doubt = True
                reason = f"COMMIT: {error.__cause__}"
                _log.warning("a commit failed, its %d writes are done again: %s", len(jobs), error.__cause__)
            except Exception as error:  # noqa: BLE001 - the thread must not end: everybody would wait for ever
                reason = f"{type(error).__name__}: {error}"
                if isinstance(error, apsw.BusyError):
                    reason += " (another process holds the lock)"
                    break
            self._forget()
        # Each caller is told, and tells: here it would be said every few seconds as long as the store is down.
        _log.debug("%d writes failed: %s", len(jobs), reason)
        return [_Raised(StoreFailed(reason, unknown=unknown)) for _ in jobs]

    def _transaction(self, jobs: Sequence[_Job]) -> Sequence[object]:
        db = self._open()
        db.execute("BEGIN IMMEDIATE")
        try:
            answers = [_behind_savepoint(db, job) for job in jobs]
        except Exception:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        try:
            db.execute("COMMIT")
        except apsw.Error as error:
            raise _CommitFailedError from error
        return answers

    def _open(self) -> apsw.Connection:
        if self._db is not None and not self._is_there():
            self._forget()
        if self._db is None:
            self._db = self._connect()
            self._db.set_wal_hook(self._committed)
        if self._in_doubt:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)
            self._in_doubt = False
        return self._db

    def _committed(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        enough = CHECKPOINT_PAGES if self._jobs.empty() else CHECKPOINT_PAGES_BUSY
        if self._wal_pages < enough or self._db is None:
            return
        self._wal_pages = 0
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            return  # another process is about it
        except apsw.Error as error:
            # Nothing is lost: it all still lies in the WAL.
            _log.warning("the write-ahead log could not be moved into its file: %s", error)

    def _forget(self) -> None:
        db, self._db, self._wal_pages = self._db, None, 0
        if db is not None:
            try:
                db.close(True)  # noqa: FBT003 - apsw's own: raise nothing
            except apsw.Error as error:
                _log.warning("a database could not be closed: %s", error)


def _behind_savepoint(db: apsw.Connection, job: _Job) -> object:
    # Asked once the lock is there: that may have taken seconds. After a commit that failed it is asked again: what was
    # done before is found undone then, or stays.
    if job.optional and job.answer.cancelled():
        return None
    db.execute("SAVEPOINT act")
    answer: object
    try:
        answer = job.act(db)
    except Exception as error:
        if isinstance(error, apsw.Error) and not isinstance(error, _FAULTS_OF_ACTS):
            raise
        db.execute("ROLLBACK TO act")
        answer = _Raised(error)
    db.execute("RELEASE act")
    return answer


def _tell(job: _Job, answer: object) -> None:
    try:
        job.loop.call_soon_threadsafe(_resolve, job.answer, answer)
    except RuntimeError:
        _log.debug("the loop that asked has ended")


def _resolve(future: asyncio.Future[object], answer: object) -> None:
    if future.done():  # cancelled: nobody waits
        return
    if isinstance(answer, _Raised):
        future.set_exception(answer.error)
    else:
        future.set_result(answer)
