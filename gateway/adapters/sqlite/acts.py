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

from gateway.adapters.sqlite import marks, quota, rows
from gateway.adapters.sqlite.workers import Worker, is_dead
from gateway.core.call import Call
from gateway.core.ledger import FIELDS, OpenCall, Settlement, Verdict, lost, micros, settled, settles
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
    _register(db, worker, now)
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
    _register(db, worker, now)
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
    db: apsw.Connection, record_id: str, response_id: str, deadline: float, asked: Call | None
) -> bool:
    """Note that the call runs in the background, and what was asked."""
    row = _one(db, "SELECT record FROM open_call WHERE id = ?", record_id)
    if row is None:
        return False
    plain = orjson.loads(row[0]) | {"response_id": response_id}
    db.execute(
        "UPDATE open_call SET dispatched = 1, response_id = ?, deadline = ?, record = ?, asked = ? WHERE id = ?",
        (response_id, micros(deadline), orjson.dumps(plain).decode(), rows.to_asked(asked), record_id),
    )
    quota.leave(db, record_id)
    return True


def settle(db: apsw.Connection, record: Record, images: int) -> Settlement:
    """Write a call's record, unless one stands, close the call, and count what it came to."""
    _close(db, record.id, undo=record.outcome is Outcome.REFUSED)
    response, given = settles(record), record.id
    before, owner = None, None
    if response is not None:
        before, owner = _one(db, rows.PAYING, response), _one(db, rows.CALLED_FOR, response)
    if before is None:
        before = _one(db, f"{rows.RECORDS} WHERE id = ?", record.id)
    if before is None and owner is not None:
        # Somebody else has seen the end of a call that runs in the background: the record is that call's.
        call = rows.from_open_row(owner)
        _close(db, call.record.id)
        record = replace(record, id=call.record.id, at=call.record.at)
    outcome = settled(None if before is None else rows.from_row(before), record)
    stands = outcome.record
    if stands.id != given:
        quota.end(db, given, NOTHING)
    if outcome.verdict is not Verdict.REPEATED:
        if outcome.verdict is Verdict.CORRECTED:
            db.execute("DELETE FROM record WHERE id = ?", (stands.id,))
        charge = charge_of(stands, images)
        day = quota.end(db, stands.id, charge, lost=stands.outcome is Outcome.LOST)
        db.execute(_INSERT, (*rows.to_row(stands), day, 0 if day is None else images))
    return outcome


def set_limits(db: apsw.Connection, scope: str, limits: Sequence[Limit] | None, now: float) -> None:
    """Put limits before those configured."""
    quota.set_limits(db, scope, limits, micros(now))


def beat(db: apsw.Connection, worker: Worker, now: float) -> None:
    """The worker lives."""
    db.execute(
        "INSERT INTO worker (id, host, pid, born, beat) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET beat = excluded.beat",
        (worker.id, worker.host, worker.pid, worker.born, micros(now)),
    )


def adopt(db: apsw.Connection, worker: Worker, held: Collection[str], now: float) -> tuple[OpenCall, ...]:
    """Take over the background calls of dead workers. What the worker has and does not hold comes with them."""
    beat(db, worker, now)
    alive = _names(_alive(db, worker, now))
    db.execute(_ADOPT, {"to": worker.id, "now": micros(now), "alive": alive})
    asked = {"to": worker.id, "now": micros(now), "held": _names(held)}
    return tuple(rows.from_open_row(row) for row in db.execute(_ADOPTED, asked))


def reap(db: apsw.Connection, worker: Worker, now: float) -> tuple[Settlement, ...]:
    """
    Settle as lost what dead workers left, up to `AT_ONCE` calls.

    Returns:
        What became of each such call; an empty tuple: nothing is left.
    """
    alive = _names(_alive(db, worker, now))
    quota.free_places(db, alive)
    asked = {"now": micros(now), "alive": alive, "most": AT_ONCE}
    left = [rows.from_open_row(row) for row in db.execute(_LEFT, asked).fetchall()]
    reaped = tuple(_lose(db, call, now) for call in left)
    if len(left) < AT_ONCE:
        db.execute(
            "DELETE FROM worker WHERE id NOT IN (SELECT value FROM json_each(?)) "
            "AND id NOT IN (SELECT worker FROM open_call)",
            (alive,),
        )
    return reaped


def tidy(db: apsw.Connection, now: float) -> None:
    """Forget what no limit looks at any more."""
    quota.tidy(db, micros(now))


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


def _register(db: apsw.Connection, worker: Worker, now: float) -> None:
    # Somebody who took this worker for dead may have forgotten it, or be about to reap what it takes now.
    db.execute(
        "INSERT INTO worker (id, host, pid, born, beat) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET beat = excluded.beat WHERE excluded.beat > beat",
        (worker.id, worker.host, worker.pid, worker.born, micros(now)),
    )


def _close(db: apsw.Connection, call_id: str, *, undo: bool = False) -> None:
    db.execute("DELETE FROM open_call WHERE id = ?", (call_id,))
    quota.leave(db, call_id, undo=undo)


def _lose(db: apsw.Connection, call: OpenCall, now: float) -> Settlement:
    held = quota.held(db, call.record.id) if call.dispatched else None
    return settle(db, lost(call, now), (held or NOTHING).images)


def _alive(db: apsw.Connection, asking: Worker, now: float) -> list[str]:
    registered: list[rows.Row] = db.execute("SELECT id, host, pid, born, beat FROM worker").fetchall()
    found = [Worker(*row) for row in registered]
    others = [one.id for one in found if one.id != asking.id and not is_dead(one, now, asking.host)]
    return [asking.id, *others]


def _names(names: Collection[str]) -> str:
    return orjson.dumps(list(names)).decode()


def _one(db: apsw.Connection, statement: str, value: str) -> rows.Row | None:
    return db.execute(statement, (value,)).fetchone()
