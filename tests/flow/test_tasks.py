import asyncio

import pytest

from gateway.flow.tasks import ClientGoneError, WhilePresent, spawn


async def test_a_spawned_task_runs_and_its_failure_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("no")

    task = spawn("a task", fails())
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "task a task failed" in caplog.text


async def test_a_block_ends_when_the_client_leaves() -> None:
    gone = asyncio.Event()
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        async with WhilePresent(gone.wait):
            asyncio.get_running_loop().call_soon(gone.set)
            try:
                await asyncio.sleep(3600)
            finally:
                cleaned = True

    with pytest.raises(ClientGoneError):
        await work()
    assert cleaned
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_ends_by_itself_is_left_alone() -> None:
    gone = asyncio.Event()
    async with WhilePresent(gone.wait):
        await asyncio.sleep(0)
    gone.set()
    await asyncio.sleep(0)


async def test_an_error_of_the_block_is_its_own() -> None:
    with pytest.raises(KeyError):
        async with WhilePresent(asyncio.Event().wait):
            raise KeyError


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def work() -> None:
        async with WhilePresent(asyncio.Event().wait):
            await asyncio.sleep(3600)

    task = asyncio.get_running_loop().create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
