"""
A process that keeps answers as fast as it can, and says which were kept.

`python -m tests.support.cache_writer FOLDER NAME COUNT MAX_BYTES`: the bodies are the same whatever the NAME, the keys
are not; a line with the number of each on standard output once it is kept.
"""

import asyncio
import os
import sys
from pathlib import Path

from gateway.adapters.sqlite.cache import SqliteCache
from tests.support.cache import body_of, entry, kept
from tests.support.ledger import NOON

AT_ONCE = 4


def name_of(name: str, number: int) -> str:
    return f"{name} {number}"


def body_numbered(number: int) -> bytes:
    return body_of(number, (1, 900, 70_000, 400_000, 1_000_000)[number % 5] + number)


async def main(folder: Path, name: str, count: int, max_bytes: int) -> None:
    cache = SqliteCache.at(folder, lambda: NOON, max_bytes=max_bytes)
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            body = body_numbered(number)
            if await kept(cache, body, entry(name_of(name, number), len(body))):
                os.write(1, f"{number}\n".encode())

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    await cache.aclose()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
