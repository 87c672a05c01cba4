"""A disk for SQLite that is full when a test says so."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import apsw


class Volume:
    """Decides what becomes of each write."""

    def __init__(self) -> None:
        self.is_full: Callable[[str], bool] = lambda _: False
        """Whether this write finds no room; asked with the name of the file."""
        self.refused = 0


@contextmanager
def filling_disk(name: str) -> Iterator[Volume]:
    """A way to the disk for SQLite, under this name, on which nothing can be written when the test says so."""
    volume = Volume()

    class File(apsw.VFSFile):
        def __init__(self, filename: Any, flags: list[int]) -> None:
            super().__init__("", filename, flags)
            self._name = filename.filename() if isinstance(filename, apsw.URIFilename) else str(filename)

        def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
            if volume.is_full(self._name):
                volume.refused += 1
                raise apsw.FullError("no space left on device")
            super().xWrite(data, offset)

    class System(apsw.VFS):
        def __init__(self) -> None:
            super().__init__(name, "")

        def xOpen(self, filename: Any, flags: list[int]) -> File:  # noqa: N802 - SQLite's name
            return File(filename, flags)

    system = System()
    try:
        yield volume
    finally:
        system.unregister()
