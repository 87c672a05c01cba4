"""
What is said to the server about flights, and what it answers (lua/flight.lua).

Not here: what follows from it (flights.py, flight_lead.py, flight_follow.py).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis.asyncio import RedisCluster

from gateway.adapters.redis.connection import Client, RedisAddress, close, connect, told
from gateway.adapters.redis.scripts import Asked, Reply, Value, script
from gateway.adapters.redis.store import LARGE_S, Store
from gateway.core.flight import Aloft, Flight, Landed, Landing, Lost
from gateway.core.ledger import micros
from gateway.core.tidings import landing_dumps, landing_loads
from gateway.ports import LEASE_S

LEASE_US: Final = micros(LEASE_S)
BLOCK_S: Final = 1.0
"""A follower waits for so long in the server; then it looks whether its leader lives."""
ANSWER_S: Final = 1.0
"""And what the answer may take beyond that."""
TAILS: Final = 64
"""Followers that wait in the server at the same time, each on a connection. Others look every `POLL_S`."""
POLL_S: Final = 0.05
READ_AT_ONCE: Final = 4
"""Entries of a stream, of 256 KiB at most."""
LEFT: Final = 32
"""Entries that are left of a stream that has become too large, for followers who keep pace."""
_KEEP_MS: Final = 60_000
"""What is not renewed for so long goes; a lease is over long before."""
_SCRIPT: Final = script("flight")

Told = tuple[int, str, bytes]
"""Number, kind and content of what a leader told; the number is 0 if it was said out of turn."""


@dataclass(frozen=True, slots=True)
class Row:
    """A flight, as the server has it."""

    now: float
    """The server's time, epoch seconds."""
    token: str
    """Empty: there is none."""
    lease: bytes
    """Until when its leader counts as alive, epoch microseconds, as the server has it; likewise `landed`."""
    landing: Landing | None
    landed: bytes
    size: int | None

    @property
    def flight(self) -> Flight | None:
        """As it is now; None: there is none."""
        if not self.token:
            return None
        if self.landing is not None:
            return Landed(self.landing, int(self.landed or 0) / 1e6)
        lease = int(self.lease or 0) / 1e6
        return Aloft(lease) if self.now < lease else Landed(Lost(), self.now)

    @property
    def seen(self) -> str:
        """By what it is known again."""
        return f"{self.token} {self.landed.decode()} {self.lease.decode()}"


class Tower:
    """
    The server.

    Args:
        address: of it.
        told_time: see `flights.RedisFlights`.
        most_bytes: likewise.
        prefix: likewise.
        patience: likewise.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        told_time: Callable[[], float] | None,
        most_bytes: int,
        prefix: str,
        patience: float,
    ) -> None:
        self._store = Store(address, patience=patience)
        self._tails: Client = connect(address, timeout_s=None, connections=TAILS)
        self._patience = patience
        self._waiting = asyncio.Semaphore(TAILS)
        self._told_time = told_time
        self._most_bytes = most_bytes
        self._prefix = f"{prefix}flight:"

    async def lead(self, name: str, token: str, worker: str, seen: str) -> Row:
        """
        Take a name, unless there is another flight than the one that was seen.

        Args:
            name: of the flight.
            token: by which it would be led.
            worker: who would.
            seen: `Row.seen`; empty: none was.

        Returns:
            The flight as it is then: whose token it has, leads.

        Raises:
            StoreFailed: see there.
        """
        return _row(await self._run("lead", name, token, worker, LEASE_US, _KEEP_MS, seen))

    async def look(self, name: str) -> Row:
        """The flight of a name."""
        return _row(await self._run("look", name, ""))

    async def leads(self, name: str, token: str) -> bool:
        """Whether this token leads, or led last."""
        return (await self.look(name)).token == token

    async def follow(self, name: str, token: str, follower: str) -> int:
        """1: it follows; 0: that flight is over; -1: its beginning is not there."""
        return int(await self._run("follow", name, token, follower, LEASE_US, _KEEP_MS))

    async def tell(self, name: str, token: str, number: int, kind: str, content: bytes) -> int:
        """1: it is told; 0: this token leads no more; -1: what was told before is gone."""
        return int(
            await self._run(
                "tell",
                name,
                token,
                number,
                kind,
                content,
                _KEEP_MS,
                self._most_bytes,
                LEFT,
                within_s=LARGE_S,
            )
        )

    async def land(
        self, name: str, token: str, number: int, landing: Landing, size: int, useful_s: float
    ) -> bool:
        """Tell how it ended; False: this token leads no more."""
        keep_ms = int(useful_s * 1000)
        return bool(
            await self._run("land", name, token, number, landing_dumps(landing), size, keep_ms, _KEEP_MS)
        )

    async def release(self, name: str, token: str) -> None:
        """Tell that it is led no more."""
        await self._run("release", name, token, landing_dumps(Lost()), _KEEP_MS)

    async def renew(self, name: str, token: str) -> None:
        """Its leader lives."""
        await self._run("renew", name, token, LEASE_US, _KEEP_MS)

    async def stay(self, name: str, token: str, follower: str) -> None:
        """One who follows it lives."""
        await self._run("stay", name, token, follower, LEASE_US, _KEEP_MS)

    async def leave(self, name: str, token: str, follower: str) -> None:
        """It follows no more."""
        await self._store.ask("ZREM", self._keys(name, token)[2], follower)

    async def followers(self, name: str, token: str) -> tuple[str, ...]:
        """Those who follow and live."""
        return tuple(one.decode() for one in await self._run("followers", name, token))

    async def told(self, name: str, token: str, after: int, *, waits: bool) -> tuple[Told, ...]:
        """
        What was told after this number, some of it if it is much.

        Args:
            name: of the flight.
            token: of its leader.
            after: the last number that is known.
            waits: for it to come, if there is nothing yet, for `BLOCK_S`.

        Raises:
            StoreFailed: see there.
        """
        stream = self._keys(name, token)[1]
        what = ("STREAMS", stream, f"{after}-0")
        if not waits or self._waiting.locked():
            if waits:
                await asyncio.sleep(POLL_S)
            found = await self._store.ask("XREAD", "COUNT", READ_AT_ONCE, *what, within_s=LARGE_S)
        else:
            with told(self._store.address):
                async with asyncio.timeout(BLOCK_S + ANSWER_S * self._patience), self._waiting:
                    found = await self._wait(stream, *what)
        return tuple(_told(number, fields) for _, entries in found or () for number, fields in entries)

    async def ping(self) -> None:
        """
        Returns if a server answers.

        Raises:
            StoreFailed: it does not.
        """
        await self._store.ask("EXISTS", f"{self._prefix}ping", insists=True)

    async def aclose(self) -> None:
        """Close every connection; who asks later opens new ones."""
        await self._store.aclose()
        await close(self._tails)

    async def _wait(self, stream: str, *what: str) -> Reply:
        command: tuple[Value, ...] = ("XREAD", "COUNT", READ_AT_ONCE, "BLOCK", int(BLOCK_S * 1000), *what)
        if not isinstance(self._tails, RedisCluster):
            tails: Asked = self._tails
            return await tails.execute_command(*command)
        # redis-py would ask a server first which of these words are keys.
        await self._tails.initialize()
        node = self._tails.get_node_from_key(stream)
        return await self._tails.execute_command(*command, target_nodes=node)

    async def _run(
        self, act: str, name: str, token: str, *rest: Value, within_s: float | None = None
    ) -> Reply:
        now = "" if self._told_time is None else micros(self._told_time())
        keys = self._keys(name, token)
        if within_s is None:
            return await self._store.run(_SCRIPT, keys, act, now, token, *rest)
        return await self._store.run(_SCRIPT, keys, act, now, token, *rest, within_s=within_s)

    def _keys(self, name: str, token: str) -> tuple[str, str, str]:
        flight = f"{self._prefix}{{{name}}}"
        return flight, f"{flight}:{token}", f"{flight}:{token}:followers"


def _row(found: list[bytes | None]) -> Row:
    now, token, lease, landing, landed, size, _ = found
    return Row(
        now=int(now or 0) / 1e6,
        token=(token or b"").decode(),
        lease=lease or b"",
        landing=None if landing is None else landing_loads(landing),
        landed=landed or b"",
        size=None if size is None else int(size),
    )


def _told(number: bytes, fields: dict[bytes, bytes]) -> Told:
    ((kind, content),) = fields.items()
    return int(number.partition(b"-")[0]), kind.decode(), content
