"""
What the acts of a call cost on a Redis: `python -m loadtest.redis_acts [always|everysec]`.

A server of its own on this machine (Redis, or Valkey where there is none), with an append-only file that is synced as said
(default: everysec). A call passes limits of its key, its team and the organisation, two each, one of a minute and one of a
month. Round trips are counted where they are sent; time is told for one at a time (median) and, for many at once, as CPU of
the server and of the client. Only CPU of the server bounds what one server can do: it runs scripts one after the other.
"""

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from redis.asyncio.connection import AbstractConnection
from rich.console import Console
from rich.table import Table

from gateway.adapters.clock import SystemClock
from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.ledger import RedisLedger
from gateway.core.freshness import Life
from gateway.core.limits import parse_limit
from gateway.core.quota import FIRST_DOOR, Claim, Claimant, Standing
from gateway.core.units import NanoUSD
from tests.support.cache import body_of, entry, given, kept, key_of
from tests.support.ledger import record
from tests.support.redis import Server, redis_server
from tests.support.redis_ledger import ONE, UTC, opened

CALLS = 3000
AT_ONCE = 16
LIMITS = tuple(map(parse_limit, ("1000000000 images per minute", "$8000000 per month")))
SCOPES = tuple(Claimant(scope, LIMITS) for scope in ("key:design-1", "team:design", "org"))
IMAGE_BYTES = 1_500_000
LOOK_UPS = 300
clock = SystemClock()


class Trips:
    """Counts what is sent: each is one round trip, a pipeline too."""

    def __init__(self) -> None:
        self.count = 0
        sent = AbstractConnection.send_packed_command

        async def counted(
            connection: AbstractConnection,
            command: bytes | str | Iterable[bytes],
            check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's own
        ) -> None:
            self.count += 1
            await sent(connection, command, check_health)

        AbstractConnection.send_packed_command = counted  # type: ignore[assignment, method-assign]


@dataclass(frozen=True)
class Cost:
    """Of one act."""

    trips: float
    alone_us: float
    server_us: float
    client_us: float


Act = Callable[[int], Awaitable[object]]


def server_cpu_s(server: Server) -> float:
    """CPU seconds of the server so far, of the thread that runs commands."""
    told = server.said("INFO", "cpu")
    return float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"])


def own_cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measured(act: Act, calls: int, server: Server, trips: Trips) -> Cost:
    """A third of the calls one at a time, the others many at once."""
    numbers = iter(range(calls))
    took, before = [], trips.count
    for _ in range(calls // 3):
        began = time.perf_counter()
        await act(next(numbers))
        took.append(time.perf_counter() - began)
    sent = (trips.count - before) / len(took)
    there, here = server_cpu_s(server), own_cpu_s()
    left = calls - len(took)

    async def client() -> None:
        for number in numbers:
            await act(number)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    there, here = server_cpu_s(server) - there, own_cpu_s() - here
    return Cost(sent, statistics.median(took) * 1e6, there / left * 1e6, here / left * 1e6)


async def of_ledger(server: Server, trips: Trips) -> dict[str, Cost]:
    """The acts of a call, in their order; each is done for all calls before the next."""
    ledger = await asyncio.to_thread(RedisLedger.open, server.address, attempt_s=5, patience_s=10)

    def claim(number: int, *, both: bool) -> Claim:
        asked = ONE if both else FIRST_DOOR
        return Claim(id=f"igr_{number}", claimants=SCOPES, asked=asked, frames=UTC.frames(clock.now()))

    async def admit(number: int) -> None:
        assert isinstance(await ledger.admit(claim(number, both=False)), Standing)

    async def reserve(number: int) -> None:
        found = await ledger.reserve(opened(f"igr_{number}"), claim(number, both=True))
        assert isinstance(found, Standing)

    async def settle(number: int) -> None:
        await ledger.settle(record(0, id=f"igr_{number}", at=clock.now(), cost_nusd=NanoUSD(11_000_000)), 1)

    async def leave(number: int) -> None:
        await ledger.leave(f"igr_{number}")

    for number in range(100):  # connections, scripts, and rows of every grain
        for act in (admit, reserve, settle):
            await act(-1 - number)
    named: dict[str, Act] = {"admit": admit, "reserve": reserve, "leave": leave, "settle": settle}
    found = {name: await measured(act, CALLS, server, trips) for name, act in named.items()}
    await ledger.aclose()
    return found


async def of_cache(server: Server, trips: Trips) -> dict[str, Cost]:
    """A look that finds nothing, one that finds an entry, and its body; keeping one."""
    cache = RedisCache(
        RedisAddress("server", server.address.hosts), clock, max_bytes=1 << 40, prefix="bench:"
    )
    life = Life(kept_at=clock.now(), ttl_s=80_000.0)
    numbers = count()

    async def keep(_: int) -> None:
        number = next(numbers)
        assert await kept(cache, body_of(number % 4, IMAGE_BYTES), entry(number, IMAGE_BYTES, life=life))

    async def miss(number: int) -> None:
        assert await cache.find(key_of(f"none-{number}")) == ()

    async def hit(number: int) -> None:
        assert await cache.find(key_of(number % 8))

    async def give(number: int) -> None:
        [found] = await cache.find(key_of(number % 8))
        assert await given(cache, found) is not None

    told = {f"keep {IMAGE_BYTES / 1e6:.1f} MB": await measured(keep, LOOK_UPS // 5, server, trips)}
    told["look up, nothing there"] = await measured(miss, CALLS, server, trips)
    told["look up, found"] = await measured(hit, CALLS, server, trips)
    told[f"look up, and {IMAGE_BYTES / 1e6:.1f} MB"] = await measured(give, LOOK_UPS, server, trips)
    await cache.aclose()
    return told


def main() -> int:
    """Measure and print."""
    sync = sys.argv[1] if len(sys.argv) > 1 else "everysec"
    trips = Trips()
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_server(Path(folder), arguments=("--appendfsync", sync)) as server,
    ):
        found = asyncio.run(of_ledger(server, trips)) | asyncio.run(of_cache(server, trips))
    table = Table(title=f"appendfsync {sync}, {AT_ONCE} at once")
    table.add_column("")
    for name in ("round trips", "alone, µs", "server's CPU, µs", "client's CPU, µs"):
        table.add_column(name, justify="right")
    for name, cost in found.items():
        figures = (cost.alone_us, cost.server_us, cost.client_us)
        table.add_row(name, f"{cost.trips:.1f}", *(f"{one:.0f}" for one in figures))
    whole = sum(found[name].server_us for name in ("admit", "reserve", "settle"))
    Console(width=110).print(table)
    print(f"a paid call: {whole:.0f} µs of the server; one server: {1e6 / whole:.0f} a second at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
