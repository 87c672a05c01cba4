"""
What becomes of the workers of a ledger, and of the calls of those that have died.

Who is dead is decided here, by what all of them say of themselves, and each act says what it was decided by: the server does
nothing about a worker that has been heard of since.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Final

import orjson

from gateway.adapters.redis import roll, rows
from gateway.adapters.redis.acts import act
from gateway.adapters.redis.ledger_store import Store
from gateway.adapters.redis.scripts import Value
from gateway.adapters.redis.settling import settlement, written
from gateway.adapters.workers import Worker, is_dead, is_gone
from gateway.core.ledger import OpenCall, Verdict, lost, micros, seconds
from gateway.core.leftovers import care_of
from gateway.core.quota import charge_of
from gateway.core.record import Record
from gateway.ports import DEAD_AFTER_S, StoreFailed

PARDON_S: Final = 10.0
"""What others have to say that they live, after a time in which nobody could: two beats."""
REAPED_AT_ONCE: Final = 50
"""Calls that one act settles as lost: others wait for the server meanwhile."""


class Care:
    """
    One worker's care for itself and for others.

    Args:
        store: the way to the server.
        worker: this one.
        about: what tells whether it is alive, as acts are told of it.
        time: what acts are told of the time.
    """

    def __init__(self, store: Store, worker: Worker, about: bytes, time: Callable[[], str]) -> None:
        self._store = store
        self._worker = worker
        self._about = about
        self._time = time
        self._has_beaten = False

    async def beat(self, *, pardon: bool = False) -> None:
        """
        This worker lives, and so may others.

        Raises:
            StoreFailed: likewise if the server is another one than before, and others have not told it yet what they hold.
        """
        self._has_beaten = True
        others: list[str] = []
        if pardon:
            others = [one.id for one in await self._registered() if not is_gone(one, self._worker.host)]
        heard_us = micros(DEAD_AFTER_S - PARDON_S)
        named = (self._time(), self._worker.id, self._about, heard_us)
        if not await self._store.write(act("beat"), *named, *others):
            # Those of this machine that are dead have nothing to tell.
            dead = [one.id for one in await self._registered() if is_gone(one, self._worker.host)]
            if not await self._store.write(act("rejoin"), self._time(), *dead):
                raise StoreFailed("other gateways have not said yet what they hold", unknown=False)

    async def _registered(self) -> Collection[Worker]:
        _, about, beats, _ = await self._store.read(act("roll"), self._time())
        return roll.registered(about, beats).values()

    async def farewell(self) -> None:
        """This worker ends. If the server does not hear that, it is found dead one day."""
        if self._has_beaten:
            with suppress(StoreFailed):
                await self._store.write(act("farewell"), self._worker.id)

    async def adopt(self, held: Collection[str] = ()) -> tuple[OpenCall, ...]:
        """Take over the background calls of dead workers."""
        found = await self._store.write(act("background"), self._time(), self._worker.id, self._about)
        now, registered = seconds(int(found[0])), roll.registered(found[1], found[2])
        alive = self._alive(registered.values(), now)
        wanted: list[Value] = []
        for id_, kept in rows.pairs(found[3]).items():
            care = rows.to_care(kept)
            is_new = care.worker not in alive or (care.worker == self._worker.id and id_ not in held)
            if is_new and care.is_watched(now):
                wanted += (id_, kept, _beat_of(registered, care.worker))
        if not wanted:
            return ()
        taken = await self._store.write(act("adopt"), self._worker.id, *wanted)
        calls = (rows.from_open(id_.decode(), kept, noted) for id_, kept, noted in taken)
        return tuple(
            sorted(
                (one for one in calls if one.record.id not in held),
                key=lambda call: (micros(call.record.at), call.record.id),
            )
        )

    async def reap(self) -> tuple[Record, ...]:
        """Settle as lost what dead workers left."""
        at, about, beats, overdue = await self._store.read(act("roll"), self._time())
        registered = roll.registered(about, beats)
        if not overdue and registered.keys() <= self._alive(registered.values(), seconds(int(at))):
            return ()
        at, about, beats, called, noted, inside = await self._store.read(act("census"), self._time())
        now, registered = seconds(int(at)), roll.registered(about, beats)
        alive = self._alive(registered.values(), now)
        kept, calls = rows.pairs(called), rows.from_all_open(called, noted)
        left = [call for call in calls if care_of(call).is_lost(alive, now)]
        reaped: list[Record] = []
        for first in range(0, len(left), REAPED_AT_ONCE):
            some = [(call, lost(call, now)) for call in left[first : first + REAPED_AT_ONCE]]
            arguments = [
                one for call, over in some for one in self._lost(call, over, kept, alive, registered)
            ]
            answers = await self._store.write(act("lose"), *arguments)
            for (_, over), answer in zip(some, answers, strict=True):
                if answer[0] != b"left":
                    found = settlement(over, answer)
                    reaped += [found.record] if found.verdict is Verdict.WRITTEN else []
        gone = {call.record.id for call in left}
        in_care = {call.worker for call in calls if call.record.id not in gone}
        await self._bury(registered, alive, in_care, inside)
        return tuple(reaped)

    def _lost(
        self,
        call: OpenCall,
        over: Record,
        kept: dict[str, bytes],
        alive: Collection[str],
        registered: dict[str, Worker],
    ) -> tuple[Value, ...]:
        """What lua/lose.lua is told of a call."""
        id_, head, digest, rest = written(over)
        beat = "-" if call.worker in alive else _beat_of(registered, call.worker)
        _, *charge = rows.to_charge(charge_of(over, 0))
        return (id_, kept[call.record.id], beat, head, digest, rest, "1" if call.dispatched else "0", *charge)

    async def _bury(
        self,
        registered: dict[str, Worker],
        alive: Collection[str],
        in_care: Collection[str | None],
        inside: Iterable[bytes],
    ) -> None:
        """Free the places of dead workers, and forget those that have no call left."""
        places: list[Value] = []
        for id_, kept in rows.pairs(inside).items():
            _, worker, *_ = orjson.loads(kept)
            if worker not in alive:
                places += (id_, kept, _beat_of(registered, worker))
        dead = [one for one in registered.values() if one.id not in alive and one.id not in in_care]
        names = [value for one in dead for value in (one.id, _beat_of(registered, one.id))]
        if places or names:
            await self._store.write(act("bury"), len(places) // 3, *places, *names)

    def _alive(self, registered: Iterable[Worker], now: float) -> set[str]:
        host = self._worker.host
        return {self._worker.id, *(one.id for one in registered if not is_dead(one, now, host))}


def _beat_of(registered: dict[str, Worker], worker: str | None) -> str:
    """As lua/lose.lua compares it: empty, nothing was ever heard of it."""
    known = registered.get(worker or "")
    return str(known.beat_us) if known is not None and known.beat_us else ""
