"""The pace of the sandbox's work."""

import asyncio

from gateway.sandbox.clock import Pace


async def test_a_pace_of_nothing_never_waits() -> None:
    await asyncio.wait_for(Pace(0).until(1), timeout=5)


async def test_a_wait_ends_when_the_client_leaves() -> None:
    gone = asyncio.Event()
    pace = Pace(3600, gone)
    gone.set()

    await asyncio.wait_for(pace.until(1), timeout=5)


async def test_a_part_of_the_work_takes_its_part_of_the_time() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    await Pace(0.2).until(0.5)

    assert 0.1 <= loop.time() - began < 5
