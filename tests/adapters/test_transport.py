"""What only this adapter can get wrong; its promises are tests/contracts/test_upstream.py."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trustme

from gateway.adapters import transport
from gateway.adapters.transport import FastReply, FastUpstream
from gateway.core.credentials import Account
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.headers import Header
from gateway.ports import Timeouts, UpstreamRequest
from tests.conftest import SEED
from tests.support.raw import PATIENCE_S, RawUpstream, Wire, raw_upstream
from tests.support.scripted import Held

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EMPTY = HEAD + b"Content-Length: 0\r\n\r\n"


def fast(base_url: str, *, size: int = 10, ca_file: Path | None = None, read_s: float = 20.0) -> FastUpstream:
    return FastUpstream(
        base_url,
        {"default": Account("sk-up")},
        timeouts=Timeouts(connect_s=PATIENCE_S, read_s=read_s, pool_s=PATIENCE_S),
        max_connections=size,
        ca_file=ca_file,
    )


@asynccontextmanager
async def pair(*, size: int = 10, read_s: float = 20.0) -> AsyncIterator[tuple[FastUpstream, RawUpstream]]:
    async with raw_upstream() as server:
        upstream = fast(server.base_url, size=size, read_s=read_s)
        try:
            yield upstream, server
        finally:
            await upstream.aclose()


def asking(
    path: str = "/images/generations",
    *,
    method: str = "POST",
    query: bytes = b"",
    headers: tuple[Header, ...] = (),
    body: tuple[bytes, ...] | None = (b"{}",),
) -> UpstreamRequest:
    return UpstreamRequest(method, path, query, headers, None if body is None else Held(body), "default")


def begin(upstream: FastUpstream, request: UpstreamRequest | None = None) -> asyncio.Task[FastReply]:
    return asyncio.get_running_loop().create_task(upstream.open(request or asking()))


async def body_of(reply: FastReply) -> bytes:
    return b"".join([chunk async for chunk in reply.chunks()])


async def exchange(upstream: FastUpstream, server: RawUpstream, wire: Wire | None = None) -> Wire:
    """One call, answered and read to its end, on a new connection or the one given."""
    opening = begin(upstream)
    wire = wire or await server.accept()
    await wire.read_request()
    await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
    assert await body_of(await opening) == b"{}"
    return wire


class TestRequests:
    @pytest.mark.parametrize(
        "request_",
        [
            asking("/models\r\nX-Evil: 1"),
            asking("/models HTTP/1.1\r\n\r\nGET /"),
            asking("/mod\0els"),
            asking("/modèles"),
            asking(query=b"a=1\r\nX-Evil: 1"),
            asking(query=b"a=1 2"),
            asking(method="GET /x"),
            asking(headers=((b"x-a", b"1\r\nx-evil: 1"),)),
            asking(headers=((b"x-a", b"1\nx"),)),
            asking(headers=((b"x-a", b"1\0"),)),
            asking(headers=((b"x-a: 1\r\nx-evil", b"1"),)),
            asking(headers=((b"", b"1"),)),
            asking(headers=((b"content-length", b"1"),)),
            asking(headers=((b"transfer-encoding", b"chunked"),)),
        ],
    )
    async def test_nothing_can_be_injected_and_nothing_is_sent(self, request_: UpstreamRequest) -> None:
        async with pair() as (upstream, server):
            with pytest.raises(ValueError, match=r"does not allow|transport's to write|ascii"):
                await upstream.open(request_)
            assert server.connections == 0

    def test_a_credential_that_is_two_lines_is_refused_from_the_start(self) -> None:
        with pytest.raises(ValueError, match="does not allow") as caught:
            FastUpstream(
                "http://localhost/v1",
                {"default": Account("sk-up\n")},
                timeouts=Timeouts(connect_s=1, read_s=1),
                max_connections=1,
            )
        assert "sk-up" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "authority"),
        [
            ("https://api.openai.com/v1", b"api.openai.com"),
            ("https://api.openai.com:443/v1", b"api.openai.com"),
            ("http://api.example:8080", b"api.example:8080"),
            ("http://[::1]:8080/v1", b"[::1]:8080"),
            ("http://[::1]/v1", b"[::1]"),
            ("https://bücher.example/v1", b"xn--bcher-kva.example"),
        ],
    )
    def test_the_host_field_names_the_origin(self, url: str, authority: bytes) -> None:
        assert b"host: " + authority + b"\r\n" in fast(url)._fields["default"]


class TestConnections:
    async def test_the_connection_last_given_back_is_taken_first(self) -> None:
        async with pair() as (upstream, server):
            replies, wires = [], []
            for _ in range(2):
                opening = begin(upstream)
                wires.append((await server.request())[0])
                await wires[-1].write(EMPTY)
                replies.append(await opening)
            for reply in replies:
                await reply.aclose()
            await exchange(upstream, server, wires[-1])
            assert server.connections == 2

    async def test_what_lies_behind_an_answer_is_not_the_next_ones(self) -> None:
        async with pair(size=1) as (upstream, server):
            for _ in range(2):
                opening = begin(upstream)
                wire, _ = await server.request()
                await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}", HEAD, b"Content-Length: 3\r\n\r\nbad")
                assert await body_of(await opening) == b"{}"
                await wire.wait_closed_by_peer()

    async def test_an_end_that_the_event_loop_has_not_told_yet_is_seen(self) -> None:
        """The request would be written, lost, and could not be made again."""
        async with pair(size=1) as (upstream, server):
            wire = await exchange(upstream, server)
            wire.end()
            await exchange(upstream, server)
            assert server.connections == 2

    async def test_idle_connections_expire(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "KEEPALIVE_EXPIRY_S", 0.01)
        async with pair() as (upstream, server):
            wire = await exchange(upstream, server)
            await wire.wait_closed_by_peer()
            await exchange(upstream, server)

    async def test_closing_the_upstream_breaks_off_what_is_under_way(self) -> None:
        async with pair() as (upstream, server):
            idle = await exchange(upstream, server)
            waiting = begin(upstream)
            await idle.read_request()
            opening = begin(upstream)
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 9\r\n\r\nhalf")
            reply = await opening
            await upstream.aclose()
            assert await anext(reply.chunks()) == b"half"
            with pytest.raises(UpstreamFailed) as broken:
                await anext(reply.chunks())
            with pytest.raises(UpstreamFailed) as unanswered:
                await waiting
            await wire.wait_closed_by_peer()
            assert broken.value.failure is Failure.BROKEN_OFF
            assert (unanswered.value.failure, unanswered.value.sent) == (Failure.UNREACHABLE, True)

    async def test_a_closed_reply_reads_nothing_of_the_next_one(self) -> None:
        async with pair(size=1) as (upstream, server):
            opening = begin(upstream)
            wire, _ = await server.request()
            await wire.write(EMPTY)
            closed = await opening
            await closed.aclose()
            opening = begin(upstream)
            await wire.read_request()
            await wire.write(HEAD, b"Content-Length: 5\r\n\r\nother")
            reply = await opening
            with pytest.raises(UpstreamFailed):
                await anext(closed.chunks())
            assert await body_of(reply) == b"other"
            with pytest.raises(StopAsyncIteration):
                await anext(reply.chunks())

    async def test_no_slot_is_lost_to_a_thousand_cancellations(
        self, rounds: int, figure: Callable[[str, int], None]
    ) -> None:
        """Over real sockets: while queueing, connecting, waiting for the head, reading the body."""
        chance = random.Random(SEED)
        size = 3
        async with pair(size=size) as (upstream, server), answering(server):

            async def call() -> None:
                reply = await upstream.open(asking())
                try:
                    assert await body_of(reply) == b"{}"
                finally:
                    await reply.aclose()

            cancelled = completed = 0
            for _ in range(rounds):
                calls = [asyncio.get_running_loop().create_task(call()) for _ in range(20)]
                for victim in chance.sample(calls, 14):
                    for _ in range(chance.randrange(5)):
                        await asyncio.sleep(0)
                    victim.cancel()
                outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), PATIENCE_S)
                completed += outcomes.count(None)
                cancelled += sum(isinstance(one, asyncio.CancelledError) for one in outcomes)
            assert cancelled + completed == rounds * 20, "nothing but these two"
            assert cancelled >= rounds * 10
            figure("calls cancelled on a pool of three real connections", cancelled)
            pool = upstream._pool
            assert pool._free + len(pool._idle) == size
            await asyncio.wait_for(asyncio.gather(*(call() for _ in range(size * 3))), PATIENCE_S)


@asynccontextmanager
async def answering(server: RawUpstream) -> AsyncIterator[None]:
    """Every request on every connection is answered in two steps."""

    async def serve() -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(answer(await server.arrivals.get()))

    async def answer(wire: Wire) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while True:
                await wire.read_request()
                await wire.write(HEAD, b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
                await asyncio.sleep(0)
                await wire.write(b"0\r\n\r\n")

    serving = asyncio.get_running_loop().create_task(serve())
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


ANSWERS = [
    HEAD + b"Content-Length: 12\r\n\r\nhello, world",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Connection: close\r\n\r\nhello, world",
    b"HTTP/1.1 204 No Content\r\n\r\n",
]


def mangled(chance: random.Random) -> bytes:
    """An answer with some bytes wrong, missing, doubled or added."""
    raw = bytearray(chance.choice(ANSWERS))
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(raw))
        match chance.randrange(4):
            case 0:
                raw[at] = chance.randrange(256)
            case 1:
                del raw[at : at + chance.randrange(10)]
            case 2:
                raw[at:at] = raw[: chance.randrange(40)]
            case _:
                raw[at:at] = chance.choice([b"\r\n", b"\n", b"\0", b"0\r\n\r\n", b": ", b"ff"])
        raw = raw or bytearray(b"x")
    return bytes(raw)


async def test_whatever_the_server_says_is_an_answer_or_a_failure(
    rounds: int, figure: Callable[[str, int], None]
) -> None:
    """Cut, mangled, doubled; closed or reset afterwards. Nothing hangs, and nothing else is raised."""
    chance = random.Random(SEED)
    failures = []
    async with pair(size=2) as (upstream, server):
        for _ in range(rounds * 5):
            opening = begin(upstream)
            wire, _ = await server.request()
            await wire.write(mangled(chance))
            if chance.random() < 0.5:
                wire.reset()
            else:
                await wire.close()
            try:
                await asyncio.wait_for(body_of(await asyncio.wait_for(opening, PATIENCE_S)), PATIENCE_S)
            except UpstreamFailed as failed:
                failures.append((failed.failure, failed.sent))
            for connection in list(upstream._pool._open):
                connection.abort()
        figure("mangled answers survived by the transport", rounds * 5)
        assert set(failures) <= {(Failure.UNREACHABLE, True), (Failure.BROKEN_OFF, True)}
        assert failures
        await exchange(upstream, server)


class TestTls:
    @pytest.fixture
    def server_tls(self, tmp_path: Path) -> ssl.SSLContext:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        return context

    async def test_megabytes_go_both_ways_and_the_connection_is_used_again(
        self, server_tls: ssl.SSLContext, tmp_path: Path
    ) -> None:
        body = bytes(range(256)) * (1 << 14)
        async with raw_upstream(server_tls) as server:
            upstream = fast(server.base_url, ca_file=tmp_path / "ca.pem")
            wire: Wire | None = None
            for _ in range(2):
                opening = begin(upstream, asking(body=(body,)))
                wire = wire or await server.accept()
                assert (await wire.read_request()).body == body
                writing = asyncio.get_running_loop().create_task(
                    wire.write(HEAD, b"Content-Length: %d\r\n\r\n" % len(body), body)
                )
                assert await body_of(await opening) == body
                await writing
            assert server.connections == 1
            await upstream.aclose()

    async def test_a_certificate_for_another_name_is_not_taken(
        self, server_tls: ssl.SSLContext, tmp_path: Path
    ) -> None:
        async with raw_upstream(server_tls) as server:
            upstream = fast(f"https://127.0.0.1:{server.port}", ca_file=tmp_path / "ca.pem")
            with pytest.raises(UpstreamFailed) as caught:
                await upstream.open(asking())
            assert (caught.value.phase, caught.value.sent) == ("connect", False)
            await upstream.aclose()

    async def test_a_server_that_never_shakes_hands_is_given_up(self) -> None:
        async with raw_upstream() as server:
            upstream = FastUpstream(
                f"https://localhost:{server.port}",
                {"default": Account("sk-up")},
                timeouts=Timeouts(connect_s=0.05, read_s=PATIENCE_S),
                max_connections=1,
            )
            with pytest.raises(UpstreamFailed) as caught:
                await upstream.open(asking())
            error = caught.value
            assert (error.failure, error.phase, error.sent) == (Failure.TIMED_OUT, "connect", False)
            await (await server.accept()).wait_closed_by_peer()
            await upstream.aclose()
