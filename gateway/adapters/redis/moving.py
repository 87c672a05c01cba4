"""The ports `LedgerSource` and `LedgerTarget` over Redis or Valkey: a whole ledger that is moved."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Self, assert_never

import orjson

from gateway.adapters.redis import claims, roll, rows
from gateway.adapters.redis.acts import TAG, act
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.fitness import VERSION, examine
from gateway.adapters.redis.ledger import RedisReader
from gateway.adapters.redis.ledger_store import Store
from gateway.adapters.redis.queries import Reads
from gateway.adapters.redis.scripts import Reply, Value
from gateway.adapters.workers import is_dead, this_worker
from gateway.core.idempotency import KeyName, State
from gateway.core.ledger import micros, seconds
from gateway.core.limits import MAX_DOUBLE_USD, Limit, fits_doubles
from gateway.core.moving import (
    AT_ONCE,
    Counted,
    Holding,
    Keyed,
    Limited,
    Opened,
    Piece,
    Seated,
    Serving,
    Settled,
    Whole,
)
from gateway.core.quota import Tally
from gateway.core.verify import Row
from gateway.ports import DEAD_AFTER_S, StoreFailed, UnfitError

ATTEMPT_S: Final = 10.0
PATIENCE_S: Final = 30.0
"""No client waits."""


class RedisSource(RedisReader):
    """The `LedgerSource` port. See `open`."""

    async def living(self) -> int:
        """How many workers are alive on it."""
        at, about, beats, _ = await self._store.read(act("roll"), "")
        host, now = this_worker().host, seconds(int(at))
        return sum(not is_dead(one, now, host) for one in roll.registered(about, beats).values())

    async def pieces(self) -> AsyncIterator[Sequence[Piece]]:
        """All that it holds, in the state that it has now."""
        estate = await self._store.read(act("estate"))
        marks = {name: int(value) for name, value in rows.pairs(estate[-1]).items() if value.isdigit()}
        others = _all_but_records(estate)
        while pieces := list(islice(others, AT_ONCE)):
            yield pieces
        yield (Whole(marks.get("pruned", 0), marks.get("folded", 0)),)
        async for settled in self._records(marks.get("number", 0), marks.get("corrected", 0)):
            yield settled

    async def _records(self, latest: int, correction: int) -> AsyncIterator[Sequence[Settled]]:
        """Those that were written then, as they were then."""
        prefix = f"a{rows.SEP}"
        stop: str | bytes = prefix + ":"
        while True:
            found = await self._store.read(act("page"), prefix, stop, AT_ONCE, len(prefix), correction)
            ends = zip(found[::2], found[1::2], strict=True)
            known = [(place[len(prefix) + 20 :].decode(), kept) for place, kept in ends]
            yield await asyncio.to_thread(lambda: [*_settled(known, latest)])  # noqa: B023 - awaited
            if len(known) < AT_ONCE:
                return
            stop = found[-2]


class RedisTarget(Reads):
    """
    The `LedgerTarget` port. See `open`.

    Args:
        store: where it is to lie.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._token = os.urandom(8).hex()
        """Of this filling: whoever begins anew has another one."""

    @classmethod
    def open(cls, address: RedisAddress, *, tag: str = TAG, strict: bool = False) -> Self:
        """
        A ledger that is to be filled at this address. Not to be called where a loop must not wait.

        Args:
            address: of the server.
            tag: of the ledger's keys.
            strict: as of `RedisLedger.open`.

        Raises:
            UnfitError: the server is not fit for a ledger; the message says why and what to do.
        """
        ledger = examine(address, tag, strict=strict, may_be_incomplete=True)
        store = Store(address, tag, attempt_s=ATTEMPT_S, patience_s=PATIENCE_S, strict=strict, ledger=ledger)
        return cls(store)

    async def begin(self, limits: Iterable[Limit], *, anew: bool) -> None:
        """Make sure that it holds nothing, and mark it as incomplete."""
        large = next((one for one in limits if not fits_doubles(one)), None)
        if large is not None:
            raise UnfitError(
                f"A limit that was set while running, '{large.text}', is more than a Redis store can count exactly "
                f"(${MAX_DOUBLE_USD:,} in a window). Set a smaller one, or none (docs/limits.md)."
            )
        asked = (self._token, VERSION, "1" if anew else "0", micros(DEAD_AFTER_S))
        match await self._store.write(act("begin"), *asked):
            case b"begun":
                return
            case b"incomplete":
                raise UnfitError(
                    f"The ledger at {self._store.address} was left incomplete by a migration. "
                    "Say --resume to empty it and begin again."
                )
            case b"served":
                raise UnfitError(
                    f"A gateway runs on the ledger at {self._store.address}. Stop it, and try again half a minute later."
                )
            case _:
                raise UnfitError(
                    f"The ledger at {self._store.address} is not empty, and is not overwritten. Name another place, or "
                    "remove what lies there."
                )

    async def take(self, pieces: Sequence[Piece]) -> None:
        """Keep some pieces."""
        arguments = await asyncio.to_thread(lambda: [one for piece in pieces for one in _taken(piece)])
        if arguments:
            self._see_that_it_is_ours(await self._store.write(act("take"), self._token, *arguments))

    async def finish(self) -> None:
        """It is complete."""
        self._see_that_it_is_ours(await self._store.write(act("whole"), self._token))

    @staticmethod
    def _see_that_it_is_ours(reply: Reply) -> None:
        if reply < 0:
            raise StoreFailed("another migration has begun anew on it", unknown=False)


def _all_but_records(estate: Sequence[Reply]) -> Iterator[Piece]:
    about, beats, called, noted, inside, holds, tallies, limits, keys, _ = estate
    for worker in roll.registered(about, beats).values():
        yield Serving(worker.id, worker.host, worker.pid, worker.born, worker.beat_us)
    for scope, kept in rows.pairs(limits).items():
        yield Limited(scope, claims.from_limits(kept))
    for name, kept in rows.pairs(keys).items():
        at, owner, call_id, fingerprint, state = orjson.loads(kept)
        yield Keyed(KeyName(name), int(at), owner, call_id, fingerprint, State(state))
    for row, kept in rows.pairs(tallies).items():
        yield Counted(rows.from_row(row), Tally(*rows.from_tally(kept)))
    for id_, kept in rows.pairs(holds).items():
        at, images, image_tokens, tokens, cost, lost, *posted = orjson.loads(kept)
        held = rows.amounts(int(count) for count in (images, image_tokens, tokens, cost))
        yield Holding(id_, int(at), tuple(map(rows.from_row, posted)), held, lost == "1")
    for id_, kept in rows.pairs(inside).items():
        at, owner, *posted = orjson.loads(kept)
        yield Seated(id_, int(at), owner, tuple(map(rows.from_row, posted)))
    for call in rows.from_all_open(called, noted):
        yield Opened(call)


def _settled(known: Iterable[tuple[str, bytes]], latest: int) -> Iterator[Settled]:
    for id_, kept in known:
        number, day_us, images = rows.charged(kept)
        if number <= latest:
            yield Settled(rows.from_record(id_, kept), day_us, images)


def _taken(piece: Piece) -> tuple[Value, ...]:
    """What lua/take.lua is told of it."""
    match piece:
        case Settled(record, day_us, images):
            id_, _ = rows.known_as(record)
            return ("record", id_, rows.to_head(record, "", day_us, images), rows.to_rest(record))
        case Opened(call):
            id_, _ = rows.known_as(call.record)
            return ("open", id_, *rows.to_open(call, call.worker or ""))
        case Counted(row, tally):
            used, held = tally.used, tally.held
            return (
                "tally",
                _row(row),
                " ".join((str(used.requests), *rows.to_charge(used), *rows.to_charge(held))),
                "",
            )
        case Holding(id_, at_us, posted, amounts, is_guess):
            counts = rows.to_charge(amounts)
            kept = [str(at_us), *counts, "1" if is_guess else "0", *map(_row, posted)]
            return ("hold", id_, orjson.dumps(kept), "")
        case Seated(id_, at_us, worker, posted):
            return ("inside", id_, orjson.dumps([str(at_us), worker, *map(_row, posted)]), "")
        case Limited(scope, limits):
            return ("limits", scope, orjson.dumps(claims.to_limits(limits)), "")
        case Keyed(name, at_us, worker, call_id, fingerprint, state):
            kept = [str(at_us), worker, call_id, fingerprint, state.value]
            return ("once", name, orjson.dumps(kept), str(at_us))
        case Serving(id_, host, pid, born, beat_us):
            return ("worker", id_, orjson.dumps([host, pid, born]), str(beat_us))
        case Whole(pruned_us, folded_us):
            marks = {"pruned": pruned_us, "folded": folded_us}
            return tuple(one for name, at in marks.items() if at for one in ("mark", name, str(at), ""))
        case _:
            assert_never(piece)


def _row(row: Row) -> str:
    scope, grain, start_us = row
    return f"{scope}{rows.SEP}{grain}{rows.SEP}{start_us:017d}"
