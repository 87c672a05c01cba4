"""
Counting by several processes: each writes numbers into a file of its own, and whoever is asked adds them all up.

    FOLDER/lock            held (flock) by whoever makes a file, or looks through them
    FOLDER/PID-CHANCE.tally  one worker's, mapped into its memory, held (flock) as long as it lives
    FOLDER/dead            what dead workers had counted, and which of their files are in it

A number is written where it stands, so that `kill -9` loses none and no counter ever falls: in one piece, by assigning to a
slice of the map, as `pack_into` clears the place before it writes (whoever looked in between would see a counter at 0).

The file of a dead worker is added to `dead`, which is replaced in one act and names it, and then removed: at no moment it
counts twice or not at all. Gauges of the dead are forgotten.

Nothing here is worth a sync: the folder lives as long as the gateway, best in memory.
"""

import fcntl
import logging
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final

import orjson

from gateway.core.metrics import Count, Kind, Metric
from gateway.ports.metrics import Series

NOW: Final = "now"
"""Which number a gauge is: such are not added to those of the dead."""
SUM: Final = "sum"
_SUFFIX: Final = ".tally"
_ROOM_BYTES: Final = 1 << 16
"""A few hundred numbers; a file grows by doubling."""
_USED: Final = struct.Struct("=q")
_ENTRY: Final = struct.Struct("=qq")
"""The number, the length of its name; the name follows, as JSON, filled up to eight bytes."""
_NUMBER: Final = struct.Struct("=q")
_log = logging.getLogger("imagegate.metrics")


class Tallies:
    """
    The `Counters` port.

    Args:
        folder: of all workers of a gateway. None: there are no others, and the numbers are kept in this process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._values: dict[Series, int] = {}
        self._places: dict[Series, int] = {}
        self._file = None if folder is None else _File.made(folder)

    def take(self, counts: Iterable[Count]) -> None:
        """Count."""
        for metric, labels, amount in counts:
            match metric.kind:
                case Kind.COUNTER:
                    self._add((metric.name, labels, ""), amount)
                case Kind.GAUGE:
                    self._put((metric.name, labels, NOW), amount)
                case Kind.HISTOGRAM:
                    self._add((metric.name, labels, SUM), amount)
                    self._add((metric.name, labels, _bucket(metric, amount)), 1)

    def totals(self) -> Mapping[Series, int]:
        """The sums over all workers."""
        if self._folder is None:
            return dict(self._values)
        with _locked(self._folder):
            return _summed(self._folder)

    def close(self) -> None:
        """Let go of this worker's file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _add(self, series: Series, amount: int) -> None:
        if amount:
            self._put(series, self._values.get(series, 0) + amount)

    def _put(self, series: Series, value: int) -> None:
        self._values[series] = value
        if self._file is None:
            return
        try:
            place = self._places.get(series)
            if place is None:
                self._places[series] = self._file.append(series, value)
            else:
                self._file.write(place, value)
        except (OSError, ValueError) as error:
            # No room. What is counted stays here, and the others do not see what comes from now on.
            _log.exception("metrics of this worker cannot be written any more: %s", error)
            self._file = None


class _File:
    """One worker's numbers."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._size = _ROOM_BYTES
        self._used = _USED.size
        _take_room(fd, 0, self._size)
        self._map = mmap.mmap(fd, self._size)
        self._put(0, self._used)

    @classmethod
    def made(cls, folder: Path) -> "_File | None":
        """A file that is held by this process; None: it cannot be made."""
        try:
            with _locked(folder):
                path = folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX)
                return cls(fd)
        except OSError as error:
            _log.error("metrics of this worker are missing, %s cannot be written to: %s", folder, error)
            return None

    def append(self, series: Series, value: int) -> int:
        """A number more. Returns its place."""
        name = orjson.dumps(series)
        padded = name + b" " * (-len(name) % 8)
        place, after = self._used, self._used + _ENTRY.size + len(padded)
        if after > self._size:
            self._grow(after)
        self._map[place : place + _ENTRY.size] = _ENTRY.pack(value, len(padded))
        self._map[place + _ENTRY.size : after] = padded
        # Last: whoever reads sees all of it or nothing.
        self._used = after
        self._put(0, after)
        return place

    def write(self, place: int, value: int) -> None:
        """The number at a place is another one now."""
        self._put(place, value)

    def close(self) -> None:
        """Let go of it: from now on it is a dead worker's."""
        self._map.close()
        os.close(self._fd)

    def _put(self, place: int, value: int) -> None:
        self._map[place : place + _NUMBER.size] = _NUMBER.pack(value)

    def _grow(self, least: int) -> None:
        size = max(2 * self._size, least)
        _take_room(self._fd, self._size, size)
        self._map.close()
        self._map, self._size = mmap.mmap(self._fd, size), size


def _take_room(fd: int, start: int, end: int) -> None:
    """Now: a page that cannot be had when it is written to through the map would kill the process (SIGBUS)."""
    while start < end:
        start += os.pwrite(fd, bytes(end - start), start)


@cache
def _bucket_names(metric: Metric) -> tuple[str, ...]:
    return tuple(str(number) for number in range(len(metric.buckets) + 1))


def _bucket(metric: Metric, amount: int) -> str:
    names = _bucket_names(metric)
    return names[next((at for at, bound in enumerate(metric.buckets) if amount <= bound), len(names) - 1)]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _summed(folder: Path) -> dict[Series, int]:
    """The sums; what dead workers left is put together on the way."""
    dead, folded = _read_dead(folder)
    sums: dict[Series, int] = {}
    gone: list[Path] = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        if path.name in folded:
            path.unlink()
            continue
        values, is_alive = _read(path)
        if is_alive:
            _add(sums, values)
        else:
            _add(dead, values, only=lambda series: series[2] != NOW)
            gone.append(path)
    if gone:
        _write_dead(folder, dead, gone)
        for path in gone:
            path.unlink()
    _add(sums, dead)
    return sums


def _add(
    sums: dict[Series, int], values: Mapping[Series, int], only: Callable[[Series], bool] = lambda _: True
) -> None:
    for series, value in values.items():
        if only(series):
            sums[series] = sums.get(series, 0) + value


def _read(path: Path) -> tuple[dict[Series, int], bool]:
    """The numbers of a file, and whether its worker lives."""
    fd = os.open(path, os.O_RDONLY)
    try:
        is_alive = False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            is_alive = True
        data = os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
    return dict(_entries(data)), is_alive


def _entries(data: bytes) -> Iterator[tuple[Series, int]]:
    used = _USED.unpack_from(data)[0] if len(data) >= _USED.size else 0
    place = _USED.size
    while place < min(used, len(data)):
        value, length = _ENTRY.unpack_from(data, place)
        name = data[place + _ENTRY.size : place + _ENTRY.size + length]
        yield _series(name), value
        place += _ENTRY.size + length


@cache
def _series(name: bytes) -> Series:
    metric, labels, part = orjson.loads(name)
    return metric, tuple(labels), part


def _read_dead(folder: Path) -> tuple[dict[Series, int], frozenset[str]]:
    with suppress(FileNotFoundError):
        found = orjson.loads((folder / "dead").read_bytes())
        values = {(metric, tuple(labels), part): value for metric, labels, part, value in found["values"]}
        return values, frozenset(found["files"])
    return {}, frozenset()


def _write_dead(folder: Path, values: Mapping[Series, int], files: Iterable[Path]) -> None:
    plain = {
        "files": [path.name for path in files],
        "values": [(*series, value) for series, value in values.items()],
    }
    beside = folder / "dead.new"
    beside.write_bytes(orjson.dumps(plain))
    beside.replace(folder / "dead")
