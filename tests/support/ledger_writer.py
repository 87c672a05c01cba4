"""
A process that writes to a ledger as fast as it can, and says what was acknowledged.

`python -m tests.support.ledger_writer FOLDER NAME CALLS`: so many calls, fifty at once, each begun, dispatched and
settled; `b ID` on standard output once a call is begun, `s ID` once it is settled.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from gateway.adapters.clock import SystemClock
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.ledger import OpenCall
from gateway.core.units import NanoUSD
from tests.support.ledger import noted, record

now = SystemClock().now
AT_ONCE = 50


async def main(folder: Path, name: str, calls: int) -> None:
    ledger = SqliteLedger.open(folder, now)
    numbers = iter(range(calls))
    await asyncio.gather(*(client(ledger, name, numbers) for _ in range(AT_ONCE)))
    await ledger.aclose()


async def client(ledger: SqliteLedger, name: str, numbers: Iterator[int]) -> None:
    for number in numbers:
        one = record(number, id=f"igr_{name}_{number}", cost_nusd=NanoUSD(number), at=now())
        await ledger.reserve(OpenCall(record=noted(id=one.id, at=one.at), dispatched=True))
        os.write(1, f"b {one.id}\n".encode())
        await ledger.settle(one)
        os.write(1, f"s {one.id}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
