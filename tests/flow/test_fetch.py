import asyncio

import pytest

from gateway.core.errors import Failure, UpstreamFailed
from gateway.flow.fetch import Fetch, Head, read
from gateway.flow.reel import Reel
from gateway.flow.tape import Tape
from tests.support.clock import FakeClock
from tests.support.scripted import JSON, Reply
from tests.support.waiting import until


def fetching(reply: Reply | UpstreamFailed, *, high_water_bytes: int = 1000) -> Fetch:
    async def open_reply() -> Reply:
        if isinstance(reply, UpstreamFailed):
            raise reply
        return reply

    return Fetch(open_reply, FakeClock(), high_water_bytes=high_water_bytes)


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_head_comes_first_then_each_chunk_as_it_was_sent() -> None:
    fetch = fetching(Reply(script=[b"one", b"two", b"three"]))
    assert (await fetch.head()).status == 200
    assert [chunk async for chunk in fetch.chunks()] == [b"one", b"two", b"three"]


async def test_a_chunk_is_handed_on_while_the_next_is_awaited() -> None:
    later = asyncio.Event()
    fetch = fetching(Reply(script=[b"one", later, b"two"]))
    chunks = fetch.chunks()
    assert await anext(chunks) == b"one"
    later.set()
    assert await anext(chunks) == b"two"


async def test_the_read_runs_ahead_by_a_bound() -> None:
    reply = Reply(script=[b"x" * 100] * 50)
    fetch = fetching(reply, high_water_bytes=300)
    await fetch.head()
    await settle()
    assert reply.read == 3
    assert len([chunk async for chunk in fetch.chunks()]) == 50


async def test_without_an_answer_the_head_fails() -> None:
    failed = UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=False)
    with pytest.raises(UpstreamFailed) as caught:
        await fetching(failed).head()
    assert caught.value is failed


async def test_what_came_before_a_break_is_handed_on_first() -> None:
    failed = UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
    reply = Reply(script=[b"one", b"two", failed])
    fetch = fetching(reply)
    await settle()
    chunks = fetch.chunks()
    assert [await anext(chunks), await anext(chunks)] == [b"one", b"two"]
    with pytest.raises(UpstreamFailed):
        await anext(chunks)
    assert reply.closed == 1


@pytest.mark.parametrize("where", ["head", "chunk", "room"])
async def test_leaving_frees_the_connection_wherever_the_read_is(where: str) -> None:
    never = asyncio.Event()
    reply = Reply(script=[b"one", never] if where == "chunk" else [b"x" * 100] * 50)
    opened = 0

    async def open_reply() -> Reply:
        nonlocal opened
        if where == "head":
            await never.wait()
        opened += 1
        return reply

    fetch = Fetch(open_reply, FakeClock(), high_water_bytes=300)
    await settle()
    fetch.leave()
    await settle()
    assert fetch._task.done()
    assert reply.closed == opened


async def test_leaving_at_the_end_changes_nothing() -> None:
    reply = Reply(script=[b"one"])
    fetch = fetching(reply)
    assert [chunk async for chunk in fetch.chunks()] == [b"one"]
    fetch.leave()
    await settle()
    assert reply.closed == 1


async def test_a_fault_of_ours_reaches_the_passenger(caplog: pytest.LogCaptureFixture) -> None:
    async def open_reply() -> Reply:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await Fetch(open_reply, FakeClock()).head()
    await settle()
    assert "task fetch failed" in caplog.text


# A read that somebody looks at


async def test_a_chunk_is_handed_on_first_then_looked_at_and_all_are_before_the_end() -> None:
    notes: list[object] = []
    tape = Tape(keep=True, reel=Reel())
    head = Head(200, JSON, 0.0)

    async def passenger() -> None:
        cursor = tape.cursor()
        notes.append(await cursor.head())
        chunks = cursor.chunks()
        while (chunk := await anext(chunks, None)) is not None:
            notes.append((chunk, "taken"))
        notes.append("end")

    async def open_reply() -> Reply:
        return Reply(script=[b"one", b"two"])

    listening = asyncio.get_running_loop().create_task(passenger())
    await settle()
    await read(
        open_reply,
        FakeClock(),
        tape,
        came=lambda head: notes.append(("came", head)),
        saw=lambda chunk: notes.append((chunk, "seen")),
    )
    await listening
    assert notes == [
        ("came", head),
        head,
        (b"one", "taken"),
        (b"one", "seen"),
        (b"two", "taken"),
        (b"two", "seen"),
        "end",
    ]


async def test_a_chunk_that_has_come_is_looked_at_though_the_read_is_cut_just_then() -> None:
    seen: list[bytes] = []
    tape = Tape(keep=True, reel=Reel())
    reply = Reply(script=[b"one", asyncio.Event()])

    async def open_reply() -> Reply:
        return reply

    reading = asyncio.get_running_loop().create_task(read(open_reply, FakeClock(), tape, saw=seen.append))
    await until(lambda: tape.size > 0)
    assert seen == []
    reading.cancel()
    await asyncio.wait([reading])
    assert (seen, reply.closed, tape.is_left) == ([b"one"], 1, True)


async def test_without_passengers_it_is_read_to_its_end() -> None:
    tape = Tape(keep=True, reel=Reel(), high_water_bytes=300)
    reply = Reply(script=[b"x" * 100] * 50)

    async def open_reply() -> Reply:
        return reply

    await read(open_reply, FakeClock(), tape)
    assert (tape.size, reply.closed) == (5000, 1)
