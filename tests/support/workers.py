"""The worker processes of a gateway that runs several, as the system's table of processes tells."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx2

from tests.support.process import Running
from tests.support.waiting import until

PATIENCE_S = 60.0


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


def leads_a_flight(pid: int) -> bool:
    """Whether a process writes what an upstream answers to a file of flights (proc_pid_fd(5), proc_pid_fdinfo(5))."""
    folder = Path(f"/proc/{pid}/fd")
    for descriptor in folder.iterdir():
        with suppress(OSError):
            if descriptor.readlink().parent.name != "flights":
                continue
            flags = (
                (folder.parent / "fdinfo" / descriptor.name)
                .read_text(encoding="ascii")
                .partition("flags:")[2]
            )
            if int(flags.split()[0], 8) & os.O_APPEND:
                return True
    return False


@asynccontextmanager
async def callers_of(gateway: Running, each: int) -> AsyncIterator[list[httpx2.AsyncClient]]:
    """
    Clients with a connection each, so many to every worker.

    Left to itself the system may give all connections to one of them: the others stand still while they are made.
    """
    workers = workers_of(gateway)
    limits = httpx2.Limits(max_connections=1, keepalive_expiry=PATIENCE_S)
    async with AsyncExitStack() as stack:
        found: list[httpx2.AsyncClient] = []
        for worker in workers:
            others = [one for one in workers if one != worker]
            tell(others, signal.SIGSTOP)
            try:
                # One that is still about to stop might take a connection, and answer nobody.
                await until(partial(all_stand_still, others), every_s=0.001)
                mine = [
                    await stack.enter_async_context(
                        httpx2.AsyncClient(timeout=PATIENCE_S, limits=limits, trust_env=False)
                    )
                    for _ in range(each)
                ]
                await asyncio.gather(*(one.get(f"{gateway.url}/livez") for one in mine))
            finally:
                tell(others, signal.SIGCONT)
            found += mine
        yield found


def all_stand_still(pids: Iterable[int]) -> bool:
    return all(map(stands_still, pids))


def stands_still(pid: int) -> bool:
    """Whether a process was stopped, or has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"T", "Z", "X"}
    except FileNotFoundError:
        return True


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
