"""Records and open calls as rows, and back. What a field means is the record's own business."""

from typing import Any, Final

import orjson

from gateway.core import remembered
from gateway.core.call import Call
from gateway.core.ledger import FIELDS, OpenCall, dumps, flat, from_flat, loads, micros, seconds
from gateway.core.record import Record

Value = str | int | float | None
Row = tuple[Any, ...]
"""As SQLite gives it; the tables are STRICT, so that each column has the type that its field has."""

COLUMNS: Final = ", ".join(FIELDS)
RECORDS: Final = f"SELECT {COLUMNS} FROM record"  # noqa: S608 - our own names, no value
"""To be followed by conditions."""
PAYING: Final = f"{RECORDS} WHERE response_id = ? AND cache NOT IN ('hit', 'collapsed')"
"""The record that pays for a response: the condition is that of the unique index."""
_JSON: Final = ("tags", "lines")


def to_row(record: Record) -> tuple[Value, ...]:
    """The columns of `record`, in the order of `COLUMNS`."""
    plain: dict[str, Any] = flat(record)
    plain["at"] = micros(record.at)
    for name in _JSON:
        plain[name] = orjson.dumps(plain[name]).decode()
    return tuple(plain[name] for name in FIELDS)


def from_row(row: Row) -> Record:
    """The record of a row that was selected as `COLUMNS`."""
    plain = dict(zip(FIELDS, row, strict=True))
    plain["at"] = seconds(plain["at"])
    plain["stream"] = bool(plain["stream"])
    for name in _JSON:
        plain[name] = orjson.loads(plain[name])
    return from_flat(plain)


OPEN_COLUMNS: Final = "id, at, worker, dispatched, deadline, response_id, record, asked"

CALLS: Final = f"SELECT {OPEN_COLUMNS} FROM open_call"  # noqa: S608 - our own names, no value
"""To be followed by conditions."""
CALLED_FOR: Final = f"{CALLS} WHERE response_id = ? ORDER BY at, id LIMIT 1"
"""The call that is open for a response."""


def to_open_row(call: OpenCall, worker: str) -> tuple[Value, ...]:
    """The columns of `open_call`, in the order of `OPEN_COLUMNS`."""
    record = call.record
    deadline = None if call.deadline is None else micros(call.deadline)
    return (
        record.id,
        micros(record.at),
        worker,
        int(call.dispatched),
        deadline,
        record.response_id,
        dumps(record).decode(),
        to_asked(call.call),
    )


def to_asked(call: Call | None) -> str | None:
    """The column of what was asked."""
    return None if call is None else remembered.dumps(call).decode()


def from_open_row(row: Row) -> OpenCall:
    """The call of a row that was selected as `OPEN_COLUMNS`."""
    _, _, worker, dispatched, deadline, _, record, asked = row
    return OpenCall(
        record=loads(record),
        dispatched=bool(dispatched),
        deadline=None if deadline is None else seconds(deadline),
        worker=worker,
        call=remembered.loads(asked),
    )
