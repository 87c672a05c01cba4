"""
Where entries lie: all forms of a cache key together, so that one read finds them (lua/cache_record.lua).

That an entry lies here is what makes it found: it is written last, and removed first.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from gateway.adapters.redis.cache_marks import mark_of, marked
from gateway.adapters.redis.scripts import script
from gateway.adapters.redis.store import LARGE_S, Store
from gateway.core.cachekey import CacheKey
from gateway.core.entry import Entry, packed, unpacked

_SCRIPT: Final = script("cache_record")
_SCANNED: Final = 1000
"""Keys of the server looked at in one act."""
_AT_ONCE: Final = 200
"""Records looked at together."""


@dataclass(frozen=True, slots=True)
class Lying:
    """An entry where it lies."""

    number: str
    body: str
    """Where its body lies."""
    entry: Entry


class Records:
    """
    The entries.

    Args:
        store: where they lie.
        prefix: of all keys.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = f"{prefix}cache:"

    async def find(self, key: CacheKey, mark: str = "") -> tuple[Lying, ...]:
        """
        The entries of a key and a mark that can be read, the one that was kept last first.

        Raises:
            StoreFailed: see there.
        """
        found = await self._store.ask("HGETALL", self._at(key))
        own = [value for form, value in found.items() if mark_of(form.decode()) == mark]
        lying = [one for value in own if (one := _understood(value)) is not None]
        return tuple(sorted(lying, key=lambda one: int(one.number), reverse=True))

    async def one(self, key: CacheKey, form: str) -> Lying | None:
        """The entry of a key and a form, with its mark."""
        value = await self._store.ask("HGET", self._at(key), form)
        return None if value is None else _understood(value)

    async def put(self, entry: Entry, number: str, body: str, life_ms: int) -> bool:
        """
        Put an entry in its place.

        Args:
            entry: with its digest.
            number: of it.
            body: where its body lies.
            life_ms: how long it is of use.

        Returns:
            False: a later one lies there.
        """
        value = b"%b %b\n%b" % (number.encode(), body.encode(), packed(entry))
        at, form = (self._at(entry.key),), marked(entry.form.name, mark_of(body))
        return bool(await self._store.run(_SCRIPT, at, "set", form, number, value, life_ms))

    async def remove(self, key: CacheKey, form: str, number: str) -> None:
        """Remove the entry of this number, not one that took its place."""
        await self._store.run(
            _SCRIPT, (self._at(key),), "unset", form, number, within_s=LARGE_S, insists=True
        )

    async def everywhere(self) -> AsyncIterator[list[tuple[CacheKey, str]]]:
        """All keys and forms that have an entry from the beginning to the end, many at once; some may come twice."""
        keys = []
        async for name in self._store.scan(f"{self._prefix}{{v*}}", _SCANNED):
            keys.append(CacheKey(name.decode().removeprefix(self._prefix)[1:-1]))
            if len(keys) == _AT_ONCE:
                yield await self._forms(keys)
                keys = []
        yield await self._forms(keys)

    async def _forms(self, keys: list[CacheKey]) -> list[tuple[CacheKey, str]]:
        found = await asyncio.gather(
            *(self._store.ask("HKEYS", self._at(key), within_s=LARGE_S, insists=True) for key in keys)
        )
        return [(key, form.decode()) for key, forms in zip(keys, found, strict=True) for form in forms]

    def _at(self, key: CacheKey) -> str:
        return f"{self._prefix}{{{key}}}"


def _understood(value: bytes) -> Lying | None:
    head, _, data = value.partition(b"\n")
    try:
        number, body = head.decode().split(" ")
        return Lying(number, body, unpacked(data))
    except ValueError:  # another version's: it goes when its time is over, or another takes its place
        return None
