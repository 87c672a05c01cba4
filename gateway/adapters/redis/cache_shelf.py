"""
Where the bodies of a cache lie: on a shelf, in the server itself or in a folder of the machine (cache_folder.py).

The cache decides what is kept and what is forgotten; a shelf takes bodies in, gives them out, and lets go of them.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from gateway.adapters.redis.cache_bodies import Bodies
from gateway.adapters.redis.cache_body import RedisBody, opened
from gateway.adapters.redis.cache_draft import RedisDraft
from gateway.core.allotment import Allotment
from gateway.core.entry import Entry
from gateway.ports import CacheBody, Draft

Keep = Callable[[Entry, str], Awaitable[str | None]]
"""Keeps a body that lies on the shelf under an entry; the body that the entry has then, None: it is not kept."""
Complain = Callable[[Exception], None]


class Shelf(Protocol):
    """Bodies, by names that say on which shelf they lie (cache_marks.py)."""

    @property
    def knows_what_is_gone(self) -> bool:
        """Whether `opened` refuses a body that was given up: then nobody need look first whether its entry is there."""
        ...

    async def mark(self) -> str:
        """
        In the names of its entries and bodies.

        Raises:
            StoreFailed: it is not known now.
        """
        ...

    async def draft(self, keep: Keep, complain: Complain) -> Draft | None:
        """A new body, empty; None: there can be none now, and it was told why."""
        ...

    async def opened(self, body: str, entry: Entry) -> CacheBody:
        """
        The body of an entry, held against its digest.

        Raises:
            LostBodyError: it is not there, or not what the entry says.
            StoreFailed: it cannot be read now.
        """
        ...

    async def lives(self, body: str, life_ms: int) -> bool:
        """An entry has it from now on, for so long; False: it is gone."""
        ...

    async def is_there(self, body: str) -> bool:
        """Whether there is anything of it."""
        ...

    async def give_up(self, body: str) -> None:
        """No entry has it any more; who has it open goes on."""
        ...

    async def sweep(self, unnamed: Callable[[Sequence[str]], Awaitable[Sequence[str]]]) -> None:
        """
        Remove what no entry has and nobody gave up.

        Args:
            unnamed: of these bodies those that the index does not name.
        """
        ...


class ServerShelf:
    """
    Bodies that lie in the server.

    Args:
        bodies: there.
        memory: in which they are held.
        most_bytes: of one.
    """

    knows_what_is_gone = True

    def __init__(self, bodies: Bodies, memory: Allotment, *, most_bytes: int) -> None:
        self._bodies = bodies
        self._memory = memory
        self._most_bytes = most_bytes

    async def mark(self) -> str:
        """None: everybody reaches it."""
        return ""

    async def draft(self, keep: Keep, complain: Complain) -> RedisDraft:
        """A new body. Nothing is asked for it: a store that stops answering is noticed with the first chunk."""
        return RedisDraft(self._bodies, most_bytes=self._most_bytes, keep=keep, complain=complain)

    async def opened(self, body: str, entry: Entry) -> RedisBody:
        """The body of an entry."""
        held = self._memory.take(entry.size)

        def closed() -> None:
            self._memory.give_back(held)
            self._bodies.leave(body)

        self._bodies.use(body)
        try:
            return await opened(self._bodies, body, entry, hold=held > 0, closed=closed)
        except BaseException:
            closed()
            raise

    async def lives(self, body: str, life_ms: int) -> bool:
        """An entry has it from now on."""
        return await self._bodies.lives(body, life_ms)

    async def is_there(self, body: str) -> bool:
        """Whether there is anything of it."""
        return await self._bodies.is_there(body)

    async def give_up(self, body: str) -> None:
        """No entry has it any more."""
        await self._bodies.give_up(body)

    async def sweep(self, unnamed: Callable[[Sequence[str]], Awaitable[Sequence[str]]]) -> None:
        """Nothing: what is left ends with its time."""
