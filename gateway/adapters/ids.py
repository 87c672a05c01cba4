"""Request ids: `igr_` and a version 7 UUID in hex (RFC 9562 §5.7): sortable by time, unique without coordination."""

import secrets
from collections.abc import Callable


class TimeOrderedIds:
    """
    Makes ids.

    Args:
        now: epoch seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now

    def new(self) -> str:
        """A new id, 36 characters: 48 bits of milliseconds, 74 of chance."""
        milliseconds = int(self._now() * 1000) & ((1 << 48) - 1)
        chance = secrets.randbits(74)
        value = milliseconds << 80 | 0x7 << 76 | (chance >> 62) << 64 | 0b10 << 62 | chance & ((1 << 62) - 1)
        return f"igr_{value:032x}"
