"""Acts that come together share a transaction, and stay apart in what they do wrong."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from gateway.adapters.sqlite.connection import FILE, writing
from gateway.adapters.sqlite.writer import TOGETHER, Writer
from gateway.ports import StoreFailed


class Counting(Writer):
    """Counts transactions, and can be held up in one."""

    def __init__(self, file: Path) -> None:
        super().__init__(lambda: self._connected(file))
        self.commits = 0
        self.gate = threading.Event()
        self.held = threading.Event()

    def _connected(self, file: Path) -> apsw.Connection:
        db = writing(file)
        db.execute("CREATE TABLE IF NOT EXISTS kept (n INTEGER PRIMARY KEY) STRICT")
        db.set_commit_hook(self._count)
        return db

    def _count(self) -> bool:
        self.commits += 1
        return False

    def hold(self, _db: apsw.Connection) -> None:
        self.held.set()
        self.gate.wait()

    def put(self, number: object) -> "asyncio.Task[object]":
        return asyncio.get_running_loop().create_task(
            self.run(lambda db: db.execute("INSERT INTO kept VALUES (?) RETURNING n", (number,)).get)
        )


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Counting]:
    made = Counting(tmp_path / FILE)
    yield made
    made.gate.set()


async def kept(writer: Writer) -> list[object]:
    return await writer.run(lambda db: [n for (n,) in db.execute("SELECT n FROM kept ORDER BY n")])


async def held_up(writer: Counting) -> "asyncio.Task[None]":
    holding = asyncio.get_running_loop().create_task(writer.run(writer.hold))
    await asyncio.to_thread(writer.held.wait)
    return holding


async def test_what_comes_while_a_transaction_runs_shares_the_next_one(writer: Counting) -> None:
    holding = await held_up(writer)
    writes = [writer.put(number) for number in range(TOGETHER)]
    await asyncio.sleep(0)
    writer.gate.set()
    assert await asyncio.gather(*writes) == list(range(TOGETHER))
    await holding
    assert writer.commits == 2, "the one that was held up, and one for all the others"
    await writer.aclose()


async def test_an_act_that_fails_is_undone_alone(writer: Counting) -> None:
    def half(db: apsw.Connection) -> None:
        db.execute("INSERT INTO kept VALUES (99)")
        raise LookupError("after half of it")

    holding = await held_up(writer)
    good = [writer.put(1), writer.put(2)]
    bad = [writer.put(1), writer.put("no number"), asyncio.get_running_loop().create_task(writer.run(half))]
    await asyncio.sleep(0)
    writer.gate.set()
    assert await asyncio.gather(*good) == [1, 2]
    errors = await asyncio.gather(*bad, return_exceptions=True)
    assert [type(error) for error in errors] == [apsw.ConstraintError, apsw.MismatchError, LookupError]
    await holding
    assert await kept(writer) == [1, 2]
    await writer.aclose()


async def test_nobody_waits_for_a_connection_that_cannot_be_made(tmp_path: Path) -> None:
    writer = Writer(lambda: writing(tmp_path / "no such folder" / FILE))
    with pytest.raises(StoreFailed, match="CantOpenError") as failed:
        await kept(writer)
    assert not failed.value.unknown
    await writer.aclose()


async def test_closing_does_first_what_has_come(writer: Counting) -> None:
    writes = [writer.put(number) for number in range(10)]
    await asyncio.sleep(0)
    await writer.aclose()
    assert await asyncio.gather(*writes) == list(range(10))
    await writer.aclose()


async def test_what_comes_while_it_closes_is_done(writer: Counting) -> None:
    holding = await held_up(writer)
    closing = asyncio.get_running_loop().create_task(writer.aclose())
    await asyncio.sleep(0)
    late = writer.put(1)
    await asyncio.sleep(0)
    writer.gate.set()
    await asyncio.gather(holding, closing)
    assert await late == 1
    await writer.aclose()


async def test_a_loop_that_has_ended_takes_no_answer_but_the_write_is_done(writer: Counting) -> None:
    def elsewhere() -> None:
        async def leave() -> None:
            loop = asyncio.get_running_loop()
            loop.create_task(writer.run(writer.hold))  # noqa: RUF006 - left behind on purpose
            await asyncio.to_thread(writer.held.wait)
            writer.put(7)
            await asyncio.sleep(0)

        asyncio.run(leave())

    await asyncio.to_thread(elsewhere)
    writer.gate.set()
    assert await kept(writer) == [7]
    await writer.aclose()


async def test_what_its_caller_has_given_up_is_left_undone_if_it_may_be_and_done_if_not(
    writer: Counting,
) -> None:
    holding = await held_up(writer)
    loop = asyncio.get_running_loop()

    def put(number: int, *, optional: bool) -> "asyncio.Task[object]":
        return loop.create_task(
            writer.run(lambda db: db.execute("INSERT INTO kept VALUES (?)", (number,)), optional=optional)
        )

    given_up = [put(0, optional=True), put(1, optional=False), put(2, optional=True)]
    wanted = put(9, optional=True)
    await asyncio.sleep(0)
    for task in given_up:
        task.cancel()
    await asyncio.wait(given_up)
    writer.gate.set()
    await asyncio.gather(holding, wanted)
    assert await kept(writer) == [1, 9]
    await writer.aclose()


async def test_what_is_not_in_its_place_any_more_is_opened_anew(tmp_path: Path) -> None:
    file, opened = tmp_path / FILE, 0
    in_place = [True, True, False, True]

    def connect() -> apsw.Connection:
        nonlocal opened
        opened += 1
        return writing(file)

    writer = Writer(connect, lambda: in_place.pop(0))
    for _ in range(4):
        await writer.run(lambda db: db.execute("SELECT 1").get)
    assert (opened, in_place) == (2, [True])
    await writer.aclose()
