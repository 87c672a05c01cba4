"""What the gateway's ledger says that each call cost, asked of its admin API: the way that has every kind of call."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

import httpx2

from gateway.cli.guide.table import Row
from gateway.core.units import NanoUSD

# A record comes a moment after the answer's last byte; that of a background response when the gateway has asked for it.
_TRIES: Final = 100
_PAUSE_S: Final = 0.1
_MOST: Final = 1000
"""Records of one page; the guide makes some twenty calls."""


@dataclass(frozen=True, slots=True)
class Office:
    """
    Where operators ask.

    Args:
        url: their listener's, without a path.
        token: of the admin API.
    """

    url: str
    token: str


def priced(rows: Sequence[Row], office: Office, *, tries: int = _TRIES) -> list[Row]:
    """
    The rows with what they cost, and what the cache had to do with them.

    Args:
        rows: each with the ids of its answers that can have cost something.
        office: of the gateway that gave them.
        tries: how often to ask for a record that is not there yet, ten times a second.

    Returns:
        A row one of whose answers has no record after all has no cost, and one fault more.

    Raises:
        httpx2.HTTPError: the ledger cannot be read.
    """
    known = _entries(office, {id_ for row in rows for id_ in row.ids}, tries)
    return [_priced(row, known) for row in rows]


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the table has of a record."""

    cost: NanoUSD
    cache: str


def _priced(row: Row, known: dict[str, _Entry]) -> Row:
    lost = [id_ for id_ in row.ids if id_ not in known]
    if lost:
        return replace(row, faults=(*row.faults, f"the gateway's ledger has no record of {', '.join(lost)}"))
    entries = [known[id_] for id_ in row.ids]
    uses = {one.cache for one in entries}
    cost = NanoUSD(sum(one.cost for one in entries))
    return replace(row, cost=cost, cache=uses.pop() if len(uses) == 1 else None)


def _entries(office: Office, ids: Collection[str], tries: int) -> dict[str, _Entry]:
    known: dict[str, _Entry] = {}
    for turn in range(tries):
        if turn:
            time.sleep(_PAUSE_S)
        known = _recorded(office)
        if known.keys() >= set(ids):
            break
    return known


def _recorded(office: Office) -> dict[str, _Entry]:
    answer = httpx2.get(
        f"{office.url}/admin/ledger",
        params={"limit": _MOST},
        headers={"authorization": f"Bearer {office.token}"},
        trust_env=False,
    ).raise_for_status()
    return {
        record["id"]: _Entry(NanoUSD(record["cost_nusd"]), record["cache"])
        for record in answer.json()["data"]
    }
