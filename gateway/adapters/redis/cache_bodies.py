"""
Where bodies lie: each by itself, in chunks (lua/cache_body.lua), under a name that it had before it was whole.

A body is one key, so a server that is short of memory takes all of it or nothing. One that is written, or that no entry
has any more, lasts for half a minute; as long as somebody here writes or reads it, that is said again and again.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from gateway.adapters.redis.scripts import script
from gateway.adapters.redis.store import LARGE_S, Store
from gateway.flow.tasks import spawn
from gateway.ports import StoreFailed

CHUNK_BYTES: Final = 256 * 1024 - 512
"""Its head and the ends of its allocation fit into 256 KiB: jemalloc would take 320 KiB for more."""
CHUNKS: Final = 4
"""Written or read at once: a megabyte holds up other callers of a server for a millisecond."""
USED_S: Final = 30.0
"""For so long a body lasts that is used, without a word from its user,"""
SAID_S: Final = 8.0
"""who says it so often: three may be lost."""
_SCRIPT: Final = script("cache_body")
_USED_MS: Final = int(USED_S * 1000)


class LostBodyError(Exception):
    """A body that is not there, not whole, or not what was kept."""


def chunks_of(size: int) -> int:
    """In how many chunks a body lies; an empty one in one that is empty."""
    return max(1, -(-size // CHUNK_BYTES))


class Bodies:
    """
    The bodies.

    Args:
        store: where they lie.
        prefix: of all keys.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = f"{prefix}cache:"
        self._used: Counter[str] = Counter()
        self._saying: asyncio.Task[object] | None = None

    async def put(self, body: str, chunks: Mapping[int, bytes]) -> int:
        """
        Write chunks, by number. Repeatable.

        Returns:
            How many there are now; fewer than were written: some have been lost.

        Raises:
            StoreFailed: see there.
        """
        parts = [part for number, chunk in chunks.items() for part in (number, chunk)]
        return int(
            await self._store.run(_SCRIPT, (self._at(body),), "put", _USED_MS, *parts, within_s=LARGE_S)
        )

    async def chunks(self, body: str, first: int, last: int, *, of_entry: bool = False) -> list[bytes]:
        """
        The chunks of these numbers, both included; at most `CHUNKS`.

        Args:
            body: whose.
            first: number.
            last: number.
            of_entry: an entry is said to have it.

        Raises:
            LostBodyError: one is not there; or no entry has it any more, and one is said to.
            StoreFailed: see there.
        """
        gone, *found = await self._store.ask(
            "HMGET", self._at(body), "gone", *range(first, last + 1), within_s=LARGE_S
        )
        if any(chunk is None for chunk in found):
            raise LostBodyError("a part of it is not there")
        if of_entry and gone is not None:
            raise LostBodyError("it was given up")
        return list(found)

    async def read(self, body: str, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`. Raises as `chunks`."""
        if start >= end:
            return b""
        first, last = start // CHUNK_BYTES, (end - 1) // CHUNK_BYTES
        parts: list[bytes] = []
        for number in range(first, last + 1, CHUNKS):
            parts += await self.chunks(body, number, min(last, number + CHUNKS - 1))
        skipped = start - first * CHUNK_BYTES
        return b"".join(parts)[skipped : skipped + end - start]

    async def lives(self, body: str, life_ms: int) -> bool:
        """An entry has it from now on, for so long; False: it is gone."""
        return bool(await self._store.run(_SCRIPT, (self._at(body),), "lives", life_ms))

    async def is_there(self, body: str) -> bool:
        """Whether there is anything of it."""
        return bool(await self._store.ask("EXISTS", self._at(body), insists=True))

    async def give_up(self, body: str) -> None:
        """No entry has it any more: nobody opens it from now on, and who uses it goes on."""
        await self._store.run(_SCRIPT, (self._at(body),), "gone", _USED_MS, within_s=LARGE_S, insists=True)

    async def remove(self, body: str) -> None:
        """Remove it: nobody ever found it."""
        await self._store.ask("UNLINK", self._at(body))

    # Who uses them

    def use(self, body: str) -> None:
        """Somebody here writes or reads it, until `leave`."""
        self._used[body] += 1
        if self._saying is None or self._saying.done():
            self._saying = spawn("bodies in use", self._say())

    def leave(self, body: str) -> None:
        """One user less."""
        self._used[body] -= 1
        if self._used[body] <= 0:
            del self._used[body]

    def close(self) -> None:
        """Say no more, until somebody uses another one."""
        if self._saying is not None:
            self._saying.cancel()
            self._saying = None

    async def say(self) -> None:
        """Those that are used last on."""
        with suppress(StoreFailed):  # Who uses it finds out.
            for body in tuple(self._used):
                # Only longer than it has: a body of an entry has more.
                await self._store.ask("PEXPIRE", self._at(body), _USED_MS, "GT")

    async def _say(self) -> None:
        while self._used:
            await asyncio.sleep(SAID_S)
            await self.say()

    def _at(self, body: str) -> str:
        return f"{self._prefix}{{{body}}}:body"
