"""
The `Cache` port over Redis or Valkey, for gateways on any number of machines.

Entries lie with their keys (cache_records.py), bodies by themselves on a shelf (cache_shelf.py), in the server or in a
folder of each machine, and an index says how much there is (cache_index.py).

An entry is kept in this order: the body, the index, the record, by which it is found. It is forgotten in the reverse
one. So whatever a process was about when it died, nothing is found that has no body for long; what is left in the index
is cleared away when it is tidied, and a body that is left ends with its time.

Decided here: what is held in memory, when a touch is written down, and that a failure is a miss or an answer that is not
kept, told in the log once a minute.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from gateway.adapters.redis.cache_bodies import Bodies, LostBodyError
from gateway.adapters.redis.cache_clock import ServerClock
from gateway.adapters.redis.cache_folder import FolderShelf
from gateway.adapters.redis.cache_index import AT_ONCE, Index, Kept, Numbered, key_and_form, name_of
from gateway.adapters.redis.cache_marks import mark_of, marked
from gateway.adapters.redis.cache_records import Lying, Records
from gateway.adapters.redis.cache_shelf import ServerShelf, Shelf
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.store import Store
from gateway.core.allotment import Allotment
from gateway.core.cachekey import CacheKey
from gateway.core.entry import CacheFilter, CacheStats, Entry, Share, packed
from gateway.core.ledger import micros
from gateway.flow.tasks import spawn
from gateway.ports import CacheBody, Clock, Draft, StoreFailed

PREFIX: Final = "imagegate:"
HELD_BYTES: Final = 4 << 20
"""A body up to here is held while it is given: it was read once to be held against its digest."""
HELD_TOGETHER_BYTES: Final = 32 << 20
"""Of all bodies that are given at the same time; beyond that they are read a second time, piece by piece."""
TOUCHES: Final = 64
"""Written down when there are so many,"""
TOUCHED_S: Final = 10.0
"""or when the first of them is so old."""
COMPLAINT_S: Final = 60.0
"""Seconds between two lines about the same kind of failure."""
SETTLED_S: Final = 60.0
"""An entry of the index that has no record by then has none coming."""
_PLACES: Final = 4096
"""Bodies whose place is remembered between a find and its open."""
_LONGEST_MS: Final = 10 * 365 * 86_400_000
_FOREVER_US: Final = 1 << 52
"""As large as a number may be to be exact in a script."""
_log = logging.getLogger("imagegate.cache")


class RedisCache:
    """
    The cache of all gateways that share a Redis.

    Args:
        address: of it.
        clock: of this machine.
        max_bytes: of all entries, as `CacheStats.bytes` counts them.
        stale_if_error_s: seconds past its life in which an entry is of use.
        folder: in which this machine's bodies lie; None: they lie in the Redis.
        prefix: of all keys.
        stays: an entry stays until it is tidied away, whatever the server does when it is short of memory: it has no end
            there.
        patience: times as long as `store` says may everything take: for tests on busy machines.
        now: epoch seconds, instead of the server's clock; for tests.
    """

    def __init__(
        self,
        address: RedisAddress,
        clock: Clock,
        *,
        max_bytes: int,
        stale_if_error_s: float = 0.0,
        folder: Path | None = None,
        prefix: str = PREFIX,
        stays: bool = False,
        patience: float = 1.0,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._stale_if_error_s = stale_if_error_s
        self._store = Store(address, clock.ticks, patience=patience)
        self._prefix = prefix
        self._index = Index(self._store, prefix)
        self._server_clock = ServerClock(clock, partial(self._index.time_us, insists=False), now)
        self._stays = stays
        self._records = Records(self._store, prefix)
        self._bodies = Bodies(self._store, prefix)
        memory = Allotment(HELD_BYTES, HELD_TOGETHER_BYTES)
        self._server = ServerShelf(self._bodies, memory, most_bytes=max_bytes)
        self._shelf: Shelf = self._server if folder is None else FolderShelf(folder, clock.now, memory)
        """On which new bodies are laid."""
        self._places: dict[str, str] = {}
        """Digest -> body, as it was found last."""
        self._touches: dict[str, int] = {}
        self._touched_since = 0.0
        """When the first of them was."""
        self._cursor = 0
        """How far the index has been held against the records."""
        self._taken_in = ""
        """The index into which all records were taken, by when it was born."""
        self._told: dict[str, float] = {}

    async def find(self, key: CacheKey) -> tuple[Entry, ...]:
        """The entries of a key."""
        try:
            await self._server_clock.known()
            found = await self._records.find(key, await self._shelf.mark())
        except StoreFailed as failed:
            self._complain("cannot be read", failed)
            return ()
        if self._shelf.knows_what_is_gone:
            for one in found:
                self._remember(one)
        return tuple(self._here(one.entry) for one in found)

    async def open(self, entry: Entry) -> CacheBody | None:
        """The body of an entry."""
        place = self._places.get(entry.digest)
        try:
            if place is not None:
                try:
                    return await self._shelf.opened(place, entry)
                except LostBodyError:
                    del self._places[entry.digest]
            form = marked(entry.form.name, await self._shelf.mark())
            lying = await self._records.one(entry.key, form)
            if lying is None or lying.entry.digest != entry.digest:
                return None
            try:
                return await self._shelf.opened(lying.body, entry)
            except LostBodyError as error:
                self._complain("lost a body", error)
                await self._shelf.give_up(lying.body)
                await self._forget([(name_of(entry.key, form), lying.number)])
        except StoreFailed as failed:
            self._complain("cannot be read", failed)
        return None

    async def draft(self) -> Draft | None:
        """A new body."""
        if not self._store.is_asked:
            return None
        began_us = self._server_clock.began_us()

        async def keep(entry: Entry, body: str) -> str | None:
            return await self._keep(entry, body, began_us)

        return await self._shelf.draft(keep, lambda error: self._complain("cannot be written to", error))

    async def ping(self) -> None:
        """Returns if a server answers."""
        await self._store.ask("EXISTS", f"{self._prefix}ping", insists=True)

    async def touch(self, entry: Entry) -> None:
        """Note that an entry was of use. Nobody waits for it to be written down."""
        now = self._clock.now()
        try:
            form = marked(entry.form.name, await self._shelf.mark())
        except StoreFailed:  # told when it was looked for
            return
        if not self._touches:
            self._touched_since = now
        self._touches[name_of(entry.key, form)] = self._server_clock.now_us()
        if len(self._touches) >= TOUCHES or now - self._touched_since >= TOUCHED_S:
            spawn("touches", self._write_touches())

    async def purge(self, which: CacheFilter) -> int:
        """Forget entries."""
        await self._take_in()
        purged = 0
        async for rows in self._index.rows():
            purged += await self._forget([row.numbered for row in rows if row.is_of(which)])
        return purged

    async def stats(self, *, by_team: bool = True) -> CacheStats:
        """How full it is, and of whom."""
        totals = await self._index.totals()
        of_teams: dict[str, dict[str, int]] = {}
        if by_team:
            async for rows in self._index.rows():
                for row in rows:
                    if row.team is not None:
                        of_teams.setdefault(row.team, {})[row.name] = row.size
        return CacheStats(
            entries=totals.entries,
            blobs=totals.bodies,
            bytes=totals.bytes,
            max_bytes=self._max_bytes,
            teams={team: Share(len(sizes), sum(sizes.values())) for team, sizes in of_teams.items()},
        )

    async def tidy(self, now: float) -> None:
        """Forget what is of no use, what is too much, and what the index knows wrongly."""
        try:
            self._server_clock.learn(await self._index.time_us())
            await self._write_touches()
            until_us = micros(self._server_clock.there(now))
            while (some := await self._index.expired(until_us)) and await self._forget(some):
                pass
            await self._evict()
            await self._forget(())
            await self._reconcile()
            await self._take_in()
            await self._shelf.sweep(self._unnamed)
        except StoreFailed as failed:
            self._complain("cannot be tidied", failed)

    async def aclose(self) -> None:
        """Write down what waits, and close the connections."""
        await self._write_touches()
        self._bodies.close()
        await self._store.aclose()

    async def _keep(self, entry: Entry, body: str, began_us: int | None) -> str | None:
        """The body that the entry has then; None: it is not kept."""
        life_ms = self._life_ms(entry)
        if entry.size > self._max_bytes or life_ms <= 0:
            return None
        try:
            await self._server_clock.known()
            entry = replace(
                entry, life=replace(entry.life, kept_at=self._server_clock.there(entry.life.kept_at))
            )
            life_ms = 0 if self._stays else life_ms
            noted = await self._note(entry, body, life_ms, began_us)
            if not noted.number:
                _log.info(
                    "an answer is not kept: there is one that was asked for later, or no room for what stays"
                )
                return None
            number, kept = noted.number, noted.body
            lives, _ = await asyncio.gather(
                self._shelf.lives(kept, life_ms), self._records.put(entry, number, kept, life_ms)
            )
            if not lives:
                form = marked(entry.form.name, mark_of(kept))
                await self._forget([(name_of(entry.key, form), number)])
                return None
        except StoreFailed as failed:
            self._complain("cannot be written to", failed)
            return None
        self._places.pop(entry.digest, None)
        if noted.leaves_work:
            try:
                await self._forget(())
                await self._evict()
            except StoreFailed as failed:  # it is kept all the same; `tidy` does it
                self._complain("cannot be written to", failed)
        return kept

    async def _note(self, entry: Entry, body: str, life_ms: int, began_us: int | None) -> Kept:
        """Note an entry in the index."""
        lost = ""
        while True:
            kept = await self._index.keep(
                entry,
                body,
                record_bytes=len(packed(entry)),
                used_us=self._server_clock.now_us(),
                until_us=self._until_us(entry),
                life_ms=life_ms,
                max_bytes=self._max_bytes,
                lost=lost,
                began_us=began_us,
            )
            self._server_clock.learn(kept.time_us)
            if not kept.number:
                return kept
            # One that is given up is not taken, though the index does not know yet.
            if kept.body == body or await self._shelf.lives(kept.body, life_ms):
                return kept
            lost = kept.body

    def _here(self, entry: Entry) -> Entry:
        """As it is by this machine's clock."""
        return replace(entry, life=replace(entry.life, kept_at=self._server_clock.here(entry.life.kept_at)))

    def _life_ms(self, entry: Entry) -> int:
        return int(min(entry.life.useful_s(self._stale_if_error_s) * 1000, _LONGEST_MS))

    def _until_us(self, entry: Entry) -> int:
        until = entry.life.kept_at + entry.life.useful_s(self._stale_if_error_s)
        return min(micros(until), _FOREVER_US)

    async def _forget(self, some: Iterable[Numbered]) -> int:
        """Forget these entries, and tell the bodies that no entry has any more. How many there were."""
        some = list(some)
        for at in range(0, len(some), AT_ONCE):
            await asyncio.gather(
                *(
                    self._records.remove(*key_and_form(name), number)
                    for name, number in some[at : at + AT_ONCE]
                )
            )
        count, unused = await self._index.forget(some)
        await asyncio.gather(*(self._give_up(body) for body in unused))
        await self._index.told(unused)
        return count

    async def _give_up(self, body: str) -> None:
        shelf = await self._shelf_of(body)
        if shelf is not None:  # Another machine sweeps its own.
            await shelf.give_up(body)

    async def _shelf_of(self, body: str) -> Shelf | None:
        """Where it lies; None: on another machine, or in a folder that cannot be used now."""
        mark = mark_of(body)
        if not mark:
            return self._server
        with suppress(StoreFailed):
            if mark == await self._shelf.mark():
                return self._shelf
        return None

    async def _evict(self) -> None:
        if self._stays:
            return
        while (some := await self._index.oldest(self._max_bytes)) and await self._forget(some):
            pass

    async def _reconcile(self) -> None:
        """Forget some of the entries whose record or body the server has taken, or that nobody wrote down."""
        self._cursor, rows = await self._index.some(self._cursor)
        settled = await self._index.time_us() - micros(SETTLED_S)
        lost = []
        for row in rows:
            if int(row.number) < settled:
                lying = await self._records.one(*key_and_form(row.name))
                if lying is None or (lying.number == row.number and await self._is_gone(lying.body)):
                    lost.append(row.numbered)
        if lost:
            await self._forget(lost)

    async def _is_gone(self, body: str) -> bool:
        """Whether there is nothing of it; of one on another machine that is not known."""
        shelf = await self._shelf_of(body)
        return shelf is not None and not await shelf.is_there(body)

    async def _unnamed(self, bodies: Sequence[str]) -> list[str]:
        """Of these bodies those that the index does not name; none, if the index may have lost some."""
        found: list[str] = []
        for at in range(0, len(bodies), AT_ONCE):
            some = bodies[at : at + AT_ONCE]
            named = await self._index.named(some)
            found += [body for body in some if body not in named]
        # It knew all records when it was this one. Asked last: if it is another one now, it was lost in between.
        return found if await self._index.born() == self._taken_in else []

    async def _take_in(self) -> None:
        """See that the index knows all records, if it is another one than before: the server may have taken it."""
        born = await self._index.born()
        if born == self._taken_in:
            return
        async for some in self._records.everywhere():
            known = await self._index.known([name_of(key, form) for key, form in some])
            for key, form in some:
                if name_of(key, form) not in known:
                    await self._take_in_one(key, form)
        self._taken_in = born

    async def _take_in_one(self, key: CacheKey, form: str) -> None:
        lying = await self._records.one(key, form)
        if lying is None:
            return
        entry = lying.entry
        life_ms = 0 if self._stays else max(1, self._life_ms(entry))
        await self._index.keep(
            entry,
            lying.body,
            record_bytes=len(packed(entry)),
            used_us=micros(entry.life.kept_at),
            until_us=self._until_us(entry),
            life_ms=life_ms,
            max_bytes=self._max_bytes,
            number=lying.number,
        )

    async def _write_touches(self) -> None:
        touches, self._touches = self._touches, {}
        if touches:
            try:
                await self._index.touch(touches)
            except StoreFailed as failed:
                self._complain("cannot be written to", failed)

    def _remember(self, lying: Lying) -> None:
        self._places.pop(lying.entry.digest, None)
        self._places[lying.entry.digest] = lying.body
        if len(self._places) > _PLACES:
            del self._places[next(iter(self._places))]

    def _complain(self, what: str, error: Exception) -> None:
        now = self._clock.now()
        if now - self._told.get(what, -COMPLAINT_S) >= COMPLAINT_S:
            self._told[what] = now
            _log.warning("the cache %s: %s: %s", what, type(error).__name__, error)
