"""
Both sets of books: what the gateway's ledger says, and what the sandbox would bill.

A call carries a mark of its own up (`X-Client-Request-Id`), by which the sandbox's charge of it is found even where
no answer came that could tell an id.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from gateway.adapters.redis.ledger import RedisReader
from gateway.adapters.sqlite.ledger import SqliteReader
from gateway.core.ledger import LedgerFilter, OpenCall
from gateway.core.record import Record
from tests.support.raw import PATIENCE_S

MARK = "x-client-request-id"
TOKENS = ("input_text", "input_image", "cached_text", "cached_image", "output_image", "output_text")
METERED = ("images/generations", "images/edits", "images/variations", "responses", "responses/compact")

Sums = dict[tuple[str, str], Counter[str]]
"""By model and kind: `image`, `main`, `svg`."""


@dataclass(frozen=True)
class Books:
    """
    Where the two lie.

    Args:
        folder: the gateway's working directory.
        sandbox_url: without `/v1`.
        reader: of the gateway's ledger; None: it lies in the folder.
    """

    folder: Path
    sandbox_url: str
    reader: RedisReader | None = None
    _readers: dict[str, SqliteReader | RedisReader] = field(default_factory=dict, repr=False)

    @property
    def ledger(self) -> SqliteReader | RedisReader:
        """The gateway's, to be read only; it is there as soon as the gateway has started."""
        if not self._readers:
            self._readers["ledger"] = self.reader or SqliteReader.open(self.folder / "data")
        return self._readers["ledger"]

    async def records(self) -> list[Record]:
        """All of them, oldest first."""
        return [record async for record in self.ledger.export(LedgerFilter())][::-1]

    async def record(self, record_id: str) -> Record:
        """The record of this call, as soon as it is there."""
        return (await self.settled([record_id]))[0]

    async def settled(self, ids: Iterable[str], patience_s: float = PATIENCE_S) -> list[Record]:
        """The records of these calls, as soon as all of them are there; background calls wait for their poller."""
        wanted = list(ids)
        found: list[Record] = []

        async def are_there() -> bool:
            known = {record.id: record for record in await self.records()}
            found[:] = [known[one] for one in wanted if one in known]
            return len(found) == len(wanted)

        await eventually(are_there, patience_s, lambda: f"{len(found)} of {len(wanted)} records")
        return found

    async def open_calls(self) -> tuple[OpenCall, ...]:
        """Calls without a record, of any process."""
        return await self.ledger.open_calls()

    async def is_quiet(self) -> bool:
        """Whether every call has its record."""
        return not await self.open_calls()

    async def invoice(self) -> dict[str, Any]:
        """The sandbox's bill."""
        return await self._page("invoice")

    async def charges(self) -> dict[str, dict[str, Any]]:
        """What the sandbox billed for each request, by its mark; those that cost nothing are not there."""
        charges = {charge["request_id"]: charge for charge in (await self.invoice())["charges"]}
        marks = {mark_of(visitor): visitor["request_id"] for visitor in await self.visitors()}
        return {
            mark: charges[request_id]
            for mark, request_id in marks.items()
            if mark is not None and request_id in charges
        }

    async def visitors(self) -> list[dict[str, Any]]:
        """The calls that reached the sandbox and can cost something, oldest first."""
        everybody: list[dict[str, Any]] = (await self._page("requests"))["data"]
        return [
            one
            for one in everybody
            if one["method"] == "POST" and one["path"].removeprefix("/v1/") in METERED
        ]

    async def reset(self) -> None:
        """A new page in the sandbox's books."""
        async with httpx2.AsyncClient(trust_env=False) as http:
            await http.post(f"{self.sandbox_url}/_sandbox/reset")

    async def _page(self, name: str) -> dict[str, Any]:
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
            found: dict[str, Any] = (await http.get(f"{self.sandbox_url}/_sandbox/{name}")).json()
            return found


def mark_of(visitor: dict[str, Any]) -> str | None:
    """The mark that a call came with."""
    return next((value for name, value in visitor["headers"] if name == MARK), None)


async def eventually(
    condition: Callable[[], Any], patience_s: float = PATIENCE_S, told: Callable[[], object] = lambda: ""
) -> None:
    """
    Returns once the condition, asked again and again, holds.

    Args:
        condition: a coroutine function of a truth.
        told: what to say of it when patience is at its end.
    """
    try:
        async with asyncio.timeout(patience_s):
            while not await condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"It did not come to that in {patience_s} s: {told()}") from None


def ledger_sums(records: Iterable[Record]) -> Sums:
    """What the ledger says was used, by model and kind."""
    sums: Sums = {}
    for record in records:
        for line in record.lines:
            found = sums.setdefault((line.model, line.role.value), Counter())
            found["requests"] += 1
            for kind in TOKENS:
                found[kind] += getattr(line, kind)
    return sums


def invoice_sums(lines: Iterable[dict[str, Any]]) -> Sums:
    """The same of an invoice's own sums, or of the lines of charges."""
    sums: Sums = {}
    for line in lines:
        found = sums.setdefault((line["model"], line["kind"]), Counter())
        found["requests"] += line.get("requests", 1)
        for kind in TOKENS:
            found[kind] += line["tokens"][kind]
    return sums
