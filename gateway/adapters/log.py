"""
The process's log: one line an event, as JSON for machines or as text for a terminal.

What goes into it is decided where it is said; here it is only written.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

import orjson


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: at (RFC 3339, UTC), level, logger, message or fields and, for errors, the trace."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields: dict[str, object] | None = getattr(record, "fields", None)
        # A line that carries fields says the same in its message, for people.
        line.update({"message": record.getMessage()} if fields is None else fields)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode("utf-8")


def configure(level: str, form: Literal["auto", "json", "text"]) -> None:
    """
    Write all logs to standard error.

    Args:
        level: debug, info, warning or error.
        form: auto is text on a terminal, JSON elsewhere.
    """
    handler = logging.StreamHandler(sys.stderr)
    if form == "json" or (form == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(logging.WARNING, root.level))
    for name in ("httpx2", "httpcore2", "python_multipart", "PIL", "asyncio", "urllib3"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # The form reader's remarks quote the body; what is wrong with it is told to the client.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
