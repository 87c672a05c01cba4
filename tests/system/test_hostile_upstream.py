"""
What an upstream may do to us, and what the client sees of it.

The upstream here is scripted byte by byte, the gateway a real process. Each case says what the client gets, byte for
byte, and what the log line of the request says; after each the gateway serves on, and in the end it holds no file
that it did not hold before.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.flow.relay import HELD_BYTES
from tests.support.answers import Answer, read_answer
from tests.support.process import KEY, Running, gateway_process
from tests.support.raw import RawUpstream, Wire, raw_client, raw_upstream, request_bytes
from tests.support.waiting import until, write_for_ever

pytestmark = [pytest.mark.system, pytest.mark.asyncio(loop_scope="module")]

READ_TIMEOUT_S = 1
ASK = request_bytes("POST", "/v1/images/generations", b'{"prompt":"x","stream":true}', key=KEY)
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
PARTIAL = b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image"}\n\n'
DONE = b'event: image_generation.completed\ndata: {"type":"image_generation.completed"}\n\n'
ERROR = b'event: error\ndata: {"type":"error","error":{"message":"no"}}\n\n'
ALIVE = b': waiting\n\nevent: keepalive\ndata: {"type":"keepalive"}\n\n'
LAST = b"0\r\n\r\n"


@dataclass
class Stage:
    """The gateway's process and the upstream behind it."""

    gateway: Running
    upstream: RawUpstream
    transport: str

    def records(self) -> list[dict[str, Any]]:
        """The log lines of the requests that are over."""
        return self.gateway.logged("imagegate.request")

    async def record(self, before: int) -> dict[str, Any]:
        """The next log line after the first `before`."""
        await until(lambda: len(self.records()) > before, every_s=0.005)
        return self.records()[before]

    def files(self) -> int:
        """How many files the gateway's process holds open, but for its stores', which it opens when it needs them."""
        found = 0
        for one in Path(f"/proc/{self.gateway.process.pid}/fd").iterdir():
            with suppress(OSError):  # It was closed meanwhile.
                found += "/data/" not in str(one.readlink())
        return found

    async def check_healthy(self) -> None:
        """A good request is answered; returns when it has its record too."""
        before = len(self.records())
        async with raw_client(self.gateway.port) as client:
            await client.write(request_bytes("GET", "/v1/models", key=KEY))
            wire, _ = await self.upstream.request()
            await wire.write(JSON, b"Content-Length: 2\r\n\r\n{}")
            assert (await read_answer(client)).body == b"{}"
            await wire.close()
        await self.record(before)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["fast", "httpx2"])
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stage]:
    limits = f'read_timeout_s = {READ_TIMEOUT_S}\ntransport = "{request.param}"\non_disconnect = "cancel"'
    async with raw_upstream() as upstream:
        with gateway_process(
            upstream.base_url, tmp_path_factory.mktemp("hostile"), upstream=limits
        ) as gateway:
            stage = Stage(gateway, upstream, request.param)
            await stage.check_healthy()
            before = stage.files()
            yield stage
            await until(lambda: stage.files() <= before, every_s=0.01)


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@dataclass(frozen=True)
class Seen:
    """What the client gets, and what the log says of it."""

    status: int
    body: bytes | None
    """None: an error of ours."""
    whole: bool
    outcome: str
    code: str | None = None


def refused(status: int, code: str) -> Seen:
    return Seen(status, None, whole=True, outcome="failed", code=code)


def cut(body: bytes, code: str = "upstream_unreachable") -> Seen:
    return Seen(200, body, whole=False, outcome="upstream_cut", code=code)


def told(error: Seen) -> Seen:
    """A plain answer that broke off: its head was held for what it cost, so that there can be an error of ours."""
    return replace(error, outcome="upstream_cut")


def whole(body: bytes, outcome: str = "completed") -> Seen:
    return Seen(200, body, whole=True, outcome=outcome)


def either(*, fast: Seen, httpx2: Seen) -> dict[str, Seen]:
    """Where the transports differ: ours is the stricter one."""
    return {"fast": fast, "httpx2": httpx2}


UNREACHABLE = refused(502, "upstream_unreachable")
TIMEOUT = refused(504, "upstream_timeout")
LONG = b"x" * HELD_BYTES
MANY = b"".join(b"X-%d: y\r\n" % n for n in range(10_000))
LONG_LINE = (
    b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"'
    + b"A" * 30_000_000
    + b'"}\n\n'
)

CASES = [
    pytest.param(b"", "close", UNREACHABLE, id="closes before the head"),
    pytest.param(b"", "reset", UNREACHABLE, id="resets before the head"),
    pytest.param(JSON, "close", UNREACHABLE, id="closes within the head"),
    pytest.param(JSON[:5], "reset", UNREACHABLE, id="resets within the head"),
    pytest.param(b"", "hold", TIMEOUT, id="says nothing"),
    pytest.param(JSON, "hold", TIMEOUT, id="stops within the head"),
    pytest.param(
        JSON + b"Content-Length: 9\r\n\r\n", "close", told(UNREACHABLE), id="closes before the body"
    ),
    pytest.param(
        JSON + b"Content-Length: 9\r\n\r\nhalf", "close", told(UNREACHABLE), id="closes within a body"
    ),
    pytest.param(JSON + b"Content-Length: 9\r\n\r\nhalf", "hold", told(TIMEOUT), id="stops within a body"),
    pytest.param(
        JSON + b"Content-Length: 99999999\r\n\r\n" + LONG, "close", cut(LONG), id="closes within a long body"
    ),
    pytest.param(
        JSON + b"Content-Length: 99999999\r\n\r\n" + LONG[1:],
        "close",
        told(UNREACHABLE),
        id="closes a byte before it is long",
    ),
    pytest.param(STREAM, "close", cut(b""), id="closes before the first event"),
    pytest.param(STREAM + chunk(PARTIAL), "close", cut(PARTIAL), id="closes between events"),
    pytest.param(
        STREAM + chunk(PARTIAL), "hold", cut(PARTIAL, "upstream_timeout"), id="stops between events"
    ),
    pytest.param(STREAM + chunk(PARTIAL)[:20], "close", cut(PARTIAL[:16]), id="closes within an event"),
    pytest.param(
        STREAM + chunk(DONE), "close", cut(DONE), id="closes after the last byte, before the last chunk"
    ),
    pytest.param(STREAM + chunk(DONE) + b"0\r\n", "close", cut(DONE), id="closes within the last chunk"),
    pytest.param(STREAM + chunk(PARTIAL) + b"zz\r\n", "hold", cut(PARTIAL), id="breaks the framing"),
    pytest.param(
        STREAM + chunk(PARTIAL) + b"1\r\nxy\r\n",
        "hold",
        cut(PARTIAL + b"x"),
        id="breaks the framing of a chunk",
    ),
    pytest.param(STREAM + chunk(PARTIAL + DONE) + LAST, "close", whole(PARTIAL + DONE), id="ends well"),
    pytest.param(
        STREAM + chunk(PARTIAL) + LAST,
        "close",
        whole(PARTIAL, "incomplete"),
        id="ends without the last event",
    ),
    pytest.param(STREAM + LAST, "close", whole(b"", "incomplete"), id="ends without any event"),
    pytest.param(
        STREAM + chunk(PARTIAL + ERROR) + LAST, "close", whole(PARTIAL + ERROR, "failed"), id="an error event"
    ),
    pytest.param(
        STREAM + chunk(ALIVE) + chunk(DONE) + LAST,
        "close",
        whole(ALIVE + DONE),
        id="comments and keep-alives",
    ),
    pytest.param(STREAM + chunk(LONG_LINE) + LAST, "close", whole(LONG_LINE), id="30 MB on one line"),
    pytest.param(
        STREAM.replace(b"Transfer-Encoding: chunked\r\n", b"") + DONE,
        "close",
        whole(DONE),
        id="ends with its connection",
    ),
    pytest.param(b"\x16\x03\x01 what is this\r\n\r\n", "hold", UNREACHABLE, id="garbage"),
    pytest.param(b"+PONG\r\n", "hold", either(fast=UNREACHABLE, httpx2=TIMEOUT), id="another protocol"),
    pytest.param(
        b"HTTP/2.0 200 OK\r\n\r\n",
        "hold",
        either(fast=UNREACHABLE, httpx2=told(TIMEOUT)),
        id="another version",
    ),
    pytest.param(
        JSON.replace(b"200 OK", b"999 Odd") + b"Content-Length: 2\r\n\r\n{}",
        "hold",
        Seen(999, b"{}", whole=True, outcome="failed"),
        id="999",
    ),
    pytest.param(b"HTTP/1.1 2000 Odd\r\nContent-Length: 2\r\n\r\n{}", "hold", UNREACHABLE, id="2000"),
    pytest.param(b"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n", "hold", UNREACHABLE, id="101"),
    pytest.param(
        JSON + b"X-Ctl: a\x01b\r\nContent-Length: 2\r\n\r\n{}",
        "hold",
        either(fast=UNREACHABLE, httpx2=whole(b"{}")),
        id="a control character",
    ),
    pytest.param(
        JSON + b"X(Y): a\r\nContent-Length: 2\r\n\r\n{}", "hold", UNREACHABLE, id="a name that is none"
    ),
    pytest.param(JSON + b"X-Big: " + b"x" * 1_000_000, "hold", UNREACHABLE, id="a header of 1 MB"),
    pytest.param(
        JSON + MANY + b"\r\n", "hold", either(fast=UNREACHABLE, httpx2=told(TIMEOUT)), id="10 000 fields"
    ),
    pytest.param(
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 5000 + JSON + b"Content-Length: 2\r\n\r\n{}",
        "hold",
        either(fast=UNREACHABLE, httpx2=whole(b"{}")),
        id="5 000 interim answers",
    ),
    pytest.param(
        JSON + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "hold", UNREACHABLE, id="two lengths"
    ),
    pytest.param(JSON + b"Content-Length: -2\r\n\r\n{}", "hold", UNREACHABLE, id="a negative length"),
    pytest.param(
        JSON + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "hold",
        UNREACHABLE,
        id="a length and chunks",
    ),
    pytest.param(
        JSON + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "hold",
        UNREACHABLE,
        id="a length and more in chunks",
    ),
    pytest.param(
        JSON + b"Transfer-Encoding: gzip\r\n\r\n{}", "hold", UNREACHABLE, id="an unknown transfer coding"
    ),
    pytest.param(
        JSON + b"Content-Length: 2\r\n\r\n{} and more", "hold", whole(b"{}"), id="longer than its length"
    ),
]


@pytest.mark.parametrize(("sent", "ending", "seen"), CASES)
async def test_the_client_sees_what_there_was_and_never_a_false_end(
    stage: Stage, sent: bytes, ending: str, seen: Seen | dict[str, Seen]
) -> None:
    expected = seen[stage.transport] if isinstance(seen, dict) else seen
    before = len(stage.records())
    async with raw_client(stage.gateway.port) as client:
        await client.write(ASK)
        wire, _ = await stage.upstream.request()
        wire.writer.write(sent)
        await end(wire, ending)
        answer = await read_answer(client)
        record = await stage.record(before)
        check(answer, expected)
        assert (record["outcome"], record.get("code")) == (expected.outcome, expected.code)
        assert record["status"] == expected.status
        if not answer.whole:
            assert await client.read_all() == b""
        await wire.wait_closed_by_peer()
    await stage.check_healthy()


async def end(wire: Wire, ending: str) -> None:
    if ending == "close":
        transport = wire.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(0)
        await wire.writer.drain()
        await wire.close()
    elif ending == "reset":
        wire.reset()


def check(answer: Answer, seen: Seen) -> None:
    assert (answer.status, answer.whole) == (seen.status, seen.whole)
    if seen.body is None:
        assert answer.code == seen.code
        assert answer.header("x-should-retry") == "false", "the request had been sent"
    else:
        assert answer.body == seen.body


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 99999999999\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
@pytest.mark.parametrize("held", [True, False], ids=["while its head is held", "after its head"])
async def test_an_endless_answer_ends_when_the_client_leaves(
    stage: Stage, framing: bytes, held: bool
) -> None:
    before = len(stage.records())
    piece = bytes(1 << 16) if framing.startswith(b"C") else chunk(bytes(1 << 16))
    async with raw_client(stage.gateway.port) as client:
        await client.write(ASK)
        wire, _ = await stage.upstream.request()
        await wire.write(JSON, framing, piece)
        if not held:
            await wire.write(piece * (HELD_BYTES >> 16))
            await client.read(1 << 16)
        client.reset()
        with pytest.raises(ConnectionError):
            await write_for_ever(wire, piece)
    assert (await stage.record(before))["outcome"] == "client_gone"
    await stage.check_healthy()


async def test_a_silent_upstream_is_left_when_the_client_leaves(stage: Stage) -> None:
    before = len(stage.records())
    async with raw_client(stage.gateway.port) as client:
        await client.write(ASK)
        wire, _ = await stage.upstream.request()
        client.reset()
        await wire.wait_closed_by_peer()
    assert (await stage.record(before))["outcome"] == "client_gone"
    await stage.check_healthy()
