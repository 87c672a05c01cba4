"""What waits for the ledger."""

from dataclasses import dataclass
from typing import Protocol

from gateway.core.kept import Entry


@dataclass(frozen=True, slots=True)
class Pile:
    """What one worker has kept and what has not landed yet."""

    worker: str
    entries: tuple[Entry, ...]
    """In the order in which they were kept."""
    is_own: bool
    """False: that worker is dead, and nobody else looks after what it left."""


class Outbox(Protocol):
    """
    A journal that needs no store: what waits for the store lasts here, through `kill -9` and power loss.

    It works after `aclose` too.

    Raises (`keep` and `landed`):
        StoreFailed: it could not be written to.
    """

    async def keep(self, entry: Entry) -> None:
        """Write an entry down; it lasts once this has returned."""
        ...

    async def waiting(self) -> tuple[Pile, ...]:
        """What has not landed yet: this worker's, and what dead ones left, which is this worker's care from now on."""
        ...

    async def landed(self, worker: str, count: int) -> None:
        """The first `count` entries of a pile have landed, and are forgotten."""
        ...

    async def aclose(self) -> None:
        """Let go of everything; what waits stays. More than once."""
        ...
