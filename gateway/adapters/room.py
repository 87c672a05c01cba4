"""The last of a disk belongs to the ledger, which may lie on it too: whatever else is written leaves it."""

import errno
import os
import sys
from typing import Final

LEAST_FREE_BYTES: Final = 64 << 20


def leave_room(fd: int) -> None:
    """
    To be asked before more is written to this file.

    Raises:
        OSError: there is no room for more.
    """
    if sys.platform == "win32":
        return
    disk = os.fstatvfs(fd)
    if disk.f_bavail * disk.f_frsize < LEAST_FREE_BYTES:
        raise OSError(errno.ENOSPC, f"less than {LEAST_FREE_BYTES >> 20} MiB are left")
