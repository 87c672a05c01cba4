"""
A process that writes to a shared ledger as fast as it can, and says what was acknowledged.

`python -m tests.support.redis_ledger_writer PORT NAME CALLS`: so many calls, twenty at once, each begun and settled, with
a claim; `b ID` on standard output once a call is begun, `s ID` once it is settled. What fails is left.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import suppress

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.ledger import RedisLedger
from gateway.core.units import NanoUSD
from gateway.ports import StoreFailed
from tests.support.ledger import record
from tests.support.redis_ledger import claim, now, opened

AT_ONCE = 20


async def main(port: int, name: str, calls: int) -> None:
    ledger = RedisLedger.open(RedisAddress("server", (("127.0.0.1", port),)))
    await ledger.beat()
    numbers = iter(range(calls))
    await asyncio.gather(*(client(ledger, name, numbers) for _ in range(AT_ONCE)))
    await ledger.aclose()


async def client(ledger: RedisLedger, name: str, numbers: Iterator[int]) -> None:
    for number in numbers:
        id_ = f"igr_{name}_{number}"
        with suppress(StoreFailed):
            await ledger.reserve(opened(id_), claim(id_))
            os.write(1, f"b {id_}\n".encode())
            await ledger.settle(record(number, id=id_, at=now(), cost_nusd=NanoUSD(number)), images=1)
            os.write(1, f"s {id_}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
