"""
The reads of the ledger.

A page is one short act of the server: whoever reads millions of records slowly holds up nobody. Records lie in three orders:
of all, of a team, of a key; what else a filter asks for is looked for among those.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final

from gateway.adapters.redis import claims, rows, verify
from gateway.adapters.redis.acts import act
from gateway.adapters.redis.ledger_store import Store
from gateway.core.ledger import (
    Day,
    LedgerFilter,
    OpenCall,
    Page,
    Place,
    UsageRow,
    combined,
    micros,
    place_of,
    seconds,
    summed,
)
from gateway.core.limits import Limit
from gateway.core.quota import Claimant, Reading
from gateway.core.record import Record
from gateway.core.verify import Broken
from gateway.core.windows import Frames

AT_ONCE: Final = 500
"""Records in one answer of the server."""
CLAIMANTS_AT_ONCE: Final = 100
"""Scopes whose limits one act reads: others wait for the server meanwhile."""
_FIRST: Final = "0"
_LAST: Final = ":"
"""Instants are digits: none sorts before the one or behind the other."""


class Reads:
    """
    The reading half of the Ledger port.

    Args:
        store: where it lies.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, record_id: str) -> Record | None:
        """The record with this id."""
        kept = await self._store.look("HGET", "record", record_id)
        return None if kept is None else rows.from_record(record_id, kept)

    async def response(self, response_id: str) -> Record | OpenCall | None:
        """What pays for this response."""
        found = await self._store.read(act("response"), response_id, rows.digest(response_id))
        match found:
            case []:
                return None
            case [id_, record]:
                return rows.from_record(id_.decode(), record)
            case _:
                id_, call, noted = found
                return rows.from_open(id_.decode(), call, noted)

    async def open_calls(self, worker: str | None = None) -> tuple[OpenCall, ...]:
        """The calls that have no record yet, oldest first."""
        _, _, _, called, noted, _ = await self._store.read(act("census"), "")
        found = rows.from_all_open(called, noted)
        return tuple(call for call in found if worker is None or call.worker == worker)

    async def open_count(self) -> int:
        """How many calls have no record yet."""
        return int(await self._store.read(act("count")))

    async def page(self, asked: LedgerFilter, after: Place | None = None, limit: int = 100) -> Page:
        """Up to `limit` records beyond a place, newest first."""
        found: list[Record] = []
        async for batch in self._batches(asked, after, limit + 1):
            found += batch
            if len(found) > limit:
                break
        shown = tuple(found[:limit])
        return Page(shown, place_of(shown[-1]).cursor() if len(found) > limit else None)

    async def export(self, asked: LedgerFilter) -> AsyncIterator[Record]:
        """All of them, newest first."""
        async for batch in self._batches(asked):
            for record in batch:
                yield record

    async def span(
        self, since: float | None = None, until: float | None = None
    ) -> tuple[float, float] | None:
        """Arrival of the oldest and of the newest."""
        prefix, first, stop = _range(LedgerFilter(since=since, until=until), None)
        edges = await self._store.read(act("span"), first, stop)
        if not edges:
            return None
        oldest, newest = (_at_us(place, prefix) for place in edges)
        return seconds(oldest), seconds(newest)

    async def usage(
        self,
        by: Sequence[str],
        since: float | None = None,
        until: float | None = None,
        days: Sequence[Day] = (),
    ) -> AsyncIterator[UsageRow]:
        """Sums by group, of what has been written by now."""
        number, correction = await self._store.look("HMGET", "mark", "number", "corrected")
        latest = (int(number or 0), int(correction or 0))
        sums = summed((), by, days)
        async for batch in self._batches(LedgerFilter(since=since, until=until), latest=latest):
            sums = await asyncio.to_thread(lambda: combined([*sums, *summed(batch, by, days)]))  # noqa: B023 - awaited
        for row in sums:
            yield row

    async def limits(self, claimants: Sequence[Claimant], frames: Frames, at: float) -> tuple[Reading, ...]:
        """How the limits of these scopes stand."""
        at_us = micros(at)
        frame = frames.at(at_us)
        found: list[Reading] = []
        for first in range(0, len(claimants), CLAIMANTS_AT_ONCE):
            some = claimants[first : first + CLAIMANTS_AT_ONCE]
            asked = claims.to_claim(some, claims.around(frame))
            changed, told = await self._store.read(act("standing"), str(at_us), asked)
            found += claims.readings_of(claims.in_force(some, changed), told, frame)
        return tuple(found)

    async def changed_limits(self) -> Mapping[str, tuple[Limit, ...]]:
        """The limits that were set while running."""
        kept = rows.pairs(await self._store.look("HGETALL", "limits"))
        return {scope: claims.from_limits(limits) for scope, limits in kept.items()}

    @property
    def name(self) -> str | None:
        """Of the ledger: one that is begun in its place has another one."""
        return self._store.ledger

    async def verify(self) -> tuple[Broken, ...]:
        """What does not add up."""
        return await verify.verify(self._store)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._store.aclose()

    async def _batches(
        self,
        asked: LedgerFilter,
        after: Place | None = None,
        most: int = AT_ONCE,
        *,
        latest: tuple[int, int] | None = None,
    ) -> AsyncIterator[list[Record]]:
        """
        What the filter takes, newest first, piece by piece.

        Args:
            asked: the filter.
            after: begin beyond this place.
            most: records that are wanted, if all that the server finds are.
            latest: leave out what was written and corrected after so many had been; None: as it is.
        """
        prefix, first, stop = _range(asked, after)
        is_exact = asked.model is None and asked.outcome is None and (asked.team is None or asked.key is None)
        size = min(most, AT_ONCE) if is_exact else AT_ONCE
        about = (size, len(prefix.encode()), "" if latest is None else latest[1])
        while True:
            found = await self._store.read(act("page"), first, stop, *about)
            places, kept = found[::2], found[1::2]
            known = [(_id(place, prefix), value) for place, value in zip(places, kept, strict=True)]
            yield await asyncio.to_thread(lambda: _taken(known, asked, latest))  # noqa: B023 - awaited
            if len(places) < size:
                return
            stop = places[-1]


def _range(asked: LedgerFilter, after: Place | None) -> tuple[str, str, bytes]:
    """Which order is read, the last place that counts, and the first that counts no more: it is read from there."""
    if asked.key is not None:
        prefix = f"k{rows.SEP}{asked.key}{rows.SEP}"
    elif asked.team is not None:
        prefix = f"t{rows.SEP}{asked.team}{rows.SEP}"
    else:
        prefix = f"a{rows.SEP}"
    first = prefix + (_FIRST if asked.since is None else rows.at_text(micros(asked.since)))
    stops = [prefix + _LAST]
    if asked.until is not None:
        stops.append(prefix + rows.at_text(micros(asked.until)))
    if after is not None:
        stops.append(prefix + rows.at_text(after.at_us) + after.id)
    return prefix, first, min(one.encode() for one in stops)


def _id(place: bytes, prefix: str) -> str:
    return place[len(prefix.encode()) + 20 :].decode()


def _at_us(place: bytes, prefix: str) -> int:
    begins = len(prefix.encode())
    return rows.at_of(place[begins : begins + 20].decode())


def _taken(
    known: Sequence[tuple[str, bytes]], asked: LedgerFilter, latest: tuple[int, int] | None
) -> list[Record]:
    found = (
        rows.from_record(id_, kept)
        for id_, kept in known
        if latest is None or rows.charged(kept)[0] <= latest[0]
    )
    return [record for record in found if asked.takes(record)]
