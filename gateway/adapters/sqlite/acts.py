"""
The writes of the ledger, each one an act within a transaction that somebody else began and will end.

Every act is repeatable by id: done again, after a commit of which nobody knows whether it took place, it finds what it
did and does it no second time. What must land together with one of them runs in the same transaction.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

import apsw
import orjson

from gateway.adapters.sqlite import idempotency_acts, marks, quota, rows
from gateway.adapters.sqlite.living import alive, register
from gateway.adapters.workers import Worker
from gateway.core.call import Call
from gateway.core.ledger import (
    FIELDS,
    OpenCall,
    Settlement,
    Verdict,
    is_provisional,
    lost,
    micros,
    settled,
    settles,
)
from gateway.core.limits import Limit
from gateway.core.quota import NOTHING, Claim, Exceeded, Standing, charge_of
from gateway.core.record import Outcome, Record

AT_ONCE: Final = 200
"""Calls that one act reaps: others wait for the writer meanwhile."""
PRUNED_AT_ONCE: Final = 2000
"""Records that one act forgets, likewise."""

_INSERT: Final = " ".join(
    (
        "INSERT INTO record (",
        rows.COLUMNS,
        ", charged_day, charged_images) VALUES (?",
        ", ?" * (len(FIELDS) + 1),
        ")",
    )
)
_OPEN: Final = f"""
    INSERT INTO open_call ({rows.OPEN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""  # noqa: S608 - our own names, no value
_ADOPT: Final = """
    UPDATE open_call SET worker = :to WHERE response_id IS NOT NULL AND (deadline IS NULL OR deadline > :now)
    AND worker NOT IN (SELECT value FROM json_each(:alive))
"""
_ADOPTED: Final = f"""{rows.CALLS}
    WHERE worker = :to AND response_id IS NOT NULL AND (deadline IS NULL OR deadline > :now)
    AND id NOT IN (SELECT value FROM json_each(:held)) ORDER BY at, id
"""  # noqa: S608 - our own names, no value
_LEFT: Final = f"""{rows.CALLS}
    WHERE deadline <= :now OR (response_id IS NULL AND worker NOT IN (SELECT value FROM json_each(:alive)))
    ORDER BY at, id LIMIT :most
"""  # noqa: S608 - our own names, no value


def admit(db: apsw.Connection, claim: Claim, worker: Worker, now: float) -> Standing | Exceeded:
    """Let a call in, if its limits do."""
    register(db, worker, now)
    return quota.enter(db, claim, worker.id, micros(now), hold=False)


def leave(db: apsw.Connection, call_id: str) -> None:
    """Give back the place of a call."""
    quota.leave(db, call_id)


def reserve(
    db: apsw.Connection, call: OpenCall, claim: Claim | None, worker: Worker, now: float, *, force: bool
) -> Standing | Exceeded:
    """Hold what a call may come to, if its limits let it, and note it. One that has its record takes nothing."""
    if _one(db, "SELECT 1 FROM record WHERE id = ?", call.record.id) is not None:
        return Standing(micros(now))
    register(db, worker, now)
    if claim is None:
        found: Standing | Exceeded = Standing(micros(now))
    else:
        found = quota.enter(db, claim, worker.id, micros(now), hold=True, force=force)
    if isinstance(found, Standing):
        db.execute(_OPEN, rows.to_open_row(call, worker.id))
    return found


def dispatch(db: apsw.Connection, record_id: str) -> bool:
    """Note that the request goes up."""
    db.execute("UPDATE open_call SET dispatched = 1 WHERE id = ?", (record_id,))
    return db.changes() > 0


def entrust(
    db: apsw.Connection,
    record_id: str,
    response_id: str,
    deadline: float,
    asked: Call | None,
    *,
    leaves: bool,
) -> bool:
    """Note that the call runs in the background, and what was asked. `leaves`: it gives back its place."""
    row = _one(db, "SELECT record FROM open_call WHERE id = ?", record_id)
    if row is None:
        return False
    plain = orjson.loads(row[0]) | {"response_id": response_id}
    db.execute(
        "UPDATE open_call SET dispatched = 1, response_id = ?, deadline = ?, record = ?, asked = ? WHERE id = ?",
        (response_id, micros(deadline), orjson.dumps(plain).decode(), rows.to_asked(asked), record_id),
    )
    if leaves:
        quota.leave(db, record_id)
    return True


def settle(db: apsw.Connection, record: Record, images: int) -> Settlement:
    """Write a call's record, unless one stands, close the call, and count what it came to."""
    given, payer = record.id, _payer(db, settles(record))
    if payer is not None and payer.id != given:
        if _is_noted(db, given):
            # It went up itself, and so it cost something itself: the upstream gave an id twice.
            record = replace(record, response_id=None)
        else:
            # Somebody else has seen the end of a call that runs in the background: the record is that call's.
            record = replace(record, id=payer.id, at=payer.at)
    _close(db, given, undo=record.outcome is Outcome.REFUSED)
    if record.id != given:
        _close(db, record.id)
        quota.end(db, given, NOTHING)
    row = _one(db, f"{rows.RECORDS} WHERE id = ?", record.id)
    before = None if row is None else rows.from_row(row)
    outcome = settled(before, record)
    if before is not None and outcome.verdict is Verdict.CORRECTED and not _is_recountable(db, before.id):
        outcome = Settlement(Verdict.REPEATED, before, before)
    stands = outcome.record
    if outcome.verdict is not Verdict.REPEATED:
        if outcome.verdict is Verdict.CORRECTED:
            db.execute("DELETE FROM record WHERE id = ?", (stands.id,))
        charge = charge_of(stands, images)
        day = quota.end(db, stands.id, charge, is_final=not is_provisional(stands))
        db.execute(_INSERT, (*rows.to_row(stands), day, 0 if day is None else images))
    return outcome


def set_limits(db: apsw.Connection, scope: str, limits: Sequence[Limit] | None, now: float) -> None:
    """Put limits before those configured."""
    quota.set_limits(db, scope, limits, micros(now))


def beat(db: apsw.Connection, worker: Worker, now: float) -> None:
    """The worker lives."""
    db.execute(
        "INSERT INTO worker (id, host, pid, born, beat) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, pardoned = 0",
        (worker.id, worker.host, worker.pid, worker.born, micros(now)),
    )


def adopt(db: apsw.Connection, worker: Worker, held: Collection[str], now: float) -> tuple[OpenCall, ...]:
    """Take over the background calls of dead workers. What the worker has and does not hold comes with them."""
    beat(db, worker, now)
    living = _names(alive(db, worker, now))
    db.execute(_ADOPT, {"to": worker.id, "now": micros(now), "alive": living})
    asked = {"to": worker.id, "now": micros(now), "held": _names(held)}
    return tuple(rows.from_open_row(row) for row in db.execute(_ADOPTED, asked))


def reap(db: apsw.Connection, worker: Worker, now: float) -> tuple[Settlement, ...]:
    """
    Settle as lost what dead workers left, up to `AT_ONCE` calls.

    Returns:
        What became of each such call; an empty tuple: nothing is left.
    """
    living = _names(alive(db, worker, now))
    quota.free_places(db, living)
    asked = {"now": micros(now), "alive": living, "most": AT_ONCE}
    left = [rows.from_open_row(row) for row in db.execute(_LEFT, asked).fetchall()]
    reaped = tuple(_lose(db, call, now) for call in left)
    if len(left) < AT_ONCE:
        db.execute(
            "DELETE FROM worker WHERE id NOT IN (SELECT value FROM json_each(?)) "
            "AND id NOT IN (SELECT worker FROM open_call)",
            (living,),
        )
    return reaped


def tidy(db: apsw.Connection, now: float) -> None:
    """Forget what no limit looks at any more, nor anybody who repeats a call."""
    quota.tidy(db, micros(now))
    idempotency_acts.tidy(db, now)


def prune(db: apsw.Connection, before: float) -> int:
    """Forget up to `PRUNED_AT_ONCE` records that arrived earlier, the oldest first."""
    pruned = db.execute(
        "DELETE FROM record WHERE rowid IN (SELECT rowid FROM record WHERE at < ? ORDER BY at LIMIT ?) "
        "RETURNING charged_day",
        (micros(before), PRUNED_AT_ONCE),
    ).fetchall()
    days = [int(day) for (day,) in pruned if day is not None]
    if days:
        marks.move(db, marks.PRUNED, max(days))
    return len(pruned)


def _close(db: apsw.Connection, call_id: str, *, undo: bool = False) -> None:
    db.execute("DELETE FROM open_call WHERE id = ?", (call_id,))
    quota.leave(db, call_id, undo=undo)


def _payer(db: apsw.Connection, response: str | None) -> Record | None:
    """The record that pays for a response, or that of the call that is open for it and will."""
    if response is None:
        return None
    if (paying := _one(db, rows.PAYING, response)) is not None:
        return rows.from_row(paying)
    called = _one(db, rows.CALLED_FOR, response)
    return None if called is None else rows.from_open_row(called).record


def _is_noted(db: apsw.Connection, call_id: str) -> bool:
    noted = "SELECT 1 FROM open_call WHERE id = ?1 UNION ALL SELECT 1 FROM record WHERE id = ?1"
    return _one(db, noted, call_id) is not None


def _is_recountable(db: apsw.Connection, call_id: str) -> bool:
    """Whether what a call was charged can be counted anew: where it was counted is still known, or it never was."""
    counted = _one(
        db, "SELECT 1 FROM record WHERE id = ? AND charged_day IS NOT NULL AND outcome <> 'lost'", call_id
    )
    return counted is None or quota.held(db, call_id) is not None


def _lose(db: apsw.Connection, call: OpenCall, now: float) -> Settlement:
    held = quota.held(db, call.record.id) if call.dispatched else None
    return settle(db, lost(call, now), (held or NOTHING).images)


def _names(names: Collection[str]) -> str:
    return orjson.dumps(list(names)).decode()


def _one(db: apsw.Connection, statement: str, value: str) -> rows.Row | None:
    return db.execute(statement, (value,)).fetchone()
