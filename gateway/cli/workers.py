"""
Several worker processes on shared sockets, and the process that looks after them.

It serves nothing itself. It starts a worker again that has died or hangs; tells all of them of a new configuration
(SIGHUP); replaces them one after another (SIGUSR1): a new one serves before an old one drains, and the next one's turn
comes when that has ended, so that there is never more than one process too many. What is asked of it meanwhile is done
at once: nothing here waits for a worker.

uvicorn's own supervisor stands still while a worker drains, and takes SIGHUP for a restart.
"""

import logging
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Final

import click
import uvicorn

from gateway.adapters.clock import SystemClock
from gateway.cli import signals
from gateway.cli.configuration import Configuration
from gateway.cli.reload import Reader
from gateway.cli.server import Server
from gateway.orders import Orders

TICK_S: Final = 0.1
ANSWER_S: Final = 5.0
"""A worker that says nothing for so long hangs, and is killed."""
START_S: Final = 60.0
"""How long one may take until it serves."""
RETRY_S: Final = 5.0
"""Between two attempts to start one that does not come up."""
FAILED: Final = 3
"""The exit code where no worker serves and none can be started; uvicorn's own."""

_ASK: Final = b"?"
_HELD: Final = frozenset({signal.SIGINT, *signals.TOLD})
_log = logging.getLogger("imagegate.workers")
_spawn = multiprocessing.get_context("spawn")


@dataclass(eq=False, slots=True)
class _Worker:
    """One worker, as its parent knows it."""

    process: SpawnProcess
    line: connection.Connection
    silent: int = 0
    """Looks since it was asked, or started. Looks and not seconds: a machine that stood still did so for all."""
    is_serving: bool = False
    is_asked: bool = False
    talking: threading.Lock = field(default_factory=threading.Lock)
    """Held while something is written to its line."""

    def tell(self, configuration: Configuration) -> None:
        """Tell it of a configuration. In a thread of its own: one that hangs does not read."""
        threading.Thread(target=self._tell, args=(configuration,), daemon=True).start()

    def _tell(self, configuration: Configuration) -> None:
        with self.talking, suppress(OSError):
            self.line.send((configuration.settings, configuration.catalog))

    def is_well(self) -> bool:
        """Whether it has answered lately. Asks it. To be called at every tick."""
        self.silent += 1
        with suppress(OSError, EOFError):
            while self.line.poll():
                was_serving = self.is_serving
                self.is_serving, self.is_asked = self.line.recv(), False
                if self.is_serving and not was_serving:
                    _log.info("worker %s serves", self.process.pid)
            if not self.is_asked and self._ask():
                self.is_asked = True
                self.silent = 0 if self.is_serving else self.silent
        return self.silent * TICK_S < (ANSWER_S if self.is_serving else START_S)

    def _ask(self) -> bool:
        """Whether it could be asked: where its line is full, or something is on its way to it, it does not read."""
        if not self.talking.acquire(blocking=False):
            return False
        try:
            _, free, _ = select.select([], [self.line], [], 0)
            if free:
                self.line.send(_ASK)
            return bool(free)
        finally:
            self.talking.release()

    def drain(self) -> None:
        """Let it serve what it has begun, and end."""
        if self.process.pid is not None and self.process.exitcode is None:
            os.kill(self.process.pid, signal.SIGTERM)

    def forget(self) -> None:
        """It has ended."""
        self.process.join()
        self.line.close()


class Supervisor:
    """
    Looks after the workers. It takes this process's signals as soon as it is made.

    Args:
        configure: how uvicorn runs a worker by a configuration.
        configuration: the first.
        sockets: the listeners.
        reader: reads the configuration; None: it is not read again, and SIGHUP ends the gateway.
    """

    def __init__(
        self,
        configure: Callable[[Configuration], uvicorn.Config],
        configuration: Configuration,
        sockets: Sequence[socket.socket],
        reader: Reader | None = None,
    ) -> None:
        self._reader = reader
        self._configure = configure
        self._configuration = configuration
        self._sockets = list(sockets)
        self._clock = SystemClock()
        self._heard: list[int] = []
        self._is_over = False
        self._serving: list[_Worker] = []
        self._due: list[_Worker] = []
        """Those of them that are to be replaced, in this order."""
        self._coming: _Worker | None = None
        """Takes the place of the first that is due, once it serves."""
        self._leaving: list[_Worker] = []
        self._start_again_at = 0.0
        # From now on, and not only once the workers are there: who starts it may tell it something at once.
        for one in (signal.SIGINT, signal.SIGTERM, *signals.TOLD):
            signal.signal(one, lambda number, _frame: self._heard.append(number))
        signals.let_through()

    def run(self) -> None:
        """
        Serve until told to stop.

        Raises:
            SystemExit: no worker can be started.
        """
        code = 0
        while not self._is_over:
            code = self._look_after()
            self._replace()
            time.sleep(TICK_S)
            self._obey()
        self._end()
        click.echo("stopped")
        if code:
            sys.exit(code)

    # What it is told

    def _obey(self) -> None:
        heard, self._heard = self._heard, []
        for number in dict.fromkeys(heard):
            if number in {signal.SIGINT, signal.SIGTERM} or self._reader is None:
                self._is_over = True
            elif self._reload() and number == signal.SIGUSR1:
                self._replace_all()

    def _reload(self) -> bool:
        read = None if self._reader is None else self._reader.again()
        if read is None:
            return False
        self._configuration = read
        for worker in (*self._serving, *((self._coming,) if self._coming is not None else ())):
            worker.tell(read)
        return True

    def _replace_all(self) -> None:
        _log.warning("the workers are replaced, one after another")
        if self._coming is not None:
            # It was started by an older configuration.
            self._dismiss(self._coming)
            self._coming = None
        self._due = list(self._serving)

    # What happens by itself

    def _look_after(self) -> int:
        """Start what is missing. Returns an exit code, and ends, if nothing serves and nothing can."""
        now = self._clock.ticks()
        self._leaving = [worker for worker in self._leaving if not _has_ended(worker)]
        for worker in tuple(self._serving):
            if self._is_gone(worker):
                self._serving.remove(worker)
                if worker in self._due:
                    self._due.remove(worker)
                if worker.is_serving or (worker.process.exitcode or 0) < 0:
                    # It was killed: that says nothing of the next one.
                    continue
                if not any(other.is_serving for other in self._serving):
                    _log.error("a worker failed to start, and none serves: the gateway ends")
                    self._is_over = True
                    return FAILED
                _log.error("a worker failed to start; there will be another attempt in %g s", RETRY_S)
                self._start_again_at = now + RETRY_S
        while (
            len(self._serving) < self._configuration.settings.server.workers and now >= self._start_again_at
        ):
            self._serving.append(self._new())
        return 0

    def _replace(self) -> None:
        """The next step of a replacement."""
        worker = self._coming
        if worker is None:
            if self._due and not self._leaving:
                self._coming = self._new()
        elif self._is_gone(worker):
            _log.error("a new worker did not come up: %d workers stay as they are", len(self._due))
            self._coming, self._due = None, []
        elif worker.is_serving:
            self._coming = None
            if not self._due:
                # Whom it was to replace has died, and has been replaced.
                self._dismiss(worker)
                return
            old = self._due.pop(0)
            self._serving[self._serving.index(old)] = worker
            self._dismiss(old)
            if not self._due:
                _log.warning("all workers are replaced; the last one drains")

    @staticmethod
    def _is_gone(worker: _Worker) -> bool:
        """Whether it has ended; one that hangs is ended."""
        if worker.process.exitcode is None and not worker.is_well():
            _log.error("worker %s does not answer, and is killed", worker.process.pid)
            worker.process.kill()
            worker.process.join()
        if worker.process.exitcode is None:
            return False
        _log.error("worker %s ended by itself (%s)", worker.process.pid, worker.process.exitcode)
        worker.forget()
        return True

    def _dismiss(self, worker: _Worker) -> None:
        worker.drain()
        self._leaving.append(worker)

    def _end(self) -> None:
        # The sockets are this process's too: left open, they would take connections that nobody serves any more.
        for sock in self._sockets:
            sock.close()
        for worker in (*self._serving, *((self._coming,) if self._coming is not None else ())):
            self._dismiss(worker)
        self._heard.clear()
        while any(not _has_ended(worker) for worker in self._leaving):
            time.sleep(TICK_S)
            if signal.SIGINT in self._heard:
                # Whoever presses Ctrl-C twice does not want to wait.
                for worker in self._leaving:
                    worker.process.kill()

    def _new(self) -> _Worker:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(
            target=_work, args=(self._configure(self._configuration), self._sockets, theirs), name="worker"
        )
        with _held_back():
            process.start()
        theirs.close()
        return _Worker(process, ours)


def _has_ended(worker: _Worker) -> bool:
    if worker.process.exitcode is None:
        return False
    worker.forget()
    return True


@contextmanager
def _held_back() -> Iterator[None]:
    """
    While inside, signals to this process wait; a process that is started here never sees them, since it inherits that.

    A terminal's Ctrl-C, and the end of a terminal, go to every process: the workers are told by this one.
    """
    if sys.platform == "win32":
        yield
        return
    # Started by the first worker otherwise, and it leaves the signals let through again.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


# In the worker's process


def _work(config: uvicorn.Config, sockets: list[socket.socket], line: connection.Connection) -> None:
    orders = Orders()
    server = Server(config, orders)
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker is started by somebody"  # noqa: S101 - for the type checker
    threading.Thread(target=_end_after, args=(parent.sentinel,), name="parent watch", daemon=True).start()
    threading.Thread(target=_listen, args=(server, line, orders), name="orders", daemon=True).start()
    with suppress(KeyboardInterrupt):
        server.run(sockets)


def _end_after(sentinel: int) -> None:
    """A supervisor that is killed tells nobody: its workers would serve on, and hold the port, with nobody to end them."""
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _listen(server: Server, line: connection.Connection, orders: Orders) -> None:
    with suppress(OSError, EOFError):
        while True:
            told = line.recv()
            if told == _ASK:
                line.send(server.started)
            else:
                orders.reload(*told)
