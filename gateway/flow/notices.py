"""
A word to the operator about models that are about to go, or have another one's price: once a day for each, in the log.

Decided here: how it is said, and how often. What is about to go is the catalogue's knowledge (core/retirement.py), whose
price stands in is said by the estimate (core/pricing.py).
"""

import logging
from datetime import UTC, datetime
from typing import Final

from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.estimate import Estimate
from gateway.core.names import plain
from gateway.core.retirement import DAY_S, Retirement, models_of, retirement_of

MOST_NAMES: Final = 100
"""Models with a stand-in that are named on one day: clients choose these names."""

_log = logging.getLogger("imagegate.models")


class Notices:
    """
    What this worker has said already.

    Of names that are not of the catalogue `MOST_NAMES` are remembered, so that clients cannot make it grow.

    Args:
        catalog: the models and their days.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._said_on: dict[str, int] = {}
        self._stood_in: set[str] = set()
        """Models whose stand-in was named on that day."""
        self._stood_in_on = 0

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

    def of_prices(self, call: Call, found: Estimate, now: float) -> None:
        """
        Warn of every model of the call that has the price of another one, unless that was said today (UTC).

        Args:
            call: what is asked.
            found: what it can cost.
            now: epoch seconds.
        """
        if found.priced_as is None:
            return
        unknown = {name for name in models_of(call, self._catalog) if self._catalog.find(name) is None}
        today = int(now // DAY_S)
        if today != self._stood_in_on:
            self._stood_in, self._stood_in_on = set(), today
        for use in found.uses:
            name = use.name
            is_new = name in unknown and name not in self._stood_in
            if use.priced_as is None or not is_new or len(self._stood_in) >= MOST_NAMES:
                continue
            self._stood_in.add(name)
            _log.warning(
                "The catalogue has no price for '%s': it is charged as '%s'. If that is wrong, put its prices into a "
                "catalogue file of your own (catalog.path, docs/catalogue.md).",
                plain(name),
                use.priced_as,
            )


def sentence(found: Retirement) -> str:
    """The model, the day and what to use instead: `OpenAI retires 'gpt-image-1.5' on 2026-12-01; use …`."""
    day = datetime.fromtimestamp(found.shutdown_s, UTC).date().isoformat()
    verb = "retired" if found.is_over else "retires"
    advice = "move to another model" if found.instead is None else f"use '{found.instead}' instead"
    return f"OpenAI {verb} '{found.name}' on {day}; {advice}."
