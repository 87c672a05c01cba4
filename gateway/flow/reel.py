"""
The memory of all tapes of a process, and what it does when that is full.

Beyond its capacity tapes let go of what lies in a file; then they close to newcomers, and give up files that do not keep
pace; at last they leave cursors behind that lag behind the fastest.

Not here: what a tape does with its memory (tape.py).
"""

from dataclasses import dataclass, field
from operator import methodcaller
from typing import Final, Protocol

CAPACITY_BYTES: Final = 256 << 20
"""Of a reel: four entries of the largest size that is kept by default."""


class Reeled(Protocol):
    """What a reel asks of a tape."""

    @property
    def held_bytes(self) -> int:
        """Of memory."""
        ...

    def let_go(self) -> None:
        """Let go of what lies in the file."""
        ...

    def close_door(self) -> None:
        """Nobody may begin any more."""
        ...

    def leave_behind(self) -> None:
        """Whoever lags behind gets no more."""
        ...


@dataclass(eq=False, slots=True)
class Reel:
    """
    The memory of all tapes of a process.

    Args:
        capacity_bytes: what they hold together at most. Beyond it each still holds what it may be ahead of its fastest
            passenger, and what its file is about to take.
    """

    capacity_bytes: int = CAPACITY_BYTES
    held_bytes: int = 0
    _tapes: set["Reeled"] = field(default_factory=set)

    def took(self, tape: "Reeled", size: int) -> None:
        """A tape holds more."""
        self._tapes.add(tape)
        self.held_bytes += size
        self.relieve()

    def lost(self, tape: "Reeled", size: int) -> None:
        """A tape holds less."""
        self.held_bytes -= size
        if not tape.held_bytes:
            self._tapes.discard(tape)

    def relieve(self) -> None:
        """Keep to the capacity: the mildest means first, the largest tape first."""
        if self.held_bytes <= self.capacity_bytes:
            return
        for means in (methodcaller("let_go"), methodcaller("close_door"), methodcaller("leave_behind")):
            for tape in sorted(self._tapes, key=lambda tape: tape.held_bytes, reverse=True):
                if self.held_bytes <= self.capacity_bytes:
                    return
                means(tape)
