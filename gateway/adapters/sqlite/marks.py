"""How far back the ledger is whole: instants that only move on, each under a name."""

from typing import Final

import apsw

PRUNED: Final = "pruned"
"""The latest day in which a record was charged that has been forgotten: its beginning, epoch microseconds."""
FOLDED: Final = "folded"
"""Days that begin earlier have no row of their own any more; epoch microseconds."""
INCOMPLETE: Final = "incomplete"
"""It is there as long as the ledger is being filled from another store: by whom, a number."""


def move(db: apsw.Connection, name: str, at_us: int) -> None:
    """Move a mark on; never back."""
    db.execute(
        "INSERT INTO mark (name, at) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET at = max(at, excluded.at)",
        (name, at_us),
    )


def mark(db: apsw.Connection, name: str) -> int:
    """Where it stands; 0: it was never moved."""
    row = db.execute("SELECT at FROM mark WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])
