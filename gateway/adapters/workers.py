"""
Which processes are alive.

A worker beats; one that is silent for too long is dead. On the same machine we know sooner: its process is gone. A
process number alone can belong to somebody else by now, so the time of its start goes with it, and the machine is told
by its boot and its table of processes: two containers have a number 1 each.
"""

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from gateway.core.ledger import micros
from gateway.ports import DEAD_AFTER_S


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that serves, as it registered itself."""

    id: str
    host: str
    pid: int
    born: int
    """When it started, in clock ticks since the machine did; 0: not known here."""
    beat_us: int = 0
    """Epoch microseconds of its last beat."""


def this_worker() -> Worker:
    """This process."""
    return Worker(uuid.uuid4().hex, _host(), os.getpid(), _born(os.getpid()) or 0)


def is_dead(worker: Worker, now: float, host: str) -> bool:
    """
    Whether it is silent, or gone.

    Args:
        worker: as it registered itself.
        now: epoch seconds.
        host: of whoever asks; only there the process itself can be looked for.
    """
    if worker.beat_us < micros(now - DEAD_AFTER_S):
        return True
    return is_gone(worker, host)


def is_gone(worker: Worker, host: str) -> bool:
    """Whether its process is known to have ended. Arguments as of `is_dead`."""
    if worker.host != host:
        return False
    if worker.born:
        return _born(worker.pid) != worker.born
    if os.name != "posix":  # elsewhere signal 0 is not a question
        return False
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> int | None:
    """None: there is no such process, it is a zombie, or this system does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # proc_pid_stat(5): the name, the second field, may have spaces and parentheses; 3 is the state, 22 the start.
    state, *rest = stat.rpartition(b")")[2].split()
    return None if state in b"ZX" else int(rest[18])
