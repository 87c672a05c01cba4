"""
The process's log: one line an event, as JSON for machines or as text for a terminal.

What goes into it is decided where it is said; here it is only written.
"""

import logging
import sys
from datetime import UTC, datetime
from typing import Literal

import orjson

CUT = "ASGI callable returned without completing response."
"""uvicorn says this when we cut a connection on purpose; the ending of a request is told elsewhere."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON: at (RFC 3339, UTC), level, logger, message and, for errors, the trace."""
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
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
    logging.getLogger("uvicorn.error").addFilter(_not_a_cut)
    for name in ("httpx2", "httpcore2", "python_multipart", "PIL", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    # The form reader's remarks quote the body; what is wrong with it is told to the client.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _not_a_cut(record: logging.LogRecord) -> bool:
    return record.getMessage() != CUT
