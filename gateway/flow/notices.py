"""
A word to the operator about models that are about to go: once a day for each of them, in the log.

Decided here: how it is said, and how often. What is about to go is the catalogue's knowledge (core/retirement.py).
"""

import logging
from datetime import UTC, datetime

from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.retirement import DAY_S, Retirement, models_of, retirement_of

_log = logging.getLogger("imagegate.models")


class Notices:
    """
    What this worker has said already.

    Only names of the catalogue are remembered, so that clients cannot make it grow.

    Args:
        catalog: the models and their days.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._said_on: dict[str, int] = {}

    def of(self, call: Call, now: float) -> None:
        """
        Warn of every model of the call that is retired or will be soon, unless that was said today (UTC).

        Args:
            call: what is asked. It is not refused.
            now: epoch seconds.
        """
        today = int(now // DAY_S)
        for name in models_of(call, self._catalog):
            found = retirement_of(name, self._catalog, at_s=now)
            if found is not None and self._said_on.get(name) != today:
                self._said_on[name] = today
                _log.warning("%s", sentence(found))


def sentence(found: Retirement) -> str:
    """The model, the day and what to use instead: `OpenAI retires 'gpt-image-1.5' on 2026-12-01; use …`."""
    day = datetime.fromtimestamp(found.shutdown_s, UTC).date().isoformat()
    verb = "retired" if found.is_over else "retires"
    advice = "move to another model" if found.instead is None else f"use '{found.instead}' instead"
    return f"OpenAI {verb} '{found.name}' on {day}; {advice}."
