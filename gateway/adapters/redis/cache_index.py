"""
The index of the cache: how much there is and of whom, in one slot (lua/cache_index.lua).

What is found without it: an entry lies with its key, a body by itself. So it is asked when something is kept or
forgotten, and never when an answer is given. A server that is short of memory may take it: what it knew is kept until its
time is over, and taken in again when the cache is tidied or purged.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from gateway.adapters.redis.cache_marks import mark_of, marked, unmarked
from gateway.adapters.redis.scripts import Reply, Value, script
from gateway.adapters.redis.store import LARGE_S, Store
from gateway.core.cachekey import CacheKey
from gateway.core.entry import CacheFilter, Entry, fit

AT_ONCE: Final = 200
"""Entries looked at or forgotten in one act."""
_SCRIPT: Final = script("cache_index")
_NAMES: Final = ("about", "bodies", "used", "until", "unused", "total")
_ENTRY_COSTS_BYTES: Final = 1400
"""Of memory, beside the record and the body: its keys and its rows in the index. Measured, with Redis 7."""

Numbered = tuple[str, str]
"""The name of an entry, and its number."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of an entry in the index."""

    number: str
    """Empty: it is not kept, as there is one that was begun later, or no room for what stays."""
    body: str
    """That it has: its own, or an equal one that was there."""
    leaves_work: bool
    """There is too much now, or a body that no entry has any more."""
    time_us: int
    """Of the server then, epoch microseconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the index says of one entry."""

    name: str
    number: str
    size: int
    key_id: str | None
    team: str | None
    model: str | None
    tool_model: str | None
    response_id: str | None

    @property
    def numbered(self) -> Numbered:
        """As it is forgotten."""
        return self.name, self.number

    def is_of(self, which: CacheFilter) -> bool:
        """As `CacheFilter.takes` has it."""
        return (
            which.key_id in {None, self.key_id}
            and which.team in {None, self.team}
            and (which.model is None or which.model in {self.model, self.tool_model})
            and which.response_id in {None, self.response_id}
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """What all entries come to."""

    entries: int
    bodies: int
    bytes: int


def name_of(key: CacheKey, form: str) -> str:
    """The name of an entry."""
    return f"{key} {form}"


def key_and_form(name: str) -> tuple[CacheKey, str]:
    """Whose name it is."""
    key, _, form = name.partition(" ")
    return CacheKey(key), form


class Index:
    """
    The index.

    Args:
        store: where it lies.
        prefix: of all keys.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._keys = tuple(f"{prefix}cache:{{index}}:{name}" for name in _NAMES)
        self._about, self._bodies, self._used, _, self._unused, self._total = self._keys

    async def keep(
        self,
        entry: Entry,
        body: str,
        *,
        record_bytes: int,
        used_us: int,
        until_us: int,
        life_ms: int,
        max_bytes: int,
        lost: str = "",
        number: str = "",
        began_us: int | None = None,
    ) -> Kept:
        """
        Note an entry, in the place of an older one.

        Args:
            entry: with its digest.
            body: that was written for it.
            record_bytes: of its record.
            used_us: when it was of use, epoch microseconds.
            until_us: until when it is of use, epoch microseconds.
            life_ms: for so long from now on the index is needed; 0: without end.
            max_bytes: of all entries.
            lost: a body that is not there any more, whatever the index says.
            number: that it has already.
            began_us: when it was begun, by the server's clock, epoch microseconds: it takes the place of no later one. None: of
                any.

        Raises:
            StoreFailed: see there.
        """
        one = entry.original
        mark = mark_of(body)
        names = [fit(name) for name in (one.key, one.team, one.model, one.tool_model, one.response_id)]
        found, used, leaves_work, time_us = await self._store.run(
            _SCRIPT,
            self._keys,
            "keep",
            name_of(entry.key, marked(entry.form.name, mark)),
            entry.digest + mark,
            entry.size,
            record_bytes + _ENTRY_COSTS_BYTES,
            body,
            used_us,
            until_us,
            life_ms,
            max_bytes,
            lost,
            number,
            orjson.dumps([entry.size, *names]),
            "" if began_us is None else began_us,
        )
        return Kept(found.decode(), used.decode(), bool(leaves_work), int(time_us))

    async def forget(self, some: Iterable[Numbered]) -> tuple[int, tuple[str, ...]]:
        """Forget entries; how many of them there were, and all bodies that no entry has any more."""
        count, *unused = await self._run("forget", *(part for one in some for part in one))
        return int(count), tuple(body.decode() for body in unused)

    async def told(self, bodies: Sequence[str]) -> None:
        """These bodies know that no entry has them."""
        if bodies:
            await self._store.ask("SREM", self._unused, *bodies, insists=True)

    async def touch(self, touches: Mapping[str, int]) -> None:
        """Note when entries were of use last, epoch microseconds by name."""
        pairs = [part for name, used_us in touches.items() for part in (used_us, name)]
        await self._store.ask("ZADD", self._used, "XX", "GT", *pairs)

    async def oldest(self, max_bytes: int) -> tuple[Numbered, ...]:
        """Some of those that have to go, not used for longest first."""
        return _pairs(await self._run("oldest", max_bytes, AT_ONCE))

    async def expired(self, now_us: int) -> tuple[Numbered, ...]:
        """Some of those that are of no use any more."""
        return _pairs(await self._run("expired", now_us, AT_ONCE))

    async def some(self, cursor: int = 0) -> tuple[int, tuple[Row, ...]]:
        """Some rows, and the cursor of the next ones: 0 after the last."""
        found, rows = await self._store.ask("HSCAN", self._about, cursor, "COUNT", AT_ONCE, insists=True)
        return int(found), tuple(_row(name.decode(), row) for name, row in rows.items())

    async def rows(self) -> AsyncIterator[tuple[Row, ...]]:
        """All rows that are there from the beginning to the end; some may come twice."""
        cursor, rows = await self.some()
        yield rows
        while cursor:
            cursor, rows = await self.some(cursor)
            yield rows

    async def known(self, names: Sequence[str]) -> set[str]:
        """Those of these names that it knows."""
        found = await self._store.ask("HMGET", self._about, *names, insists=True) if names else ()
        return {name for name, row in zip(names, found, strict=True) if row is not None}

    async def named(self, bodies: Sequence[str]) -> set[str]:
        """Those of these bodies, which are named by their digest and mark, that an entry has."""
        digests = [unmarked(body) + mark_of(body) for body in bodies]
        found = await self._store.ask("HMGET", self._bodies, *digests, insists=True) if bodies else ()
        return {body for body, row in zip(bodies, found, strict=True) if row is not None}

    async def totals(self) -> Totals:
        """What all entries come to."""
        found = await self._store.ask("HMGET", self._total, "entries", "blobs", "bytes", insists=True)
        return Totals(*(int(one or 0) for one in found))

    async def born(self) -> str:
        """Which index this is: another one than before, if the server took it meanwhile, or a part of it."""
        found: bytes = await self._run("born")
        return found.decode()

    async def time_us(self, *, insists: bool = True) -> int:
        """The time of the server, by which numbers are given: epoch microseconds. `insists`: as `Store.run` has it."""
        return int(await self._run("time", insists=insists))

    async def _run(self, *arguments: Value, insists: bool = True) -> Reply:
        return await self._store.run(_SCRIPT, self._keys, *arguments, within_s=LARGE_S, insists=insists)


def _pairs(found: Sequence[bytes]) -> tuple[Numbered, ...]:
    return tuple(
        (name.decode(), number.decode()) for name, number in zip(found[::2], found[1::2], strict=True)
    )


def _row(name: str, row: bytes) -> Row:
    number, _, _, _, _, names = row.split(b" ", 5)
    return Row(name, number.decode(), *orjson.loads(names))
