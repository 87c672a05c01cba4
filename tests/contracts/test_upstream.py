"""
What the `Upstream` port promises, over every transport there is.

A new transport joins by a line in `TRANSPORTS`; not a test changes.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.transport import FastUpstream
from gateway.adapters.upstream import Httpx2Upstream
from gateway.core.credentials import Account
from gateway.core.errors import Failure, UpstreamFailed
from gateway.ports import Timeouts, Upstream, UpstreamReply, UpstreamRequest
from tests.support.chunking import cuts, split
from tests.support.raw import PATIENCE_S, RawUpstream, raw_upstream
from tests.support.scripted import Held

PATIENT = Timeouts(connect_s=PATIENCE_S, read_s=PATIENCE_S)
ACCOUNTS = {"default": Account("sk-up"), "second": Account("sk-two", "org-2", "proj_2")}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Options:
    """What a test wants of its transport."""

    timeouts: Timeouts = PATIENT
    max_connections: int = 100
    proxy: str | None = None
    ca_file: Path | None = None


Make = Callable[[str, Options], Upstream]


def httpx2(base_url: str, options: Options) -> Upstream:
    return Httpx2Upstream(
        base_url,
        ACCOUNTS,
        timeouts=options.timeouts,
        max_connections=options.max_connections,
        proxy=options.proxy,
        ca_file=options.ca_file,
    )


def fast(base_url: str, options: Options) -> Upstream:
    return FastUpstream(
        base_url,
        ACCOUNTS,
        timeouts=options.timeouts,
        max_connections=options.max_connections,
        ca_file=options.ca_file,
    )


TRANSPORTS: dict[str, Make] = {"httpx2": httpx2, "fast": fast}
PROXYING = {"httpx2": httpx2}
"""Those that know egress proxies."""


@pytest.fixture(params=list(TRANSPORTS.values()), ids=list(TRANSPORTS))
def make(request: pytest.FixtureRequest) -> Make:
    transport: Make = request.param
    return transport


@asynccontextmanager
async def pair(make: Make, options: Options = Options()) -> AsyncIterator[tuple[Upstream, RawUpstream]]:
    """A transport and the server it talks to."""
    async with raw_upstream() as server:
        upstream = make(server.base_url, options)
        try:
            yield upstream, server
        finally:
            await upstream.aclose()


def asking(
    path: str = "/images/generations",
    *,
    method: str = "POST",
    query: bytes = b"",
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),),
    body: tuple[bytes, ...] | None = (b"{}",),
    credential: str = "default",
) -> UpstreamRequest:
    return UpstreamRequest(method, path, query, headers, None if body is None else Held(body), credential)


async def body_of(reply: UpstreamReply) -> bytes:
    return b"".join([chunk async for chunk in reply.chunks()])


def begin(call: Coroutine[object, object, UpstreamReply]) -> asyncio.Task[UpstreamReply]:
    """Make the call while the test plays the server; each test awaits it."""
    return asyncio.get_running_loop().create_task(call)


class TestGoingUp:
    async def test_a_request_goes_up_as_it_was_handed_over(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            request = asking(
                "/responses/resp_1/cancel",
                query=b"a=b%20c&include[]=x&beta=true",
                headers=((b"content-type", b"application/json"), (b"x-stainless-lang", b"python")),
                body=(b'{"pro', b'mpt": "\xc3\xa4"}'),
            )
            opening = begin(upstream.open(request))
            wire, seen = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            assert (await opening).status == 200
            assert (seen.method, seen.target) == (
                "POST",
                "/v1/responses/resp_1/cancel?a=b%20c&include[]=x&beta=true",
            )
            assert seen.body == '{"prompt": "ä"}'.encode()
            assert {name.lower(): value for name, value in seen.headers} == {
                "host": f"localhost:{server.port}",
                "content-type": "application/json",
                "x-stainless-lang": "python",
                "accept-encoding": "identity",
                "authorization": "Bearer sk-up",
                "content-length": str(len(seen.body)),
            }

    async def test_each_credential_says_who_it_is(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking(credential="second")))
            wire, seen = await server.request()
            await wire.write(HEAD, b"Content-Length: 0\r\n\r\n")
            await opening
            assert seen.header("authorization") == "Bearer sk-two"
            assert seen.header("openai-organization") == "org-2"
            assert seen.header("openai-project") == "proj_2"

    async def test_as_nobody_it_knows_it_asks_nothing(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            with pytest.raises(LookupError):
                await upstream.open(asking(credential="third"))
            assert server.connections == 0

    async def test_no_body_is_not_an_empty_body(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            for method, body, length in (("GET", None, None), ("POST", (), "0")):
                opening = begin(upstream.open(asking("/models", method=method, headers=(), body=body)))
                wire, seen = await server.request()
                await wire.write(HEAD, b"Content-Length: 0\r\nConnection: close\r\n\r\n")
                await body_of(await opening)
                assert seen.header("content-length") == length
                assert seen.header("transfer-encoding") is None

    async def test_a_body_of_megabytes_arrives_whole(self, make: Make) -> None:
        pieces = tuple(bytes([n]) * 65_536 for n in range(256))
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking(body=pieces)))
            wire, seen = await server.request()
            await wire.write(HEAD, b"Content-Length: 0\r\n\r\n")
            await opening
            assert seen.body == b"".join(pieces)

    async def test_an_answer_that_comes_before_the_body_is_up_is_an_answer(self, make: Make) -> None:
        """OpenAI refuses a large upload by its head."""
        async with pair(make) as (upstream, server):
            body = (b"x" * (1 << 20),) * 64
            opening = begin(upstream.open(asking(body=body)))
            wire = await server.accept()
            await wire.read_until(b"\r\n\r\n")
            await wire.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            # The server keeps its side open: a close with unread bytes would be a reset that outruns the answer.
            assert (await opening).status == 413


class TestComingDown:
    @pytest.mark.parametrize(
        "wire_bytes",
        [
            pytest.param([HEAD, b"Content-Length: 5\r\n\r\n", b"he", b"llo"], id="length"),
            pytest.param(
                [HEAD, b"Transfer-Encoding: chunked\r\n\r\n", b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n"],
                id="chunked",
            ),
            pytest.param([HEAD, b"Connection: close\r\n\r\n", b"he", b"llo"], id="end of connection"),
            pytest.param(
                [b"HTTP/1.1 100 Continue\r\n\r\n", HEAD, b"Content-Length: 5\r\n\r\nhello"], id="100 first"
            ),
            pytest.param(
                [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", HEAD, b"Content-Length: 5\r\n\r\nhello"],
                id="103 first",
            ),
        ],
    )
    async def test_a_body_ends_where_its_framing_says(self, make: Make, wire_bytes: Sequence[bytes]) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            for piece in wire_bytes:
                await wire.write(piece)
            if any(b"Connection: close" in piece for piece in wire_bytes):
                await wire.close()
            reply = await opening
            assert (reply.status, await body_of(reply)) == (200, b"hello")

    async def test_headers_come_in_order_in_lower_case_and_as_often_as_sent(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(b"HTTP/1.1 200 OK\r\nX-B: 1\r\nX-A: \xe4\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n")
            reply = await opening
            assert [(bytes(name), bytes(value)) for name, value in reply.headers] == [
                (b"x-b", b"1"),
                (b"x-a", b"\xe4"),
                (b"x-b", b"2"),
                (b"content-length", b"0"),
            ]

    @pytest.mark.parametrize("status", [204, 301, 302, 400, 401, 404, 429, 500, 503])
    async def test_every_status_is_an_answer(self, make: Make, status: int) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            length = b"" if status == 204 else b"Content-Length: 2\r\n"
            body = b"" if status == 204 else b"{}"
            location = b"Location: http://localhost:1/elsewhere\r\n"
            await wire.write(f"HTTP/1.1 {status} X\r\n".encode(), length, location, b"\r\n", body)
            reply = await opening
            assert (reply.status, await body_of(reply)) == (status, body)
            assert server.connections == 1

    async def test_compressed_bytes_stay_compressed(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")
            assert await body_of(await opening) == b"nope"

    async def test_cookies_are_not_kept(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            for _ in range(2):
                opening = begin(upstream.open(asking()))
                wire, seen = await server.request()
                await wire.write(
                    HEAD, b"Set-Cookie: __cf_bm=1; path=/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                )
                await body_of(await opening)
                assert seen.header("cookie") is None

    async def test_a_chunk_is_here_before_the_next_is_sent(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Transfer-Encoding: chunked\r\n\r\n")
            reply = await asyncio.wait_for(opening, PATIENCE_S)
            chunks = reply.chunks()
            for text in (b"one", b"two", b"three"):
                await wire.write(f"{len(text):x}\r\n".encode(), text, b"\r\n")
                assert await asyncio.wait_for(anext(chunks), PATIENCE_S) == text
            await wire.write(b"0\r\n\r\n")
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(anext(chunks), PATIENCE_S)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_any_chunking_gives_the_same_bytes(self, make: Make, data: st.DataObject) -> None:
        body = data.draw(st.binary(max_size=3000))
        chunks = split(body, data.draw(cuts(len(body))))
        frames = b"".join(f"{len(one):x}\r\n".encode() + one + b"\r\n" for one in chunks) + b"0\r\n\r\n"
        wire_pieces = split(frames, data.draw(cuts(len(frames))))

        async def run() -> bytes:
            async with pair(make) as (upstream, server):
                opening = begin(upstream.open(asking()))
                wire, _ = await server.request()
                await wire.write(HEAD, b"Transfer-Encoding: chunked\r\n\r\n")
                for piece in wire_pieces:
                    await wire.write(piece)
                return await body_of(await opening)

        assert asyncio.run(run()) == body

    async def test_back_pressure_reaches_the_upstream(self, make: Make) -> None:
        """A reader that takes nothing lets no more than the sockets' buffers through."""
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            size = 512 << 20
            await wire.write(HEAD, f"Content-Length: {size}\r\n\r\n".encode())
            reply = await opening
            assert await wire.write_until_blocked(size) < size / 4
            await reply.aclose()


class TestConnections:
    async def test_a_connection_read_to_its_end_is_used_again(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            first = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            reply = await first
            await body_of(reply)
            await reply.aclose()
            second = begin(upstream.open(asking()))
            await wire.read_request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            assert await body_of(await second) == b"{}"
            assert server.connections == 1

    async def test_closing_an_unread_reply_closes_its_connection(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
            reply = await opening
            assert await anext(reply.chunks()) == b"one"
            await reply.aclose()
            await reply.aclose()
            await wire.wait_closed_by_peer()

    async def test_so_does_closing_one_that_has_arrived_and_was_not_read(self, make: Make) -> None:
        """Whether a body is here already is chance: what happens to its connection is not."""
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            await (await opening).aclose()
            await wire.wait_closed_by_peer()

    async def test_cancelling_while_waiting_for_the_head_closes_the_connection(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await wire.wait_closed_by_peer()

    async def test_cancelling_a_read_closes_the_connection(self, make: Make) -> None:
        async with pair(make, Options(max_connections=1)) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 9\r\n\r\nhalf")
            reply = await opening
            reading = asyncio.get_running_loop().create_task(body_of(reply))
            for _ in range(10):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await reply.aclose()
            await wire.wait_closed_by_peer()
            healthy = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            assert await body_of(await healthy) == b"{}"

    @pytest.mark.parametrize(
        "answer",
        [
            HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}",
            b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        ],
        ids=["close", "1.0"],
    )
    async def test_a_connection_that_cannot_go_on_is_closed(self, make: Make, answer: bytes) -> None:
        async with pair(make, Options(max_connections=1)) as (upstream, server):
            for _ in range(2):
                opening = begin(upstream.open(asking()))
                wire, _ = await server.request()
                await wire.write(answer)
                reply = await opening
                assert await body_of(reply) == b"{}"
                await reply.aclose()
                await wire.wait_closed_by_peer()

    async def test_a_pool_of_one_survives_any_number_of_cancellations(
        self, make: Make, rounds: int, figure: Callable[[str, int], None]
    ) -> None:
        """encode/httpcore#1093: slots lost for good when requests are cancelled while they queue."""
        async with pair(make, Options(max_connections=1)) as (upstream, server):
            for _ in range(rounds):
                calls = [begin(upstream.open(asking())) for _ in range(3)]
                wire, _ = await server.request()
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
                await wire.wait_closed_by_peer()
            figure("requests cancelled in a pool of one connection", rounds * 3)
            healthy = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            assert (await asyncio.wait_for(healthy, PATIENCE_S)).status == 200

    async def test_a_stale_connection_is_not_used(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            first = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            reply = await first
            await body_of(reply)
            await reply.aclose()
            await wire.close()
            second = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            assert (await second).status == 200
            assert server.connections == 2

    async def test_many_at_once_share_nothing(self, make: Make) -> None:
        async with pair(make) as (upstream, server):
            calls = [begin(upstream.open(asking(body=(str(n).encode(),)))) for n in range(50)]
            for _ in calls:
                wire, seen = await server.request()
                await wire.write(HEAD, f"Content-Length: {len(seen.body)}\r\n\r\n".encode(), seen.body)
            replies = await asyncio.gather(*calls)
            assert [await body_of(reply) for reply in replies] == [str(n).encode() for n in range(50)]


class TestFailing:
    async def test_nobody_listens(self, make: Make) -> None:
        async with raw_upstream() as server:
            port = server.port
        upstream = make(f"http://127.0.0.1:{port}/v1", Options())
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.open(asking())
        await upstream.aclose()
        assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, False)

    async def test_the_name_does_not_resolve(self, make: Make) -> None:
        upstream = make("http://upstream.invalid/v1", Options())
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.open(asking())
        await upstream.aclose()
        assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, False)

    async def test_the_pool_is_full(self, make: Make) -> None:
        timeouts = Timeouts(connect_s=PATIENCE_S, read_s=PATIENCE_S, pool_s=0.05)
        async with pair(make, Options(max_connections=1, timeouts=timeouts)) as (upstream, server):
            first = begin(upstream.open(asking()))
            await server.request()
            with pytest.raises(UpstreamFailed) as caught:
                await upstream.open(asking())
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert (caught.value.failure, caught.value.sent) == (Failure.SATURATED, False)

    @pytest.mark.parametrize("cut", ["close", "reset"])
    async def test_the_connection_ends_before_the_head(self, make: Make, cut: str) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            if cut == "close":
                await wire.close()
            else:
                wire.reset()
            with pytest.raises(UpstreamFailed) as caught:
                await opening
            assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, True)
            assert server.connections == 1, "nothing is retried below the port"

    async def test_the_head_does_not_come_in_time(self, make: Make) -> None:
        timeouts = Timeouts(connect_s=PATIENCE_S, read_s=0.05)
        async with pair(make, Options(timeouts=timeouts)) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            with pytest.raises(UpstreamFailed) as caught:
                await opening
            assert (caught.value.failure, caught.value.phase, caught.value.sent) == (
                Failure.TIMED_OUT,
                "read",
                True,
            )
            await wire.wait_closed_by_peer()

    @pytest.mark.parametrize(
        "garbage",
        [
            b"hello\r\n\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"\x00\x01\x02\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        ],
        ids=["words", "status", "binary", "header"],
    )
    async def test_garbage_is_no_answer(self, make: Make, garbage: bytes) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(garbage)
            with pytest.raises(UpstreamFailed) as caught:
                await opening
            assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, True)

    @pytest.mark.parametrize(
        ("framing", "piece"),
        [
            (b"Content-Length: 100\r\n\r\n", b"half"),
            (b"Transfer-Encoding: chunked\r\n\r\n", b"4\r\nhalf\r\n"),
        ],
        ids=["length", "chunked"],
    )
    @pytest.mark.parametrize("cut", ["close", "reset"])
    async def test_a_body_that_breaks_off_is_told_apart_from_its_end(
        self, make: Make, framing: bytes, piece: bytes, cut: str
    ) -> None:
        async with pair(make) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, framing, piece)
            chunks = (await opening).chunks()
            assert await anext(chunks) == b"half"
            if cut == "close":
                await wire.close()
            else:
                wire.reset()
            with pytest.raises(UpstreamFailed) as caught:
                await anext(chunks)
            assert (caught.value.failure, caught.value.sent) == (Failure.BROKEN_OFF, True)

    async def test_a_silent_body_times_out(self, make: Make) -> None:
        timeouts = Timeouts(connect_s=PATIENCE_S, read_s=0.05)
        async with pair(make, Options(timeouts=timeouts)) as (upstream, server):
            opening = begin(upstream.open(asking()))
            wire, _ = await server.request()
            await wire.write(HEAD, b"Content-Length: 100\r\n\r\n")
            reply = await opening
            with pytest.raises(UpstreamFailed) as caught:
                await body_of(reply)
            assert (caught.value.failure, caught.value.sent) == (Failure.TIMED_OUT, True)


async def test_an_answer_of_two_framings_is_none(make: Make) -> None:
    async with pair(make) as (upstream, server):
        opening = begin(upstream.open(asking()))
        wire, _ = await server.request()
        await wire.write(HEAD, b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n")
        with pytest.raises(UpstreamFailed) as caught:
            await opening
        assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, True)


class TestTrust:
    async def test_an_unknown_authority_is_not_trusted_unless_its_ca_file_is_named(
        self, make: Make, tmp_path: Path
    ) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        ca_file = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(ca_file)
        async with raw_upstream(context) as server:
            stranger = make(server.base_url, Options())
            with pytest.raises(UpstreamFailed) as caught:
                await stranger.open(asking())
            assert (caught.value.failure, caught.value.sent) == (Failure.UNREACHABLE, False)
            await stranger.aclose()

            trusting = make(server.base_url, Options(ca_file=ca_file))
            opening = begin(trusting.open(asking()))
            wire, seen = await server.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            assert await body_of(await opening) == b"{}"
            assert seen.target == "/v1/images/generations"
            await trusting.aclose()

    @pytest.mark.parametrize("make", PROXYING.values(), ids=PROXYING)
    async def test_an_egress_proxy_is_used_and_the_environment_is_not(
        self, make: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        async with raw_upstream() as proxy:
            upstream = make("http://api.example/v1", Options(proxy=f"http://127.0.0.1:{proxy.port}"))
            opening = begin(upstream.open(asking()))
            wire, seen = await proxy.request()
            await wire.write(HEAD, b"Content-Length: 2\r\n\r\n{}")
            assert (await opening).status == 200
            assert seen.target == "http://api.example/v1/images/generations"
            assert seen.header("host") == "api.example"
            await upstream.aclose()
