"""
The canonical log line: one a request, made of its record.

As JSON it is the record; on a terminal it is one readable line.
"""

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from gateway.core.record import Outcome, Record

if TYPE_CHECKING:
    from gateway.ports import Journal

_log = logging.getLogger("imagegate.request")
_LOUD = frozenset({Outcome.FAILED, Outcome.UPSTREAM_CUT, Outcome.INCOMPLETE})


class LogJournal:
    """The `Journal` port over the process's log."""

    def write(self, record: Record, *, counts: bool = True) -> None:
        """Log the record; whatever a log handler does wrong stays there (`logging.raiseExceptions`)."""
        del counts
        fields = record.told()
        fields["at"] = datetime.fromtimestamp(record.at, UTC).isoformat(timespec="microseconds")
        level = logging.WARNING if record.outcome in _LOUD else logging.INFO
        _log.log(level, _line(record), extra={"fields": fields})

    def count(self, record: Record) -> None:
        """Nothing: lines are not counted."""


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


class ProcessJournal:
    """
    The `Journal` port: the journal of this process, whatever it is made of.

    The protocol of connections is made before the application, and travels to worker processes: it finds there what the
    application has put in.
    """

    def __init__(self) -> None:
        self.journal: Journal = LogJournal()

    def write(self, record: Record, *, counts: bool = True) -> None:
        """Pass a record on."""
        self.journal.write(record, counts=counts)

    def count(self, record: Record) -> None:
        """Likewise."""
        self.journal.count(record)

    def __reduce__(self) -> str:
        return "PROCESS"


PROCESS: Final = ProcessJournal()
"""The only one: pickled, it is a name."""
