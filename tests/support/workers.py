"""The worker processes of a gateway that runs several, as the system's table of processes tells."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.support.process import Running


def workers_of(gateway: Running) -> list[int]:
    """Their process numbers, those that have ended left out; the process that starts them is none of them."""
    parent = gateway.process.pid
    try:
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    return [int(one) for one in children if _is_worker(int(one))]


def _is_worker(pid: int) -> bool:
    try:
        # Python's own helper, which looks after shared resources, is a child too.
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def sockets_of(pid: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += descriptor.readlink().name.startswith("socket:")
    return found


def has_connection_to(pid: int, port: int) -> bool:
    """Whether a process has an established TCP connection to this port of 127.0.0.1 (proc_net(5), proc_pid_fd(5))."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, _, remote, state, *rest = line.split()
        if state == "01" and int(remote.partition(":")[2], 16) == port:
            inodes.add(f"socket:[{rest[5]}]")
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            if descriptor.readlink().name in inodes:
                return True
    return False


def kill_all(gateway: Running) -> None:
    """`kill -9` of a gateway with all its workers, so that none is left to serve on its own."""
    gateway.process.send_signal(signal.SIGSTOP)  # so that it starts no other one meanwhile
    tell(workers_of(gateway), signal.SIGKILL)
    gateway.process.kill()
    gateway.process.wait()


def tell(pids: Iterable[int], what: signal.Signals) -> None:
    """Send a signal to each that is still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, what)
