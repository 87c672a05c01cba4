"""
The canonical log line: one a request, made of its record.

As JSON it is the record; on a terminal it is one readable line.
"""

import logging
from datetime import UTC, datetime

from gateway.core.record import Outcome, Record

_log = logging.getLogger("imagegate.request")
_LOUD = frozenset({Outcome.FAILED, Outcome.UPSTREAM_CUT, Outcome.INCOMPLETE})


class LogJournal:
    """The `Journal` port over the process's log."""

    def write(self, record: Record) -> None:
        """Log the record; whatever a log handler does wrong stays there (`logging.raiseExceptions`)."""
        fields = record.told()
        fields["at"] = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="microseconds")
        level = logging.WARNING if record.outcome in _LOUD else logging.INFO
        _log.log(level, _line(record), extra={"fields": fields})


def _line(record: Record) -> str:
    """`200 completed images.generations design/web-1 gpt-image-2 2041 ms 898371 B igr_…`."""
    who = None if record.key is None else f"{record.team}/{record.key}"
    parts = [
        str(record.status or "–"),
        record.outcome.value,
        record.code,
        record.route or record.method,
        who,
        record.model,
        f"{record.duration_ms:.0f} ms",
        f"{record.bytes_out} B",
        record.id,
    ]
    return " ".join(part for part in parts if part is not None)
