"""
What the servers do when their memory is full: whether they take what a cache can spare, or what a ledger needs.

Read from INFO, which servers answer that let nobody read their settings (CONFIG).
"""

import asyncio
from dataclasses import dataclass

from redis.asyncio import RedisCluster

from gateway.adapters.redis.connection import RedisAddress, close, connect, told
from gateway.adapters.redis.scripts import Asked, Reply
from gateway.adapters.redis.store import LARGE_S


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one server."""

    most_bytes: int
    """That it may hold; 0: as much as there is."""
    used_bytes: int
    """That it holds now."""
    policy: str
    """What it takes when it may hold no more: `noeviction`, `allkeys-lru`, `volatile-lru` …"""

    @property
    def takes_anything(self) -> bool:
        """It may take keys that have no end, such as a ledger's."""
        return self.most_bytes > 0 and self.policy.startswith("allkeys")

    @property
    def takes_what_ends(self) -> bool:
        """It may take keys that have an end, such as a cache's; if not, nothing is written when it is full."""
        return self.policy != "noeviction"


async def memory_of(address: RedisAddress) -> tuple[Memory, ...]:
    """
    Of each server that takes writes.

    Raises:
        StoreFailed: it does not say so.
    """
    client = connect(address, timeout_s=LARGE_S)
    try:
        with told(address):
            async with asyncio.timeout(LARGE_S):
                if isinstance(client, RedisCluster):
                    await client.initialize()
                    nodes = client.get_primaries()
                    found = [
                        await client.execute_command("INFO", "memory", target_nodes=one) for one in nodes
                    ]
                    return tuple(map(_memory, found))
                asked: Asked = client
                return (_memory(await asked.execute_command("INFO", "memory")),)
    finally:
        await close(client)


def _memory(found: Reply) -> Memory:
    return Memory(int(found["maxmemory"]), int(found["used_memory"]), str(found["maxmemory_policy"]))


async def spare_bytes(address: RedisAddress, share: float) -> int | None:
    """
    What may be kept beside a ledger yet.

    Args:
        address: of its server.
        share: of the server's memory, that all together may take.

    Returns:
        Bytes, of the server that has the least; None: none says how much it may hold.

    Raises:
        StoreFailed: it does not say so.
    """
    bounded = [one for one in await memory_of(address) if one.most_bytes]
    return min((max(0, int(one.most_bytes * share) - one.used_bytes) for one in bounded), default=None)
