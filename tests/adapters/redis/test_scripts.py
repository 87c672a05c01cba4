"""Scripts are known by their text: two versions side by side each run their own."""

import asyncio

from gateway.adapters.redis.connection import close, connect
from gateway.adapters.redis.scripts import Script
from tests.support.redis import shared_server

KEYS = ("{scripts}:count",)


async def test_two_versions_side_by_side_never_run_each_others_script() -> None:
    old = Script("redis.call('INCR', KEYS[1]) return 'old'")
    new = Script("redis.call('INCR', KEYS[1]) return 'new'")
    client = connect(shared_server("redis").address)
    try:
        await client.execute_command("DEL", *KEYS)
        for _ in range(20):
            found = await asyncio.gather(*(one.run(client, KEYS) for one in (old, new) * 10))
            assert found == [b"old", b"new"] * 10
        assert await client.execute_command("GET", *KEYS) == b"400"
    finally:
        await close(client)


async def test_a_script_that_is_not_known_is_sent_once() -> None:
    one = Script("return tonumber(ARGV[1]) + 1")
    client = connect(shared_server("redis").address)
    try:
        await client.execute_command("SCRIPT FLUSH")
        assert [await one.run(client, KEYS, 41) for _ in range(2)] == [42, 42]
        assert await client.execute_command("SCRIPT EXISTS", one.sha) == [True]
    finally:
        await close(client)
