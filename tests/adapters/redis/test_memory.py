"""A gateway can tell at its start what a server does when its memory is full."""

from pathlib import Path

import pytest

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.memory import Memory, memory_of, spare_bytes
from gateway.ports import StoreFailed
from tests.support.ports import free_port
from tests.support.redis import Kind, redis_server, shared_cluster


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_server_says_what_it_takes(tmp_path: Path, kind: Kind) -> None:
    few = ("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    with redis_server(tmp_path, kind=kind, arguments=few) as server:
        [found] = await memory_of(server.address)
        assert (found.most_bytes, found.policy) == (50 << 20, "allkeys-lru")
        assert 0 < found.used_bytes < 50 << 20


async def test_what_may_be_kept_beside_a_ledger_is_what_is_left_of_its_share(tmp_path: Path) -> None:
    with redis_server(tmp_path, arguments=("--maxmemory", "50mb")) as server:
        found = await spare_bytes(server.address, 0.8)
        assert found is not None
        assert 30 << 20 < found < 40 << 20
        server.said("SET", "much", "x" * (12 << 20))
        less = await spare_bytes(server.address, 0.8)
        assert less is not None
        assert less <= found - (12 << 20)
        server.said("SET", "more", "x" * (12 << 20))
        assert await spare_bytes(server.address, 0.4) == 0
        server.said("CONFIG", "SET", "maxmemory", "0")
        assert await spare_bytes(server.address, 0.8) is None


async def test_every_master_of_a_cluster_says_so() -> None:
    found = await memory_of(shared_cluster().address)
    assert [(one.most_bytes, one.policy) for one in found] == [(0, "noeviction")] * 3


async def test_a_server_that_is_not_there_says_nothing() -> None:
    with pytest.raises(StoreFailed):
        await memory_of(RedisAddress("server", (("127.0.0.1", free_port()),)))


@pytest.mark.parametrize(
    ("most_bytes", "policy", "anything", "what_ends"),
    [
        (0, "noeviction", False, False),
        (1, "noeviction", False, False),
        (0, "allkeys-lru", False, True),
        (1, "allkeys-lfu", True, True),
        (1, "volatile-lru", False, True),
    ],
)
def test_what_a_ledger_and_a_cache_need_to_know(
    most_bytes: int, policy: str, anything: bool, what_ends: bool
) -> None:
    memory = Memory(most_bytes, 0, policy)
    assert (memory.takes_anything, memory.takes_what_ends) == (anything, what_ends)
