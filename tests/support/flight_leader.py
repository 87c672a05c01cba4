"""
Another process that leads a flight.

`python -m tests.support.flight_leader FOLDER`: leads `n`, tells a head and `half` of a body, says so in a line, and goes
no further until it is killed.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.adapters.clock import SystemClock
from gateway.adapters.sqlite.flights import SqliteFlights
from gateway.ports import Leads

ROOT = Path(__file__).parents[2]


@contextmanager
def leading(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The process, once it leads; killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.flight_leader", str(folder)],
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


async def main(folder: Path) -> None:
    found = await SqliteFlights(folder, SystemClock().now).board("n", looked_at=0.0, hit_for_miss_s=15.0)
    assert isinstance(found, Leads)
    await found.flight.began(200, ((b"content-type", b"text/event-stream"),))
    await found.flight.write(b"half")
    print("leads", flush=True)  # noqa: T201 - that is how it is told
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
