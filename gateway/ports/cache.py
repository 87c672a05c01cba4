"""Kept answers."""

from collections.abc import AsyncIterator
from typing import Protocol

from gateway.core.cachekey import CacheKey
from gateway.core.entry import CacheFilter, CacheStats
from gateway.core.entry import Entry as CacheEntry


class CacheBody(Protocol):
    """The body of a kept answer: whole, and as it was received. It stays so though the entry goes meanwhile."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """
        The bytes from `start` up to `end`, in pieces of 256 KiB at most; any number of times.

        A piece is read when it is asked for, without holding up the loop.

        Raises:
            StoreFailed: it cannot be read any more.
        """
        ...

    def close(self) -> None:
        """Let go of it; at any time, more than once. Not to be forgotten."""
        ...


class Draft(Protocol):
    """
    A body on its way into the cache, for one writer. Nobody finds it before it is committed.

    Whoever has one drops it in the end, whatever became of it. It dies when the disk fails, and what it held is gone then.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can still be read, and committed."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Take the next chunk. On one that has died nothing happens."""
        ...

    async def read(self, start: int, end: int) -> bytes:
        """
        The bytes from `start` up to `end` (at most `size`), for those who follow: while it is written, and after.

        Raises:
            StoreFailed: it has died or was dropped.
        """
        ...

    async def commit(self, entry: CacheEntry) -> bool:
        """
        Keep it: from now on the entry is found, in the place of an older one of the same key and form.

        A process that dies in the middle, or a machine, leaves all of the entry or nothing.

        Args:
            entry: of it; the store fills in the digest.

        Returns:
            False: it is not kept. It has died, is larger than the cache, or of another size than the entry says; or the
            store failed.
        """
        ...

    async def drop(self) -> None:
        """Let go of it: what was not committed is gone. At any time, more than once."""
        ...


class Cache(Protocol):
    """
    Kept answers.

    What cannot be read is a miss, and what cannot be written is not kept: a failing store costs money, and no call. It
    is logged, now and then.

    Raises (`purge`, `stats` and `ping`, which somebody waits for by name):
        StoreFailed: see there.
    """

    async def find(self, key: CacheKey) -> tuple[CacheEntry, ...]:
        """The entries of a key, one of each form, the one that was kept last first. One short read."""
        ...

    async def open(self, entry: CacheEntry) -> CacheBody | None:
        """
        The body of an entry, held against its digest before a byte of it is given.

        Returns:
            None: it is gone or damaged, and the entry is forgotten; or it cannot be read now.
        """
        ...

    async def draft(self) -> Draft | None:
        """A new body, empty; None: there is no room for one, or the disk fails."""
        ...

    async def touch(self, entry: CacheEntry) -> None:
        """Note that an entry was of use: those that were not for longest go first. It may be written down later."""
        ...

    async def purge(self, which: CacheFilter) -> int:
        """Forget entries. Returns how many. One that is committed meanwhile may stay."""
        ...

    async def stats(self, *, by_team: bool = True) -> CacheStats:
        """How full it is. `by_team`: and of whom, for which it looks at every entry."""
        ...

    async def ping(self) -> None:
        """Returns if it can be read. One short read."""
        ...

    async def tidy(self, now: float) -> None:
        """
        Forget what is of no use any more, what is too much, and what dead processes left. To be said now and then.

        Args:
            now: epoch seconds.
        """
        ...

    async def aclose(self) -> None:
        """Write down what waits and free what is held; more than once."""
        ...
