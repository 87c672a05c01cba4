"""
A cache that refuses instead of forgetting: what it keeps was promised, and must not go before its time.

Decided here: how full it may be. It is looked at now and then, and what is kept in between is added up; where it shares room
with others it is looked at again when a part of the rest was taken, as others may have taken as much. What is under way counts.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from gateway.core.cachekey import CacheKey
from gateway.core.entry import CacheFilter, CacheStats, Entry
from gateway.ports import Cache, CacheBody, Draft, StoreFailed

PARTS: Final = 16
"""It is looked at again when one of so many parts of what was spare was taken: there may be many who share it."""
DRAFT_BYTES: Final = 4 << 20
"""What a draft that was begun is taken to come to: a picture of the largest size has about as much."""


@dataclass(slots=True)
class Bounded:
    """
    The `Cache` port, in front of a cache that would never be full by itself.

    Args:
        cache: it.
        most_bytes: of all that it keeps; beyond that there is no draft, until some of it is over.
        spare: bytes that may be kept yet where it lies, beside others; None, or nothing to call: that bounds nothing.
    """

    cache: Cache
    most_bytes: int
    spare: Callable[[], Awaitable[int | None]] | None = None
    _kept_bytes: int = 0
    _has_looked: bool = False
    _spare_bytes: int | None = None
    """When it was looked at last; None: it is not bounded by that."""
    _since_bytes: int = 0
    """Kept since then."""
    _drafts: int = 0
    """Under way."""

    async def find(self, key: CacheKey) -> tuple[Entry, ...]:
        """As of the cache."""
        return await self.cache.find(key)

    async def open(self, entry: Entry) -> CacheBody | None:
        """As of the cache."""
        return await self.cache.open(entry)

    async def draft(self) -> Draft | None:
        """None: it is full."""
        if not self._has_looked or self._is_to_be_looked_at:
            await self._look()
        if self._kept_bytes >= self.most_bytes or self._is_short:
            return None
        draft = await self.cache.draft()
        if draft is None:
            return None
        self._drafts += 1
        return _Counted(draft, self)

    async def touch(self, entry: Entry) -> None:
        """As of the cache."""
        await self.cache.touch(entry)

    async def purge(self, which: CacheFilter) -> int:
        """As of the cache."""
        return await self.cache.purge(which)

    async def stats(self, *, by_team: bool = True) -> CacheStats:
        """As of the cache."""
        return await self.cache.stats(by_team=by_team)

    async def ping(self) -> None:
        """As of the cache."""
        await self.cache.ping()

    async def tidy(self, now: float) -> None:
        """Likewise; and see how full it is."""
        await self.cache.tidy(now)
        await self._look()

    async def aclose(self) -> None:
        """As of the cache."""
        await self.cache.aclose()

    def keeps(self, size: int) -> None:
        """So many bytes more."""
        self._kept_bytes += size
        self._since_bytes += size

    def ends(self) -> None:
        """A draft less."""
        self._drafts -= 1

    @property
    def _taken_bytes(self) -> int:
        """What has been taken since it was looked at, and what drafts will take."""
        return self._since_bytes + self._drafts * DRAFT_BYTES

    @property
    def _is_to_be_looked_at(self) -> bool:
        return self._spare_bytes is not None and self._taken_bytes * PARTS > self._spare_bytes

    @property
    def _is_short(self) -> bool:
        return self._spare_bytes is not None and self._taken_bytes + DRAFT_BYTES > self._spare_bytes

    async def _look(self) -> None:
        try:
            self._kept_bytes = (await self.cache.stats(by_team=False)).bytes
            if self.spare is not None:
                self._spare_bytes = await self.spare()
        except StoreFailed:
            return  # What was added up stands.
        self._has_looked, self._since_bytes = True, 0


class _Counted:
    """A draft that is added up when it is kept."""

    def __init__(self, draft: Draft, kept_in: Bounded) -> None:
        self._draft = draft
        self._kept_in = kept_in
        self._is_over = False

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
        if not self._is_over:
            self._is_over = True
            self._kept_in.ends()
        await self._draft.drop()
