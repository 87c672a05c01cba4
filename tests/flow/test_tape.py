"""What one answer has given: to everybody, from the first byte, and in memory once."""

import asyncio
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Failure, UpstreamFailed
from gateway.flow.reel import Reel
from gateway.flow.tape import CHUNK_COSTS_BYTES, Cursor, Head, LeftBehind, Tape
from tests.support.waiting import until

HEAD = Head(200, (), 0.5)
BROKEN = UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)


@dataclass
class Disk:
    """A file in memory; it stalls while `room` is not set, and dies or raises when it is told to."""

    held: bytearray = field(default_factory=bytearray)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    alive: bool = True
    error: Exception | None = None
    writes: int = 0
    reads: int = 0

    def __post_init__(self) -> None:
        self.room.set()

    async def write(self, chunk: bytes) -> None:
        await self.room.wait()
        if self.error is not None:
            raise self.error
        if self.alive:
            self.writes += 1
            self.held += chunk

    async def read(self, start: int, end: int) -> bytes:
        self.reads += 1
        if not self.alive:
            raise OSError("gone")
        return bytes(self.held[start:end])


def tape(*, keep: bool = True, capacity: int = 1 << 20, high_water_bytes: int = 300) -> Tape:
    return Tape(keep=keep, reel=Reel(capacity), high_water_bytes=high_water_bytes)


def fill(made: Tape, chunks: Sequence[bytes]) -> None:
    for chunk in chunks:
        made.append(chunk)


async def rest(cursor: Cursor) -> bytes:
    return b"".join([chunk async for chunk in cursor.chunks()])


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def waits(made: Tape) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(made.room())


# What a cursor sees


async def test_everybody_sees_the_head_every_chunk_and_the_end_whenever_they_came() -> None:
    made = tape()
    early = made.cursor()
    reading = asyncio.get_running_loop().create_task(rest(early))
    made.begin(HEAD)
    fill(made, [b"one", b"two"])
    middle = made.cursor()
    made.append(b"three")
    made.end()
    late = made.cursor()
    assert await early.head() is await late.head() is HEAD
    assert await reading == await rest(middle) == await rest(late) == b"onetwothree"


async def test_chunks_are_handed_on_as_they_came_each_the_same_object() -> None:
    made = tape()
    chunks = [b"x" * 100, b"y" * 50, b"z"]
    fill(made, chunks)
    made.end()
    for _ in range(2):
        found = [chunk async for chunk in made.cursor().chunks()]
        assert all(one is other for one, other in zip(found, chunks, strict=True))


async def test_a_chunk_is_there_at_once_and_the_next_is_waited_for() -> None:
    made = tape()
    chunks = made.cursor().chunks()
    made.append(b"one")
    assert await anext(chunks) == b"one"
    asyncio.get_running_loop().call_soon(made.append, b"two")
    assert await anext(chunks) == b"two"


async def test_what_came_before_a_break_is_seen_first() -> None:
    made = tape()
    made.begin(HEAD)
    made.append(b"one")
    made.fail(BROKEN)
    cursor = made.cursor()
    assert await cursor.head() is HEAD
    chunks = cursor.chunks()
    assert await anext(chunks) == b"one"
    with pytest.raises(UpstreamFailed) as caught:
        await anext(chunks)
    assert caught.value is BROKEN


async def test_without_an_answer_everybody_gets_the_same_failure() -> None:
    made = tape()
    early = asyncio.get_running_loop().create_task(made.cursor().head())
    await settle()
    made.fail(BROKEN)
    for head in (early, made.cursor().head()):
        with pytest.raises(UpstreamFailed) as caught:
            await head
        assert caught.value is BROKEN


async def test_a_reading_that_was_given_up_cancels_nobody_who_looks() -> None:
    made = tape()
    made.fail(asyncio.CancelledError())
    assert made.is_left
    with pytest.raises(UpstreamFailed):
        await made.cursor().head()


async def test_only_who_waits_is_woken_and_once_for_each_news() -> None:
    made = tape()
    woken = 0

    async def waiting() -> None:
        nonlocal woken
        await made.news()
        woken += 1

    tasks = [asyncio.get_running_loop().create_task(waiting()) for _ in range(3)]
    await settle()
    fill(made, [b"one", b"two", b"three"])
    await asyncio.gather(*tasks)
    assert woken == 3
    assert not made._waiting


async def test_who_stops_waiting_is_forgotten() -> None:
    made = tape()
    task = asyncio.get_running_loop().create_task(made.news())
    await settle()
    task.cancel()
    await settle()
    assert not made._waiting


# The writer's pace


async def test_the_writer_waits_for_the_only_passenger() -> None:
    made = tape()
    cursor = made.cursor()
    fill(made, [b"x" * 100] * 3)
    room = waits(made)
    await settle()
    assert not room.done()
    await cursor.take()
    await room


async def test_the_writer_goes_as_fast_as_the_fastest_passenger() -> None:
    made = tape()
    fast, stalled = made.cursor(), made.cursor()
    for _ in range(50):
        made.append(b"x" * 100)
        await made.room()
        await fast.take()
    assert (fast.at, stalled.at) == (5000, 0)
    made.end()
    assert len(await rest(stalled)) == 5000


async def test_when_the_fastest_leaves_the_next_one_sets_the_pace() -> None:
    made = tape()
    fast, slow = made.cursor(), made.cursor()
    fill(made, [b"x" * 100] * 3)
    while await fast.take() is not None:
        pass
    await made.room()
    fast.leave()
    room = waits(made)
    await settle()
    assert not room.done()
    await slow.take()
    await room


async def test_the_writer_does_not_wait_for_the_last_who_left_nor_for_who_only_looks() -> None:
    made = tape()
    cursor = made.cursor()
    made.cursor(is_passenger=False)
    fill(made, [b"x" * 100] * 10)
    room = waits(made)
    await settle()
    assert not room.done()
    cursor.leave()
    await room


async def test_with_a_file_the_writer_waits_for_nobody() -> None:
    made = tape()
    disk = Disk()
    made.attach(disk)
    cursor = made.cursor()
    fill(made, [b"x" * 100] * 10)
    await made.room()
    made.end()
    assert await made.filed()
    assert len(await rest(cursor)) == 1000
    assert disk.held == b"x" * 1000


# Memory


async def test_a_tape_that_is_not_open_holds_what_the_slowest_has_not_taken() -> None:
    made = tape(keep=False)
    fast, slow = made.cursor(), made.cursor()
    fill(made, [b"x" * 100] * 3)
    await fast.take()
    assert made.held_bytes == 3 * (100 + CHUNK_COSTS_BYTES)
    await slow.take()
    assert made.held_bytes == 2 * (100 + CHUNK_COSTS_BYTES)
    slow.leave()
    await fast.take()
    assert made.held_bytes == 100 + CHUNK_COSTS_BYTES
    fast.leave()
    assert made.held_bytes == 0
    with pytest.raises(LeftBehind):
        made.cursor()


async def test_two_hundred_followers_of_twenty_megabytes_cost_one_copy() -> None:
    made = Tape(keep=True, reel=Reel())
    cursors = [made.cursor() for _ in range(200)]
    tracemalloc.start()
    try:
        readings = [asyncio.get_running_loop().create_task(_count(cursor)) for cursor in cursors]
        for number in range(320):
            made.append(bytes([number % 251]) * 65_536)
            await asyncio.sleep(0)
        made.end()
        assert await asyncio.gather(*readings) == [320 * 65_536] * 200
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * 320 * 65_536


async def _count(cursor: Cursor) -> int:
    size = 0
    async for chunk in cursor.chunks():
        size += len(chunk)
    return size


async def test_beyond_the_capacity_what_lies_in_the_file_is_read_back_from_there() -> None:
    made = tape(capacity=1000)
    disk = Disk()
    made.attach(disk)
    live = made.cursor()
    chunks = [bytes([number]) * 100 for number in range(50)]
    for chunk in chunks:
        made.append(chunk)
        await until(lambda: len(disk.held) == made.size)
        assert await live.take() == chunk
        assert made.held_bytes <= 1000
    made.end()
    assert made.is_open
    assert await rest(made.cursor()) == b"".join(chunks)
    assert disk.reads
    assert await made.filed()


async def test_a_file_that_does_not_keep_pace_is_given_up_and_holds_up_nobody() -> None:
    made = tape(capacity=1000)
    disk = Disk()
    disk.room.clear()
    made.attach(disk)
    cursor = made.cursor()
    for _ in range(50):
        made.append(b"x" * 100)
        assert await cursor.take() == b"x" * 100
    assert made.held_bytes <= 1000
    assert not made.is_open
    made.end()
    assert not await made.filed()
    disk.room.set()
    await settle()


async def test_beyond_the_capacity_without_a_file_the_door_closes_then_laggards_are_left_behind() -> None:
    made = tape(capacity=2000)
    fast, stalled = made.cursor(), made.cursor()
    for _ in range(50):
        made.append(b"x" * 100)
        await made.room()
        assert await fast.take() == b"x" * 100
    assert not made.is_open
    assert made.held_bytes <= 2000
    with pytest.raises(LeftBehind):
        await rest(stalled)
    made.end()
    assert await rest(fast) == b""


async def test_one_tape_takes_the_room_of_all() -> None:
    reel = Reel(2000)
    large, small = Tape(keep=True, reel=reel), Tape(keep=True, reel=reel)
    fill(large, [b"x" * 100] * 10)
    fill(small, [b"y" * 100] * 3)
    assert (large.is_open, small.is_open) == (False, True), "the larger one makes room"
    assert reel.held_bytes == large.held_bytes + small.held_bytes <= 2000
    for made in (large, small):
        made.close()
    assert reel.held_bytes == 0


# A file that fails


@pytest.mark.parametrize("dies", [True, False])
async def test_a_file_that_fails_fails_nobody_who_finds_it_in_memory(*, dies: bool) -> None:
    made = tape()
    disk = Disk()
    made.attach(disk)
    made.append(b"one")
    await until(lambda: disk.writes == 1)
    disk.alive, disk.error = not dies, None if dies else OSError("no space left on device")
    fill(made, [b"two"])
    made.end()
    assert not await made.filed()
    assert made.is_open
    assert await rest(made.cursor()) == b"onetwo"


async def test_who_needs_what_a_dead_file_had_is_left_behind() -> None:
    made = tape(capacity=200)
    disk = Disk()
    made.attach(disk)
    late = made.cursor()
    made.append(b"x" * 100)
    await until(lambda: disk.writes == 1)
    made.append(b"y" * 100)
    assert made._start == 100
    disk.alive = False
    with pytest.raises(LeftBehind):
        await late.take()
    await until(lambda: not made.is_open)
    with pytest.raises(LeftBehind):
        made.cursor()


async def test_what_is_not_worth_keeping_is_not_written_any_more() -> None:
    made = tape()
    disk = Disk()
    made.attach(disk)
    cursor = made.cursor()
    made.append(b"one")
    await until(lambda: disk.writes == 1)
    made.stop_filing()
    fill(made, [b"x" * 100] * 3)
    room = waits(made)
    await settle()
    assert not room.done(), "without a file it is the passenger's pace"
    assert len(await anext(cursor.chunks())) == 3
    while await cursor.take() is not None:
        pass
    await room
    made.end()
    assert not await made.filed()
    assert disk.held == b"one"


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=30),
    capacity=st.integers(200, 3000),
    takes=st.lists(st.integers(0, 2), max_size=100),
)
async def test_with_a_file_every_cursor_gets_every_byte_in_order_whatever_the_memory(
    chunks: list[bytes], capacity: int, takes: list[int]
) -> None:
    made = tape(capacity=capacity)
    disk = Disk()
    made.attach(disk)
    cursors = [made.cursor() for _ in range(3)]
    got = [b"", b"", b""]
    pending = list(reversed(chunks))
    for which in takes:
        if pending:
            made.append(pending.pop())
        await until(lambda: len(disk.held) == made.size)
        got[which] += await cursors[which].take() or b""
    while pending:
        made.append(pending.pop())
        await until(lambda: len(disk.held) == made.size)
    made.end()
    for number, cursor in enumerate(cursors):
        assert got[number] + await rest(cursor) == b"".join(chunks)
    assert await made.filed()
