"""
What the processes of this gateway use, as Linux tells in /proc; elsewhere nothing is told.

CPU time is that of all of them, of those that have ended too: the system adds a child's to its parent's once it has been
waited for (proc(5): cutime, cstime). So it never falls because a worker was killed.
"""

import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Final

from gateway.core import metrics as m
from gateway.core.metrics import Sample

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Stat:
    """Of /proc/PID/stat."""

    cpu_ticks: int
    children_ticks: int
    """Of those that have ended."""
    started_ticks: int
    """After the machine."""
    virtual_bytes: int
    resident_pages: int


class ProcFiles:
    """The `Processes` port: the process that starts the workers, and all that it has started; or this one alone."""

    def __init__(self, proc: Path = _PROC) -> None:
        parent = parent_process()
        self._proc = proc
        self._root = os.getpid() if parent is None or parent.pid is None else parent.pid

    def read(self) -> tuple[Sample, ...]:
        """What they use."""
        try:
            return self._read()
        except (OSError, ValueError, IndexError):  # Another system, or one that shows less.
            return ()

    def _read(self) -> tuple[Sample, ...]:
        root = self._stat(self._root)
        while True:
            stats = [root]
            fds = self._open_fds(self._root)
            for pid in self._children():
                # It may have ended meanwhile.
                with suppress(OSError):
                    stats.append(self._stat(pid))
                    fds += self._open_fds(pid)
            before, root = root, self._stat(self._root)
            # One that ended between the two looks is in neither.
            if root.children_ticks == before.children_ticks:
                break
        hertz, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        cpu = root.children_ticks + sum(one.cpu_ticks for one in stats)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return (
            Sample(m.CPU, (), cpu / hertz),
            Sample(m.RESIDENT, (), sum(one.resident_pages for one in stats) * page),
            Sample(m.VIRTUAL, (), sum(one.virtual_bytes for one in stats)),
            Sample(m.OPEN_FDS, (), fds),
            Sample(m.MAX_FDS, (), soft),
            Sample(m.STARTED, (), self._booted() + root.started_ticks / hertz),
        )

    def _stat(self, pid: int) -> _Stat:
        text = (self._proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        # The name, in brackets, may hold anything; what follows it begins with field 3.
        fields = text.rpartition(")")[2].split()
        return _Stat(
            cpu_ticks=int(fields[11]) + int(fields[12]),
            children_ticks=int(fields[13]) + int(fields[14]),
            started_ticks=int(fields[19]),
            virtual_bytes=int(fields[20]),
            resident_pages=int(fields[21]),
        )

    def _children(self) -> list[int]:
        found: list[int] = []
        for task in (self._proc / str(self._root) / "task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text(encoding="ascii").split())
        return found

    def _open_fds(self, pid: int) -> int:
        return sum(1 for _ in (self._proc / str(pid) / "fd").iterdir())

    def _booted(self) -> int:
        for line in (self._proc / "stat").read_text(encoding="ascii").splitlines():
            if line.startswith("btime "):
                return int(line.split()[1])
        raise ValueError("no btime in /proc/stat")
