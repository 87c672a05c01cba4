"""
Whether the ledger adds up, and how it is mended where it does not.

Read in one transaction: gateways may run meanwhile, every act of theirs is seen whole or not at all. What has to hold,
and which days are judged, is decided in core/verify.py; here it is looked up, and put right:

    counters   what is used becomes what the records come to, what is held what the open calls hold, no less than zero
    twice      the record that the ledger would have kept stays: the first that was not lost
    orphans    holds and places without an owner go, and who is inside without one, or has its record, leaves
    places     whoever is inside and has none where it should gets it back

Records are otherwise left alone, and what rolling windows count was used rolls out by itself.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import apsw
import orjson

from gateway.adapters.sqlite import marks, quota
from gateway.core.limits import Unit
from gateway.core.quota import Amounts, Tally
from gateway.core.units import NanoUSD
from gateway.core.verify import (
    Books,
    Broken,
    Counter,
    Hold,
    Inside,
    Row,
    Seat,
    What,
    broken,
    charges_by_scope,
)

PASSES: Final = 3
"""Of mending: what is put right can show what is wrong elsewhere, such as a sum once a record is gone."""

TALLIES: Final = """
    SELECT scope, grain, start, requests, images, image_tokens, tokens, cost_nusd,
        held_images, held_image_tokens, held_tokens, held_cost_nusd FROM tally
"""
_CHARGES: Final = """
    SELECT charged_day, team, key, sum(charged_images), sum(output_image_tokens),
        sum(input_text_tokens + input_image_tokens + output_image_tokens + output_text_tokens), sum(cost_nusd)
    FROM record WHERE charged_day >= ? GROUP BY charged_day, team, key
"""
# The condition is that of core.ledger.is_provisional.
_HOLDS: Final = """
    SELECT id, rows, images, image_tokens, tokens, cost_nusd, lost, CASE
        WHEN lost THEN EXISTS (
            SELECT 1 FROM record WHERE record.id = hold.id AND (outcome = 'lost' OR (
                tokens_from = 'estimated' AND response_id IS NOT NULL AND cache NOT IN ('hit', 'collapsed')
            ))
        )
        ELSE EXISTS (SELECT 1 FROM open_call WHERE open_call.id = hold.id) END
    FROM hold
"""
_INSIDE: Final = """
    SELECT id, rows, EXISTS (SELECT 1 FROM worker WHERE worker.id = admission.worker),
        EXISTS (SELECT 1 FROM record WHERE record.id = admission.id)
    FROM admission
"""
_RECORDED_TWICE: Final = "SELECT id, count(*) FROM record GROUP BY id HAVING count(*) > 1"
_PAYING: Final = "response_id IS NOT NULL AND cache NOT IN ('hit', 'collapsed')"
"""As the unique index has it."""
_PAID_TWICE: Final = (
    f"SELECT response_id, count(*) FROM record WHERE {_PAYING} GROUP BY response_id HAVING count(*) > 1"  # noqa: S608 - our own condition, no value
)
_KEEP_ONE: Final = """
    DELETE FROM record WHERE id = :id AND rowid <>
        (SELECT rowid FROM record WHERE id = :id ORDER BY outcome = 'lost', rowid LIMIT 1)
"""
_KEEP_ONE_PAYING: Final = f"""
    DELETE FROM record WHERE response_id = :id AND {_PAYING} AND rowid <>
        (SELECT rowid FROM record WHERE response_id = :id AND {_PAYING} ORDER BY outcome = 'lost', rowid LIMIT 1)
"""  # noqa: S608 - our own condition, no value
_ROW: Final = """
    INSERT INTO tally (scope, grain, start, requests, images, image_tokens, tokens, cost_nusd,
        held_images, held_image_tokens, held_tokens, held_cost_nusd)
    VALUES (?, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0, 0) ON CONFLICT DO NOTHING
"""
_COLUMNS: Final = {
    Unit.REQUESTS: "requests",
    Unit.IMAGES: "images",
    Unit.IMAGE_TOKENS: "image_tokens",
    Unit.TOKENS: "tokens",
    Unit.USD: "cost_nusd",
}


def verify(db: apsw.Connection) -> tuple[Broken, ...]:
    """What does not hold, in one state of the ledger. Not to be called within a transaction."""
    db.execute("BEGIN")
    try:
        return broken(_books(db))
    finally:
        db.execute("ROLLBACK")


def repair(db: apsw.Connection) -> tuple[Broken, ...]:
    """
    Mend what does not hold.

    Args:
        db: within a transaction.

    Returns:
        What was mended.
    """
    mended: dict[Broken, None] = {}
    for _ in range(PASSES):
        found = broken(_books(db))
        if not found:
            break
        for one in found:
            _mend(db, one)
        mended |= dict.fromkeys(found)
    left = set(broken(_books(db))) if mended else set()
    return tuple(one for one in mended if one not in left)


def _books(db: apsw.Connection) -> Books:
    books = Books(
        tallies=dict(_tallies(db)),
        charges={},
        holds=[_hold(row) for row in db.execute(_HOLDS)],
        inside=[
            Inside(id_, frozenset(scope for scope, _, _ in _rows(posted)), bool(worker), bool(over))
            for id_, posted, worker, over in db.execute(_INSIDE)
        ],
        places=[Seat(*row) for row in db.execute("SELECT scope, id FROM place")],
        recorded_twice=dict(db.execute(_RECORDED_TWICE)),
        paid_twice=dict(db.execute(_PAID_TWICE)),
        pruned_us=marks.mark(db, marks.PRUNED),
        folded_us=marks.mark(db, marks.FOLDED),
    )
    charged = (
        (day, team, key, _amounts(counts))
        for day, team, key, *counts in db.execute(_CHARGES, (books.judged_from_us,))
    )
    return replace(books, charges=charges_by_scope(charged))


def _tallies(db: apsw.Connection) -> Iterator[tuple[Row, Tally]]:
    for scope, grain, start, requests, *counts in db.execute(TALLIES):
        used = _amounts(counts[:4]) + Amounts(requests=requests)
        yield (scope, grain, start), Tally(used, _amounts(counts[4:]))


def _hold(row: tuple[Any, ...]) -> Hold:
    id_, posted, *counts, lost, has_owner = row
    return Hold(id_, _rows(posted), _amounts(counts), bool(lost), bool(has_owner))


def _rows(text: str) -> tuple[Row, ...]:
    return tuple((scope, grain, start) for scope, grain, start in orjson.loads(text))


def _amounts(counts: list[int]) -> Amounts:
    images, image_tokens, tokens, cost = counts
    return Amounts(images=images, image_tokens=image_tokens, tokens=tokens, cost_nusd=NanoUSD(cost))


def _mend(db: apsw.Connection, one: Broken) -> None:
    match one.what, one.where:
        case What.USED | What.NEGATIVE, Counter() as counter:
            _put(db, counter, _COLUMNS[counter.unit], one.expected)
        case What.HELD, Counter() as counter:
            _put(db, counter, f"held_{_COLUMNS[counter.unit]}", one.expected)
        case What.RECORDED_TWICE, str(id_):
            db.execute(_KEEP_ONE, {"id": id_})
        case What.PAID_TWICE, str(id_):
            db.execute(_KEEP_ONE_PAYING, {"id": id_})
        case What.HOLD_WITHOUT_CALL | What.LOSS_WITHOUT_RECORD, str(id_):
            db.execute("DELETE FROM hold WHERE id = ?", (id_,))
        case What.INSIDE_WITHOUT_WORKER | What.INSIDE_AFTER_END, str(id_):
            quota.leave(db, id_)
        case What.PLACE_MISSING, Seat(scope, call_id):
            db.execute("INSERT INTO place (scope, id) VALUES (?, ?)", (scope, call_id))
        case What.PLACE_LEFT_OVER, Seat(scope, call_id):
            db.execute("DELETE FROM place WHERE scope = ? AND id = ?", (scope, call_id))
        case what, where:
            raise AssertionError(f"{what} is nothing of {where!r}")


def _put(db: apsw.Connection, counter: Counter, column: str, amount: int) -> None:
    row = (counter.scope, counter.grain, counter.start_us)
    db.execute(_ROW, row)
    db.execute(
        f"UPDATE tally SET {column} = ? WHERE scope = ? AND grain = ? AND start = ?",  # noqa: S608 - our own names
        (amount, *row),
    )
