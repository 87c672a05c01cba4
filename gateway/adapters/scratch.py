"""
A private folder that several processes share and that is worth nothing once the first of them has ended.

Its maker holds it (flock) as long as it lives, so that what a maker left that was killed is known for what it is.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "metrics-"
_log = logging.getLogger("imagegate.metrics")


class Scratch:
    """
    A folder that is held by this process.

    Args:
        path: of it.
        fd: of its lock.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def made(cls, places: Iterable[Path]) -> "Scratch | None":
        """
        A new folder in the first of the places that can be written to; what others left there that are dead is removed.

        Returns:
            None: none of them can.
        """
        for place in places:
            try:
                _sweep(place)
                path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place)).resolve()
                fd = os.open(path / "made", os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX)
                # Nobody sees it before it is held.
                (path / "made").rename(path / "held")
                return cls(path, fd)
            except OSError as error:
                _log.warning("metrics cannot be kept in %s: %s", place, error)
        return None

    def remove(self) -> None:
        """It is of no use any more."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._fd)


def _sweep(place: Path) -> None:
    for path in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            fd = os.open(path / "held", os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
