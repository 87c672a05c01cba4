"""Over real sockets, both ways of which can be held up: what one exchange keeps, waits for and gives up on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.adapters.connection import HIGH_WATER_BYTES, READ_BUFFER_BYTES, Connection
from gateway.core.errors import Failure, UpstreamFailed
from gateway.ports import Timeouts
from tests.support.raw import PATIENCE_S, Wire, raw_upstream
from tests.support.scripted import Held

PATIENT = Timeouts(connect_s=PATIENCE_S, read_s=PATIENCE_S, write_s=PATIENCE_S)
ASK = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def line(timeouts: Timeouts = PATIENT) -> AsyncIterator[tuple[Connection, Wire]]:
    """A connection and its other end."""
    lost = asyncio.Event()
    async with raw_upstream() as server:
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(
                memoryview(bytearray(READ_BUFFER_BYTES)),
                timeouts,
                died=lambda _: None,
                lost=lambda _: lost.set(),
            ),
            "127.0.0.1",
            server.port,
        )
        try:
            yield connection, await server.accept()
        finally:
            connection.abort()
            await lost.wait()


def begin(connection: Connection, body: tuple[bytes, ...] = ()) -> asyncio.Task[object]:
    return asyncio.get_running_loop().create_task(connection.ask(ASK % sum(map(len, body)), Held(body)))


async def body_of(connection: Connection) -> bytes:
    body = b""
    while (piece := await connection.piece()) is not None:
        body += piece
    return body


class TestReading:
    async def test_a_reader_that_takes_nothing_costs_two_reads(self) -> None:
        async with line() as (connection, wire):
            asking = begin(connection)
            await wire.read_request()
            size = 64 << 20
            await wire.write(OK, b"Content-Length: %d\r\n\r\n" % size)
            await asking
            assert await wire.write_until_blocked(size) < size
            assert connection._answer is not None
            assert HIGH_WATER_BYTES < connection._answer.size <= HIGH_WATER_BYTES + READ_BUFFER_BYTES

    async def test_a_reader_that_pauses_gets_everything(self) -> None:
        body = bytes(range(256)) * (1 << 14)
        async with line() as (connection, wire):
            asking = begin(connection)
            await wire.read_request()
            writing = asyncio.get_running_loop().create_task(
                wire.write(OK, b"Content-Length: %d\r\n\r\n" % len(body), body)
            )
            await asking
            received, most = b"", 0
            while (piece := await connection.piece()) is not None:
                received += piece
                assert connection._answer is not None
                most = max(most, connection._answer.size)
                await asyncio.sleep(0)
            await writing
            assert received == body
            assert most <= HIGH_WATER_BYTES + READ_BUFFER_BYTES
            assert connection.finish()

    async def test_an_answer_byte_by_byte_is_an_answer(self) -> None:
        raw = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        async with line() as (connection, wire):
            asking = begin(connection)
            await wire.read_request()
            for at in range(len(raw)):
                await wire.write(raw[at : at + 1])
                await asyncio.sleep(0)
            await asking
            assert await body_of(connection) == b"hello"
            assert connection.finish()

    async def test_each_arrival_gives_the_next_one_its_full_time(self) -> None:
        """The limit is on silence: one timer serves many waits, and looks again when it fires too early."""
        async with line(Timeouts(connect_s=PATIENCE_S, read_s=0.2)) as (connection, wire):
            asking = begin(connection)
            await wire.read_request()
            await wire.write(OK, b"Content-Length: 100\r\n\r\n")
            await asking
            started = asyncio.get_running_loop().time()
            for _ in range(4):
                reading = asyncio.get_running_loop().create_task(connection.piece())
                await asyncio.wait({reading}, timeout=0.06)
                await wire.write(b"x")
                assert await reading == b"x"
            with pytest.raises(UpstreamFailed):
                await connection.piece()
            assert asyncio.get_running_loop().time() - started > 0.2 + 4 * 0.06 - 0.01

    async def test_bytes_behind_the_answer_end_the_connection_not_the_answer(self) -> None:
        async with line() as (connection, wire):
            asking = begin(connection)
            await wire.read_request()
            await wire.write(OK, b"Content-Length: 2\r\n\r\n{}", OK, b"Content-Length: 5\r\n\r\nother")
            await asking
            assert await body_of(connection) == b"{}"
            assert not connection.finish()
            await wire.wait_closed_by_peer()

    async def test_what_nobody_asked_for_ends_an_idle_connection(self) -> None:
        async with line() as (connection, wire):
            await wire.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await wire.wait_closed_by_peer()
            assert connection.dead
            with pytest.raises(UpstreamFailed) as caught:
                await connection.ask(b"", None)
            assert caught.value.sent is False

    async def test_an_end_is_seen_before_the_event_loop_tells_it(self) -> None:
        async with line() as (connection, wire):
            assert not connection.stirs()
            wire.end()
            assert (connection.dead, connection.stirs()) == (False, True)


class TestWriting:
    async def test_a_server_that_reads_nothing_holds_the_upload_up_until_it_times_out(self) -> None:
        body = (b"x" * (1 << 20),) * 64
        async with line(Timeouts(connect_s=PATIENCE_S, read_s=PATIENCE_S, write_s=0.1)) as (connection, wire):
            wire.pause()
            with pytest.raises(UpstreamFailed) as caught:
                await connection.ask(ASK % (64 << 20), Held(body))
            error = caught.value
            assert (error.failure, error.phase, error.sent) == (Failure.TIMED_OUT, "write", True)
            assert connection._transport.get_write_buffer_size() < 1 << 20

    async def test_a_refusal_ends_an_upload_that_is_held_up(self) -> None:
        """The server has read the head only, and will read no more."""
        body = (b"x" * (64 << 20),)
        async with line() as (connection, wire):
            asking = begin(connection, body)
            await wire.read_until(b"\r\n\r\n")
            wire.pause()
            await wire.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
            await asyncio.wait_for(asking, PATIENCE_S)
            assert await body_of(connection) == b"{}"
            wire.resume()
            # Even once all is gone that had been written, half a request has been sent.
            async with asyncio.timeout(PATIENCE_S):
                while connection._transport.get_write_buffer_size():
                    await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.001)
            assert not connection.finish()

    async def test_an_early_answer_that_is_whole_ends_the_upload(self) -> None:
        async with line() as (connection, wire):
            asking = begin(connection, (b"x" * (1 << 20),) * 64)
            await wire.read_until(b"\r\n\r\n")
            await wire.write(OK, b"Content-Length: 2\r\n\r\n{}")
            await asking
            assert await body_of(connection) == b"{}"
            assert not connection.finish()

    async def test_an_early_head_that_is_no_refusal_lets_the_upload_end(self) -> None:
        body = (b"x" * (1 << 20),) * 8
        async with line() as (connection, wire):
            asking = begin(connection, body)
            await wire.read_until(b"\r\n\r\n")
            await wire.write(OK, b"Content-Length: 2\r\n\r\n")
            assert await wire.read(8 << 20) == b"".join(body)
            await wire.write(b"{}")
            await asking
            assert await body_of(connection) == b"{}"
            assert connection.finish()

    async def test_a_server_that_leaves_in_the_middle_of_an_upload_is_noticed(self) -> None:
        body = (b"x" * (1 << 20),) * 64
        async with line() as (connection, wire):
            asking = begin(connection, body)
            await wire.read_until(b"\r\n\r\n")
            wire.reset()
            with pytest.raises(UpstreamFailed) as caught:
                await asyncio.wait_for(asking, PATIENCE_S)
            error = caught.value
            assert (error.failure, error.phase, error.sent) == (Failure.UNREACHABLE, "write", True)

    async def test_one_large_piece_goes_up_whole(self) -> None:
        body = (bytes(range(256)) * (1 << 13),)
        async with line() as (connection, wire):
            asking = begin(connection, body)
            assert (await wire.read_request()).body == body[0]
            await wire.write(OK, b"Content-Length: 0\r\n\r\n")
            await asking
            assert connection.finish()
