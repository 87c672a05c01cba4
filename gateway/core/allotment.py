"""What bodies take in memory while they are given: small ones are held, as long as all together are few."""

from dataclasses import dataclass


@dataclass(slots=True)
class Allotment:
    """
    Memory for bodies.

    Args:
        each_bytes: that one may take at most.
        all_bytes: that all take at most.
    """

    each_bytes: int
    all_bytes: int
    taken_bytes: int = 0

    def take(self, size: int) -> int:
        """What a body of this size may take: all of it, or 0. To be given back."""
        fits = size <= self.each_bytes and self.taken_bytes + size <= self.all_bytes
        taken = size if fits else 0
        self.taken_bytes += taken
        return taken

    def give_back(self, taken: int) -> None:
        """What was taken is free again."""
        self.taken_bytes -= taken
