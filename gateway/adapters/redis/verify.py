"""
Whether the ledger adds up, and how it is mended where it does not.

Everything but the records is read in one act. They are numbered as they are written, and read after it piece by piece, up to
the number that was the last then, and as they were before corrections that have come since: so all of it is one state, and
nobody waits for whoever looks. What has to hold, and which days are judged, is decided in core/verify.py; what is mended here:

    counters   what is used becomes what the records come to, what is held what the open calls hold, no less than zero
    twice      of the records that pay for one response the first that was not lost stays
    orphans    holds and places without an owner go, and who is inside without one, or has its record, leaves
    places     whoever is inside and has none where it should gets it back
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

import orjson

from gateway.adapters.redis import rows
from gateway.adapters.redis.acts import act
from gateway.adapters.redis.ledger_store import Store
from gateway.adapters.redis.scripts import Reply
from gateway.core.ledger import settles
from gateway.core.limits import Unit
from gateway.core.quota import Amounts, Tally, charge_of
from gateway.core.record import Outcome
from gateway.core.verify import (
    Books,
    Broken,
    Counter,
    Hold,
    Inside,
    Seat,
    What,
    broken,
    charges_by_scope,
)

PASSES: Final = 3
"""Of mending: what is put right can show what is wrong elsewhere, such as a sum once a record is gone."""
AT_ONCE: Final = 500
_COLUMNS: Final = {
    (What.USED, Unit.IMAGES): 1,
    (What.USED, Unit.IMAGE_TOKENS): 2,
    (What.USED, Unit.TOKENS): 3,
    (What.USED, Unit.USD): 4,
    (What.HELD, Unit.IMAGES): 5,
    (What.HELD, Unit.IMAGE_TOKENS): 6,
    (What.HELD, Unit.TOKENS): 7,
    (What.HELD, Unit.USD): 8,
}
"""Of a row, as lua/ledger.lua has it; requests are 0."""

_Payers = dict[str, list[tuple[bool, int, str]]]
"""Of each response that is paid for more than once: whether the record was lost, its number, its id."""


async def verify(store: Store) -> tuple[Broken, ...]:
    """What does not hold, in one state of the ledger."""
    books, _ = await _books(store)
    return broken(books)


async def repair(store: Store) -> tuple[Broken, ...]:
    """
    Mend what does not hold.

    Returns:
        What was mended.
    """
    mended: dict[Broken, None] = {}
    for _ in range(PASSES):
        books, payers = await _books(store)
        found = broken(books)
        if not found:
            break
        todo = [act_ for one in found for act_ in _mending(one, payers)]
        await store.write(act("mend"), os.urandom(8).hex(), orjson.dumps(todo))
        mended |= dict.fromkeys(found)
    left = set(await verify(store)) if mended else set()
    return tuple(one for one in mended if one not in left)


async def _books(store: Store) -> tuple[Books, _Payers]:
    tallies, holds, inside, places, kept = await store.read(act("books"))
    marks = _marks(kept)
    books = Books(
        tallies={
            rows.from_row(row): Tally(*rows.from_tally(value)) for row, value in rows.pairs(tallies).items()
        },
        charges={},
        holds=[_hold(*one) for one in _threes(holds)],
        inside=[
            Inside(id_.decode(), _scopes(posted), bool(worker), bool(over))
            for id_, posted, worker, over in zip(*[iter(inside)] * 4, strict=True)
        ],
        places=[Seat(*place.decode().rsplit(rows.SEP, 1)) for place in places],
        pruned_us=marks.get("pruned", 0),
        folded_us=marks.get("folded", 0),
    )
    charged, payers = await _charged(store, marks.get("number", 0), marks.get("corrected", 0))
    then = _marks(await store.look("HGETALL", "mark"))
    books = replace(
        books,
        pruned_us=then.get("pruned", 0),
        paid_twice={response: len(records) for response, records in payers.items()},
    )
    judged = (one for one in charged if one[0] >= books.judged_from_us)
    books = replace(books, charges=charges_by_scope(judged))
    return books, payers


async def _charged(
    store: Store, latest: int, correction: int
) -> tuple[list[tuple[int, str | None, str | None, Amounts]], _Payers]:
    """What the records came to at a number and a correction, by day, team and key; and who is paid for more than once."""
    sums: defaultdict[tuple[int, str | None, str | None], Amounts] = defaultdict(Amounts)
    payers: defaultdict[str, set[tuple[bool, int, str]]] = defaultdict(set)
    prefix = f"a{rows.SEP}"
    stop: str | bytes = prefix + ":"
    while True:
        found = await store.read(act("page"), prefix, stop, AT_ONCE, len(prefix), correction)
        paying: dict[str, tuple[bool, int, str]] = {}
        for place, kept in zip(found[::2], found[1::2], strict=True):
            number, day_us, images = rows.charged(kept)
            record = rows.from_record(place[len(prefix) + 20 :].decode(), kept)
            if number > latest:
                continue
            if day_us is not None:
                sums[day_us, record.team, record.key] += charge_of(record, images)
            response = settles(record)
            if response is not None:
                this = (record.outcome is Outcome.LOST, number, record.id)
                if response in paying:
                    payers[response] |= {paying[response], this}
                paying[response] = this
        for response, others in (await _other_payers(store, paying)).items():
            payers[response] |= {paying[response], others}
        if len(found) < 2 * AT_ONCE:
            break
        stop = found[-2]
    charged = [(*about, amounts) for about, amounts in sums.items()]
    return charged, {response: sorted(records) for response, records in payers.items()}


async def _other_payers(
    store: Store, paying: dict[str, tuple[bool, int, str]]
) -> dict[str, tuple[bool, int, str]]:
    """Of each response that another record is known to pay for: that one."""
    if not paying:
        return {}
    known = dict(zip(paying, await store.look("HMGET", "paying", *paying), strict=True))
    found = {}
    for response, other in known.items():
        if other is None or other.decode() == paying[response][2]:
            continue
        kept = await store.look("HGET", "record", other)
        if kept is not None:
            record = rows.from_record(other.decode(), kept)
            found[response] = (record.outcome is Outcome.LOST, rows.charged(kept)[0], record.id)
    return found


def _mending(one: Broken, payers: _Payers) -> Iterator[list[object]]:
    """What lua/mend.lua is to do about it."""
    match one.what, one.where:
        case What.USED | What.HELD | What.NEGATIVE, Counter() as counter:
            what = What.HELD if one.what is What.HELD else What.USED
            deltas = ["0"] * 9
            deltas[_COLUMNS.get((what, counter.unit), 0)] = str(one.expected - one.found)
            yield [
                "add",
                f"{counter.scope}{rows.SEP}{counter.grain}{rows.SEP}{counter.start_us:017d}",
                deltas,
            ]
        case What.PAID_TWICE, str(response):
            (_, _, stays), *others = payers[response]
            for _, _, record_id in others:
                yield ["forget", record_id, response, stays]
        case What.HOLD_WITHOUT_CALL | What.LOSS_WITHOUT_RECORD, str(id_):
            yield ["release", id_]
        case What.INSIDE_WITHOUT_WORKER | What.INSIDE_AFTER_END, str(id_):
            yield ["leave", id_]
        case What.PLACE_MISSING, Seat(scope, call_id):
            yield ["place", scope, call_id]
        case What.PLACE_LEFT_OVER, Seat(scope, call_id):
            yield ["unplace", scope, call_id]
        case what_, where:
            raise AssertionError(f"{what_} is nothing of {where!r} here")


def _hold(id_: bytes, kept: bytes, has_owner: int) -> Hold:
    _, images, image_tokens, tokens, cost, lost, *posted = orjson.loads(kept)
    held = rows.amounts(int(count) for count in (images, image_tokens, tokens, cost))
    return Hold(id_.decode(), tuple(map(rows.from_row, posted)), held, lost == "1", bool(has_owner))


def _scopes(kept: bytes) -> frozenset[str]:
    _, _, *posted = orjson.loads(kept)
    return frozenset(rows.from_row(row)[0] for row in posted)


def _threes(values: Iterable[Reply]) -> Iterator[tuple[Reply, Reply, Reply]]:
    ends = iter(values)
    return zip(ends, ends, ends, strict=True)


def _marks(kept: Iterable[bytes]) -> dict[str, int]:
    return {name: int(value) for name, value in rows.pairs(kept).items() if value.isdigit()}
