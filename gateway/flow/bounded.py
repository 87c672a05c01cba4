"""
A cache that refuses instead of forgetting: what it keeps was promised, and must not go before its time.

Decided here: how full it may be. It is looked at now and then, and what is kept in between is added up.
"""

from dataclasses import dataclass

from gateway.core.cachekey import CacheKey
from gateway.core.entry import CacheFilter, CacheStats, Entry
from gateway.ports import Cache, CacheBody, Draft, StoreFailed


@dataclass(slots=True)
class Bounded:
    """
    The `Cache` port, in front of a cache that would never be full by itself.

    Args:
        cache: it.
        most_bytes: of all that it keeps; beyond that there is no draft, until some of it is over.
    """

    cache: Cache
    most_bytes: int
    _kept_bytes: int = 0

    async def find(self, key: CacheKey) -> tuple[Entry, ...]:
        """As of the cache."""
        return await self.cache.find(key)

    async def open(self, entry: Entry) -> CacheBody | None:
        """As of the cache."""
        return await self.cache.open(entry)

    async def draft(self) -> Draft | None:
        """None: it is full."""
        if self._kept_bytes >= self.most_bytes:
            return None
        draft = await self.cache.draft()
        return None if draft is None else _Counted(draft, self)

    async def touch(self, entry: Entry) -> None:
        """As of the cache."""
        await self.cache.touch(entry)

    async def purge(self, which: CacheFilter) -> int:
        """As of the cache."""
        return await self.cache.purge(which)

    async def stats(self) -> CacheStats:
        """As of the cache."""
        return await self.cache.stats()

    async def ping(self) -> None:
        """As of the cache."""
        await self.cache.ping()

    async def tidy(self, now: float) -> None:
        """Likewise; and see how full it is."""
        await self.cache.tidy(now)
        try:
            self._kept_bytes = (await self.cache.stats()).bytes
        except StoreFailed:
            return  # What was added up stands.

    async def aclose(self) -> None:
        """As of the cache."""
        await self.cache.aclose()

    def keeps(self, size: int) -> None:
        """So many bytes more."""
        self._kept_bytes += size


class _Counted:
    """A draft that is added up when it is kept."""

    def __init__(self, draft: Draft, kept_in: Bounded) -> None:
        self._draft = draft
        self._kept_in = kept_in

    @property
    def size(self) -> int:
        return self._draft.size

    @property
    def alive(self) -> bool:
        return self._draft.alive

    async def write(self, chunk: bytes) -> None:
        await self._draft.write(chunk)

    async def read(self, start: int, end: int) -> bytes:
        return await self._draft.read(start, end)

    async def commit(self, entry: Entry) -> bool:
        is_kept = await self._draft.commit(entry)
        if is_kept:
            self._kept_in.keeps(entry.size)
        return is_kept

    async def drop(self) -> None:
        await self._draft.drop()
