"""
A process that keeps answers in a Redis as fast as it can, and says which were kept.

`python -m tests.support.redis_cache_writer PORT NAME [FOLDER]`: as `cache_writer`, without an end. With a folder, bodies
lie there.
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.connection import RedisAddress
from tests.support.cache import entry, kept
from tests.support.cache_writer import AT_ONCE, body_numbered, name_of
from tests.support.clock import FakeClock


async def main(port: int, name: str, folder: Path | None) -> None:
    address = RedisAddress("server", (("127.0.0.1", port),))
    clock = FakeClock()
    cache = RedisCache(address, clock, max_bytes=1 << 30, folder=folder, now=clock.now)
    numbers = count()

    async def client() -> None:
        for number in numbers:
            body = body_numbered(number)
            if await kept(cache, body, entry(name_of(name, number), len(body))):
                os.write(1, f"{number}\n".encode())

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]) if sys.argv[3:] else None))
