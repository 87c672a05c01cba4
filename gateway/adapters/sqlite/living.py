"""Which workers of the ledger are alive, as its table has them."""

from typing import Any

import apsw

from gateway.adapters.workers import Worker, is_dead
from gateway.core.ledger import micros


def register(db: apsw.Connection, worker: Worker, now: float) -> None:
    """Note that a worker lives, before it takes anything."""
    # Somebody who took this worker for dead may have forgotten it, or be about to reap what it takes now.
    db.execute(
        "INSERT INTO worker (id, host, pid, born, beat) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, pardoned = 0 WHERE excluded.beat > beat",
        (worker.id, worker.host, worker.pid, worker.born, micros(now)),
    )


def alive(db: apsw.Connection, asking: Worker, now: float) -> list[str]:
    """The names of the workers that are not dead; the one that asks is not."""
    registered: list[tuple[Any, ...]] = db.execute("SELECT id, host, pid, born, beat FROM worker").fetchall()
    found = [Worker(*row) for row in registered]
    others = [one.id for one in found if one.id != asking.id and not is_dead(one, now, asking.host)]
    return [asking.id, *others]
