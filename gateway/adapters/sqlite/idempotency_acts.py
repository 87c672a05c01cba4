"""What is remembered of each `Idempotency-Key`: a table beside the ledger's, and the acts on it."""

from typing import Final

import apsw

from gateway.adapters.sqlite.living import alive, register
from gateway.adapters.workers import Worker
from gateway.core.idempotency import LIFE_S, Known, Once, State
from gateway.core.ledger import micros
from gateway.core.record import Outcome

_FIND: Final = "SELECT fingerprint, call, state, worker FROM idempotency_key WHERE name = ? AND at > ?"
_TAKE: Final = """
    INSERT OR REPLACE INTO idempotency_key (name, at, worker, call, fingerprint, state) VALUES (?, ?, ?, ?, ?, ?)
"""
_WENT_UP: Final = """
    SELECT 1 FROM open_call WHERE id = ?1 UNION ALL SELECT 1 FROM record WHERE id = ?1 AND outcome <> ?2
"""


def begin(db: apsw.Connection, once: Once, call_id: str, worker: Worker, now: float) -> Known | None:
    """Take a key, if it is free."""
    register(db, worker, now)
    row = db.execute(_FIND, (once.name, micros(now - LIFE_S))).fetchone()
    if row is not None:
        fingerprint, call, state, owner = row
        known = Known(fingerprint, call, State(state))
        if known.state is State.OPEN:
            if call == call_id:
                return None
            if owner in alive(db, worker, now):
                return known
            if db.execute(_WENT_UP, (call, Outcome.REFUSED.value)).fetchone() is not None:
                _set(db, once, call, State.CUT)
                return Known(fingerprint, call, State.CUT)
        elif known.state is not State.NOTED or fingerprint != once.fingerprint:
            return known
    taken = (once.name, micros(now), worker.id, call_id, once.fingerprint, State.OPEN.value)
    db.execute(_TAKE, taken)
    return None


def conclude(db: apsw.Connection, once: Once, call_id: str, state: State | None) -> None:
    """What a key stands for now."""
    if state is None:
        db.execute("DELETE FROM idempotency_key WHERE name = ? AND call = ?", (once.name, call_id))
    else:
        _set(db, once, call_id, state)


def tidy(db: apsw.Connection, now: float) -> None:
    """Forget the keys whose time is over."""
    db.execute("DELETE FROM idempotency_key WHERE at <= ?", (micros(now - LIFE_S),))


def _set(db: apsw.Connection, once: Once, call_id: str, state: State) -> None:
    db.execute(
        "UPDATE idempotency_key SET state = ? WHERE name = ? AND call = ?", (state.value, once.name, call_id)
    )
