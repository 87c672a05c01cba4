"""A gateway that keeps answers, in front of a sandbox, and both their books."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import openai

from gateway.core.ledger import LedgerFilter
from gateway.core.record import Record
from tests.support.books import Books, eventually
from tests.support.process import KEY, Running
from tests.support.workers import callers_of, workers_of

ASK: dict[str, Any] = {"model": "gpt-image-2", "prompt": "a cat", "size": "1024x1024", "quality": "low"}


class Pair:
    """A gateway that keeps answers, in front of a sandbox."""

    def __init__(self, folder: Path, sandbox: Running, gateway: Running) -> None:
        self.sandbox = sandbox
        self.gateway = gateway
        self.books = Books(folder, sandbox.url)

    def sdk(self, timeout: float = 60, retries: int = 0) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            base_url=f"{self.gateway.url}/v1", api_key=KEY, timeout=timeout, max_retries=retries
        )

    def billed(self) -> tuple[int, int]:
        """Requests and nano-dollars that the upstream bills."""
        invoice = httpx2.get(f"{self.sandbox.url}/_sandbox/invoice").json()
        return invoice["requests"], invoice["nano_dollars"]

    async def records(self) -> list[Record]:
        """Oldest first."""
        return [one async for one in self.books.ledger.export(LedgerFilter())][::-1]

    async def written(self, count: int) -> list[Record]:
        async def there() -> bool:
            return len(await self.records()) >= count

        await eventually(there)
        return await self.records()

    def visits(self) -> int:
        """Requests that have come to the sandbox."""
        seen = httpx2.get(f"{self.sandbox.url}/_sandbox/requests").json()
        return len(seen if isinstance(seen, list) else seen["data"])

    async def all_ask(
        self, times: int, body: dict[str, Any], *, steering: str = "", headers: dict[str, str] | None = None
    ) -> list[httpx2.Response]:
        """The same from so many clients at once."""
        sent = {
            "Authorization": f"Bearer {KEY}",
            **({"X-Sandbox": steering} if steering else {}),
            **(headers or {}),
        }
        url = f"{self.gateway.url}/v1/images/generations"
        workers = len(workers_of(self.gateway))
        if times > workers > 1:
            # As many to each of them.
            async with callers_of(self.gateway, times // workers) as clients:
                return await asyncio.gather(*(one.post(url, json=body, headers=sent) for one in clients))
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
            return await asyncio.gather(*(client.post(url, json=body, headers=sent) for _ in range(times)))


def status(answer: Any) -> str:
    """What the cache says of it."""
    return str(answer.headers["cache-status"])
