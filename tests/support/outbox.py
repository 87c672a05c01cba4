"""An outbox over a list, and a ledger that does not answer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.core.kept import Entry
from gateway.ports import Pile, StoreFailed

Mood = Callable[[str], BaseException | None]
"""What the verb with this name raises; None: nothing."""


@dataclass
class ListOutbox:
    """Keeps entries for a test to look at; `broken`: it cannot be written to."""

    entries: list[Entry] = field(default_factory=list)
    left: dict[str, list[Entry]] = field(default_factory=dict)
    """What dead workers left."""
    broken: bool = False

    async def keep(self, entry: Entry) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise StoreFailed("the outbox is broken", unknown=False)
        self.entries.append(entry)

    async def waiting(self) -> tuple[Pile, ...]:
        await asyncio.sleep(0)
        own = [Pile("own", tuple(self.entries), is_own=True)] if self.entries else []
        return (*own, *(Pile(name, tuple(left), is_own=False) for name, left in self.left.items()))

    async def landed(self, worker: str, count: int) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise StoreFailed("the outbox is broken", unknown=False)
        pile = self.entries if worker == "own" else self.left[worker]
        del pile[:count]
        self.left = {name: left for name, left in self.left.items() if left}

    async def aclose(self) -> None:
        await asyncio.sleep(0)


class Moody:
    """
    A ledger that answers only if the test wants it to.

    Args:
        real: does what is asked.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self.fails: Mood = lambda _: None
        self.asked: list[str] = []
        self.hangs = asyncio.Event()
        """To be set: nothing answers until it is cleared."""

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._real, name)

        async def act(*arguments: Any, **named: Any) -> Any:
            self.asked.append(name)
            if self.hangs.is_set():
                await asyncio.get_running_loop().create_future()
            failure = self.fails(name)
            if failure is not None:
                raise failure
            return await verb(*arguments, **named)

        return act if callable(verb) else verb

    def goes_away(self, *, unknown: bool = False) -> None:
        """From now on every verb fails."""
        self.fails = lambda _: StoreFailed("gone", unknown=unknown)

    def comes_back(self) -> None:
        """From now on it answers again."""
        self.fails = lambda _: None
        self.hangs.clear()
