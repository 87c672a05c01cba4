"""The guard's clocks and endings, in one event loop with the test. `tests/system/test_wire.py` has its grammar."""

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvloop

from gateway.core.record import Outcome
from gateway.web import guard, proxy
from gateway.web.guard import GuardedProtocol, Limits
from tests.support.answers import read_answer, read_head
from tests.support.gateway import KEY, PATIENT, LiveGateway, live_gateway
from tests.support.raw import PATIENCE_S, RawUpstream, Wire, raw_client, raw_upstream, request_bytes
from tests.support.waiting import until, write_for_ever

SOON_S = 0.05
"""A limit that is to be reached."""
BODY = b'{"model":"gpt-image-2","prompt":"a fox"}'
POST = request_bytes("POST", "/v1/images/generations", BODY, key=KEY)
LIVEZ = request_bytes("GET", "/livez")
CHUNKED = POST.replace(f"Content-Length: {len(BODY)}".encode(), b"Transfer-Encoding: chunked").removesuffix(
    BODY
)
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def limits(
    *, head_timeout_s: float = PATIENCE_S, stall_timeout_s: float = PATIENCE_S, linger_s: float = PATIENCE_S
) -> Limits:
    return Limits(head_timeout_s, stall_timeout_s, linger_s)


@asynccontextmanager
async def house(**options: Any) -> AsyncIterator[tuple[Wire, RawUpstream, LiveGateway]]:
    """A client, a gateway and an upstream; in the end no connection is left, and nothing that waits for one."""
    async with raw_upstream() as upstream, live_gateway(upstream.base_url, **options) as gateway:
        async with raw_client(gateway.port) as client:
            yield client, upstream, gateway
        await asyncio.wait_for(gateway.all_closed(), PATIENCE_S)
        assert timers() == []


def timers() -> list[asyncio.TimerHandle]:
    """What is still going to call a connection."""
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [
        timer
        for timer in scheduled
        if not timer.cancelled() and isinstance(getattr(timer._callback, "__self__", None), GuardedProtocol)  # type: ignore[attr-defined]
    ]


def protocol(gateway: LiveGateway) -> GuardedProtocol:
    """That of the only connection."""
    (only,) = gateway.server.server_state.connections
    assert isinstance(only, GuardedProtocol)
    return only


def busy(gateway: LiveGateway) -> GuardedProtocol:
    """That of the only connection on which something was asked."""
    guarded = (one for one in gateway.server.server_state.connections if isinstance(one, GuardedProtocol))
    (only,) = (one for one in guarded if one._answering is not None)
    return only


def small_buffers(gateway: LiveGateway) -> None:
    """Make the kernel hold little for clients that connect from now on."""
    for sock in gateway.server.servers[0].sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


class TestHeads:
    async def test_a_client_that_says_nothing_is_let_go_without_a_word(self) -> None:
        async with house(limits=limits(head_timeout_s=SOON_S)) as (client, _, gateway):
            assert await client.read_all() == b""
            assert gateway.records == []

    async def test_empty_lines_are_nothing_said(self) -> None:
        async with house(limits=limits(head_timeout_s=SOON_S)) as (client, _, _gateway):
            await client.write(b"\r\n\r\n")
            assert await client.read_all() == b""

    @pytest.mark.parametrize("sent", [1, 10, len(POST) - len(BODY) - 1])
    async def test_a_head_that_does_not_end_is_a_408(self, sent: int) -> None:
        async with house(limits=limits(head_timeout_s=SOON_S)) as (client, upstream, _):
            await client.write(POST[:sent])
            answer = await read_answer(client)
            assert (answer.code, answer.closes) == ("request_timeout", True)
            assert await client.read_all() == b""
            assert upstream.connections == 0

    async def test_a_head_that_drips_is_late_all_the_same(self) -> None:
        async with house(limits=limits(head_timeout_s=SOON_S)) as (client, _, _gateway):

            async def drip() -> None:
                await client.write(b"GET /livez HTTP/1.1\r\n")
                while True:
                    await client.write(b"X: y\r\n")
                    await asyncio.sleep(SOON_S / 20)

            dripping = asyncio.get_running_loop().create_task(drip())
            answer = await read_answer(client)
            dripping.cancel()
            assert answer.code == "request_timeout"

    # The gateway serves without uvloop there, and what is tested here is uvloop's order of events.
    @pytest.mark.skipif(sys.platform == "win32", reason="uvloop is not there")
    def test_a_head_that_lay_there_while_the_process_stood_still_is_not_late(self) -> None:
        """Under uvloop, which runs timers after what came from sockets, a process may be frozen in between."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._stand_still())

    @staticmethod
    async def _stand_still() -> None:
        async with (
            raw_upstream() as upstream,
            live_gateway(upstream.base_url, limits=limits(head_timeout_s=SOON_S)) as gateway,
        ):

            class Freezer(asyncio.Protocol):
                def data_received(self, data: bytes) -> None:
                    client.sendall(data)
                    time.sleep(2 * SOON_S)

            loop = asyncio.get_running_loop()
            async with (
                await loop.create_server(Freezer, "127.0.0.1", 0) as server,
                raw_client(server.sockets[0].getsockname()[1]) as spring,
            ):
                with socket.create_connection(("127.0.0.1", gateway.port), PATIENCE_S) as client:
                    await until(lambda: gateway.connections > 0)
                    await spring.write(LIVEZ)
                    assert (await asyncio.to_thread(client.recv, 65_536)).startswith(b"HTTP/1.1 200 ")

    async def test_the_second_head_of_a_connection_has_its_time_too(self) -> None:
        async with house(limits=limits(head_timeout_s=SOON_S)) as (client, _, _gateway):
            await client.write(LIVEZ)
            assert (await read_answer(client)).status == 200
            await client.write(LIVEZ[:10])
            assert (await read_answer(client)).code == "request_timeout"
            assert await client.read_all() == b""

    async def test_a_head_begun_behind_a_request_has_its_time_from_the_answer_on(self) -> None:
        async with house(limits=limits(head_timeout_s=SOON_S)) as (client, upstream, _):
            await client.write(POST, LIVEZ[:10])
            wire, _ = await upstream.request()
            await wire.write(ANSWER)
            assert (await read_answer(client)).status == 200
            assert (await read_answer(client)).code == "request_timeout"

    async def test_a_connection_that_waits_for_its_next_request_is_kept(self) -> None:
        async with house(limits=limits(head_timeout_s=SOON_S)) as (client, _, gateway):
            await client.write(LIVEZ)
            assert (await read_answer(client)).status == 200
            assert protocol(gateway)._head_timer is None
            assert protocol(gateway).timeout_keep_alive_task is not None

    async def test_an_idle_connection_is_closed_without_a_word(self) -> None:
        async with house() as (_, _, gateway):
            gateway.server.config.timeout_keep_alive = SOON_S  # type: ignore[assignment]
            async with raw_client(gateway.port) as client:
                await client.write(LIVEZ)
                assert (await read_answer(client)).status == 200
                assert await client.read_all() == b""

    async def test_an_idle_connection_that_is_reset_leaves_no_timer(self) -> None:
        async with house() as (client, _, _gateway):
            await client.write(LIVEZ)
            assert (await read_answer(client)).status == 200
            client.reset()

    async def test_a_fault_of_ours_is_told_as_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with house() as (client, _, _gateway):
            monkeypatch.setattr(guard, "objection", lambda _: 1 // 0)
            await client.write(LIVEZ)
            answer = await read_answer(client)
            assert (answer.code, answer.closes) == ("internal_error", True)


class TestBodies:
    @pytest.mark.parametrize(
        "sent", [POST[:-5], CHUNKED, CHUNKED + b"5\r\n{", CHUNKED + b"5;a=" + b"x" * 1000]
    )
    async def test_a_body_that_pauses_is_a_408_and_reaches_nobody(self, sent: bytes) -> None:
        async with house(body_timeout_s=SOON_S) as (client, upstream, gateway):
            await client.write(sent)
            answer = await read_answer(client)
            assert (answer.code, answer.closes) == ("request_timeout", True)
            assert await client.read_all() == b""
            assert upstream.connections == 0
            assert [(one.outcome, one.code) for one in gateway.records] == [
                (Outcome.REFUSED, "request_timeout")
            ]

    async def test_a_broken_body_is_told_at_once_and_recorded(self) -> None:
        async with house() as (client, upstream, gateway):
            await client.write(CHUNKED, b"5\r\n{....\r\n")
            await client.write(b"x\r\n")
            answer = await read_answer(client)
            assert (answer.code, answer.closes) == ("invalid_header", True)
            assert await client.read_all() == b""
            assert upstream.connections == 0
            assert [(one.outcome, one.code) for one in gateway.records] == [
                (Outcome.REFUSED, "invalid_header")
            ]

    async def test_a_broken_body_behind_a_request_waits_for_its_turn(self) -> None:
        async with house(limits=limits(linger_s=SOON_S)) as (client, upstream, gateway):
            await client.write(POST, CHUNKED, b"5\r\n{....\r\nx\r\n")
            wire, _ = await upstream.request()
            await wire.write(STREAM, b"5\r\nevent\r\n")
            assert (await read_head(client)).status == 200
            assert gateway.records == [], "the first one goes on, whatever comes behind it"
            await wire.write(b"0\r\n\r\n")
            assert await client.read_until(b"0\r\n\r\n") == b"5\r\nevent\r\n0\r\n\r\n"
            assert (await read_answer(client)).code == "invalid_header"

    async def test_a_client_that_goes_on_sending_after_its_answer_is_cut(self) -> None:
        async with house(limits=limits(linger_s=SOON_S)) as (client, _, gateway):
            head = request_bytes("POST", "/v1/responses", BODY, key="sk-no").removesuffix(BODY)
            await client.write(head.replace(f"{len(BODY)}".encode(), b"1000000000"))
            answer = await read_answer(client)
            assert (answer.code, answer.closes) == ("invalid_api_key", True)
            with pytest.raises(ConnectionError):
                await write_for_ever(client, bytes(1 << 16))
            await asyncio.wait_for(gateway.all_closed(), PATIENCE_S)


class TestReaders:
    async def test_one_that_takes_nothing_is_cut_and_the_upstream_left(self) -> None:
        async with house(limits=limits(stall_timeout_s=SOON_S)) as (client, upstream, gateway):
            client.pause()
            await client.write(POST)
            wire, _ = await upstream.request()
            await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
            with pytest.raises(ConnectionError):
                await write_for_ever(wire, bytes(1 << 20))
            await asyncio.wait_for(gateway.all_closed(), PATIENCE_S)
            await until(lambda: bool(gateway.records))
            assert [one.outcome for one in gateway.records] == [Outcome.CLIENT_GONE]

    @pytest.mark.parametrize("close", ["", "Connection: close"])
    async def test_one_that_leaves_the_end_of_its_answer_is_cut(self, close: str) -> None:
        async with house(limits=limits(stall_timeout_s=SOON_S, linger_s=SOON_S)) as (_, upstream, gateway):
            small_buffers(gateway)
            async with small_client(gateway.port) as client:
                client.pause()
                await client.write(
                    request_bytes(
                        "POST", "/v1/responses", b'{"model":"gpt-5"}', headers=(close,) if close else ()
                    )
                )
                wire, _ = await upstream.request()
                slow = busy(gateway)
                await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n", bytes(50_000))
                await until(lambda: bool(gateway.records))
                assert [one.outcome for one in gateway.records] == [Outcome.COMPLETED], (
                    "below the high-water mark"
                )
                await until(lambda: slow not in gateway.server.server_state.connections)

    async def test_one_that_takes_a_little_each_time_is_not(self) -> None:
        async with house() as (_, upstream, gateway):
            small_buffers(gateway)
            async with small_client(gateway.port) as client:
                client.pause()
                await client.write(POST)
                wire, _ = await upstream.request()
                await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", bytes(1_000_000))
                slow = busy(gateway)
                await until(lambda: slow._stall_timer is not None)
                for _ in range(3):
                    assert slow._stall_timer is not None
                    slow._stall_timer.cancel()
                    resume(client)
                    await until(lambda: slow._outlet.taken > slow._taken)
                    client.pause()
                    slow._check_stall()
                    assert not slow.transport.is_closing()
                    assert slow._stall_timer is not None

    async def test_one_that_reads_slowly_has_its_answer_whole_though_it_is_the_last(self) -> None:
        async with house(limits=limits(linger_s=0)) as (_, upstream, gateway):
            small_buffers(gateway)
            async with small_client(gateway.port) as client:
                await client.write(POST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                wire, _ = await upstream.request()
                await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n", bytes(300_000))
                assert len((await read_answer(client)).body) == 300_000
                assert await client.read_all() == b""


class TestEndings:
    async def test_a_cut_answer_ends_the_connection_though_the_client_holds_on(self) -> None:
        async with house(limits=limits(linger_s=SOON_S)) as (client, upstream, gateway):
            await client.write(POST)
            wire, _ = await upstream.request()
            await wire.write(STREAM, b"5\r\nevent\r\n")
            await client.read_until(b"event\r\n")
            wire.reset()
            assert await client.read_all() == b""
            await asyncio.wait_for(gateway.all_closed(), PATIENCE_S)
            assert [one.outcome for one in gateway.records] == [Outcome.UPSTREAM_CUT]

    async def test_a_cut_answer_ends_the_connection_though_the_client_takes_nothing(self) -> None:
        async with house(limits=limits(linger_s=SOON_S, stall_timeout_s=SOON_S)) as (_, upstream, gateway):
            small_buffers(gateway)
            async with small_client(gateway.port) as client:
                client.pause()
                await client.write(POST)
                wire, _ = await upstream.request()
                slow = busy(gateway)
                await wire.write(STREAM, b"9c40\r\n", bytes(40_000), b"\r\n")
                wire.reset()
                await until(lambda: slow not in gateway.server.server_state.connections)
                await until(lambda: bool(gateway.records))

    async def test_a_last_answer_ends_the_connection_though_the_client_holds_on(self) -> None:
        async with house(limits=limits(linger_s=SOON_S)) as (client, _, gateway):
            await client.write(request_bytes("GET", "/livez", headers=("Connection: close",)))
            assert (await read_answer(client)).closes
            await asyncio.wait_for(gateway.all_closed(), PATIENCE_S)

    async def test_http_1_0_gets_a_stream_without_chunks(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(POST.replace(b"HTTP/1.1", b"HTTP/1.0"))
            wire, _ = await upstream.request()
            await wire.write(STREAM, b"5\r\nevent\r\n")
            head = await read_head(client)
            assert (head.header("transfer-encoding"), head.header("content-length"), head.closes) == (
                None,
                None,
                True,
            )
            assert await client.read(5) == b"event"
            await wire.write(b"4\r\nmore\r\n0\r\n\r\n")
            assert await client.reader.read() == b"more"

    async def test_http_1_0_is_told_of_a_broken_stream_by_a_reset(self) -> None:
        async with house() as (client, upstream, _):
            await client.write(POST.replace(b"HTTP/1.1", b"HTTP/1.0"))
            wire, _ = await upstream.request()
            await wire.write(STREAM, b"5\r\nevent\r\n")
            await client.read_until(b"event")
            wire.reset()
            with pytest.raises(ConnectionResetError):
                await client.reader.read()

    @pytest.mark.parametrize("behind", [LIVEZ, LIVEZ * 5, POST[:-5], b"\0garbage"])
    async def test_a_client_that_leaves_is_noticed_whatever_it_sent_behind_its_request(
        self, behind: bytes
    ) -> None:
        async with house() as (client, upstream, gateway):
            await client.write(POST)
            wire, _ = await upstream.request()
            await client.write(behind)
            client.reset()
            await wire.wait_closed_by_peer()
            await until(lambda: bool(gateway.records))
            assert [one.outcome for one in gateway.records] == [Outcome.CLIENT_GONE]


async def test_too_much_at_once_is_sent_away_while_those_inside_go_on() -> None:
    async with house(max_concurrent=1) as (client, upstream, gateway):
        await client.write(POST)
        wire, _ = await upstream.request()
        async with raw_client(gateway.port) as other:
            await other.write(POST)
            answer = await read_answer(other)
            assert (answer.status, answer.code, answer.header("retry-after")) == (503, "overloaded", "1")
            assert answer.header("x-should-retry") == "true"
            await wire.write(ANSWER)
            assert (await read_answer(client)).status == 200
            await other.write(POST)
            await wire.read_request()
            await wire.write(ANSWER)
            assert (await read_answer(other)).status == 200
        assert upstream.connections == 1
        assert [one.code for one in gateway.records] == ["overloaded", None, None]


@asynccontextmanager
async def small_client(port: int) -> AsyncIterator[Wire]:
    """A client for which the kernel holds little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(0)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    wire = Wire(*await asyncio.open_connection(sock=sock, limit=4096))
    try:
        yield wire
    finally:
        wire.writer.transport.abort()
        await asyncio.sleep(0)


def resume(client: Wire) -> None:
    transport = client.writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.resume_reading()


async def test_what_never_became_a_request_leaves_its_line_too() -> None:
    async with house() as (client, upstream, gateway):
        await client.write(b"GET /canary HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert (await read_answer(client)).code == "invalid_host"
        (record,) = gateway.records
        assert (record.outcome, record.status, record.code) == (Outcome.REFUSED, 400, "invalid_host")
        assert "canary" not in str(record)
        assert upstream.connections == 0


async def test_a_body_that_only_drips_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes in time, all of them together do not."""
    monkeypatch.setattr(proxy, "MIN_BODY_RATE", 1 << 30)
    async with house(body_timeout_s=0.3) as (client, upstream, _):
        head = request_bytes("POST", "/v1/images/generations", b" " * 1000, key=KEY)
        await client.write(head[:-1000])
        answering = asyncio.get_running_loop().create_task(read_answer(client))
        while not answering.done():
            await client.write(b" ")
            await asyncio.wait({answering}, timeout=0.02)
        answer = await answering
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert upstream.connections == 0


class TestDraining:
    """The process stops taking connections, and serves what is open to its end."""

    async def test_the_next_answer_on_an_idle_connection_is_the_last_and_says_so(self) -> None:
        async with house() as (client, _, gateway):
            await client.write(LIVEZ)
            assert b"connection: close" not in await client.read_until(b'{"status":"ok"}')
            protocol(gateway).shutdown()
            await client.write(LIVEZ)
            said = await client.read_all()
            assert said.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in said

    async def test_one_that_was_only_just_made_is_served(self) -> None:
        async with house() as (client, _, gateway):
            await until(lambda: gateway.connections > 0)
            protocol(gateway).shutdown()
            await client.write(LIVEZ)
            assert (await client.read_all()).startswith(b"HTTP/1.1 200 ")

    async def test_one_that_came_while_the_listener_was_closed_is_served_once(self) -> None:
        async with house() as (_, _, gateway):
            gateway.server.server_state.is_draining = True  # type: ignore[attr-defined]  # as our server's has it
            async with raw_client(gateway.port) as late:
                await late.write(LIVEZ)
                assert b"connection: close" in await late.read_all()

    async def test_an_answer_under_way_is_finished_and_the_connection_closed(self) -> None:
        async with house() as (client, upstream, gateway):
            await client.write(request_bytes("GET", "/v1/models"))
            wire, _ = await upstream.request()
            protocol(gateway).shutdown()
            await wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            said = await client.read_all()
            assert said.endswith(b"{}")
            assert b"connection: close" in said

    async def test_a_connection_on_which_nothing_is_asked_is_closed_after_a_while(self) -> None:
        async with house(limits=replace(PATIENT, last_call_s=0.01)) as (client, _, gateway):
            await until(lambda: gateway.connections > 0)
            protocol(gateway).shutdown()
            assert await client.read_all() == b""

    async def test_a_head_that_has_begun_by_then_is_answered(self) -> None:
        async with house(limits=replace(PATIENT, last_call_s=0.01)) as (client, _, gateway):
            await client.write(LIVEZ[:10])
            await until(lambda: gateway.connections > 0 and protocol(gateway)._in_head)
            protocol(gateway).shutdown()
            await asyncio.sleep(0.05)
            await client.write(LIVEZ[10:])
            assert (await client.read_all()).startswith(b"HTTP/1.1 200 ")
