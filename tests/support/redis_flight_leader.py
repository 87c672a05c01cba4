"""
Another process that leads a flight in a Redis.

`python -m tests.support.redis_flight_leader PORT`: as `flight_leader`. Its time stands still, as a `FakeClock`'s does.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.flights import RedisFlights
from gateway.ports import Leads
from tests.support.clock import FakeClock

ROOT = Path(__file__).parents[2]


@contextmanager
def leading(port: int) -> Iterator["subprocess.Popen[str]"]:
    """The process, once it leads; killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.redis_flight_leader", str(port)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "leads\n"
            yield process
        finally:
            process.kill()


async def main(port: int) -> None:
    clock = FakeClock()
    flights = RedisFlights(RedisAddress("server", (("127.0.0.1", port),)), clock, told_time=clock.now)
    found = await flights.board("n", looked_at=clock.now(), hit_for_miss_s=15.0)
    assert isinstance(found, Leads)
    await found.flight.began(200, ((b"content-type", b"text/event-stream"),))
    await found.flight.write(b"half")
    print("leads", flush=True)  # noqa: T201 - that is how it is told
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
