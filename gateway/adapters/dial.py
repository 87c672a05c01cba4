"""
A TCP connection to one of a host's addresses: RFC 8305 (Happy Eyeballs), alike on every event loop.

asyncio has it, uvloop has not, and a network whose IPv6 leads nowhere must not cost each call its whole time-out.
With one address there is nothing to race, and no task is made.
"""

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any

STAGGER_S = 0.25
"""How long an address is alone with its attempt: RFC 8305 §8."""

Address = tuple[int, tuple[Any, ...]]
"""A family and what its sockets connect to: (host, port), and flow and scope where it is IPv6."""


async def dial(host: str, port: int) -> socket.socket:
    """
    A connected socket, not blocking, without Nagle's delay.

    Raises:
        OSError: the name has no address, or none of them answers; the first address's reason.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = interleaved([(family, address) for family, _, _, _, address in found])
    if len(addresses) == 1:
        return await connect(addresses[0])
    return await race(addresses)


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The addresses, the families by turns, the first one's first (RFC 8305 §4); none twice."""
    families: dict[int, dict[Address, None]] = {}
    for address in addresses:
        families.setdefault(address[0], {})[address] = None
    return [one for one in chain.from_iterable(zip_longest(*families.values())) if one is not None]


async def connect(address: Address) -> socket.socket:
    """A socket connected to this address; cancelled or failed, it is closed."""
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)  # noqa: FBT003 - the standard library's way of saying it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


async def race(addresses: Sequence[Address]) -> socket.socket:
    """A socket connected to the first of these addresses to answer."""
    return await _Race(addresses).run()


class _Race:
    """Attempts at several addresses; each begins when the one before it has failed, or has had its time alone."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses
        self._failed = [asyncio.Event() for _ in addresses]
        self._errors: dict[int, OSError] = {}
        self._attempts: list[asyncio.Task[None]] = []
        self._won: socket.socket | None = None

    async def run(self) -> socket.socket:
        """The first address's socket to be connected."""
        try:
            async with asyncio.TaskGroup() as group:
                self._attempts += [
                    group.create_task(self._attempt(turn)) for turn in range(len(self._addresses))
                ]
        except BaseException:
            if self._won is not None:
                self._won.close()
            raise
        if self._won is None:
            raise self._errors[0]
        return self._won

    async def _attempt(self, turn: int) -> None:
        if turn:
            with suppress(TimeoutError):
                async with asyncio.timeout(STAGGER_S * turn):
                    await self._failed[turn - 1].wait()
        try:
            self._won = await connect(self._addresses[turn])
        except OSError as error:
            self._errors[turn] = error
            self._failed[turn].set()
        else:
            # A task that is cancelled hears of it before anything else: there is no second winner.
            for other in self._attempts:
                if other is not asyncio.current_task():
                    other.cancel()
