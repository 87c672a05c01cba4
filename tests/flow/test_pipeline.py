"""The order of things, with every port in the test's hands."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from gateway.adapters.keyfile import FileKeys
from gateway.core.credentials import Credential
from gateway.core.errors import Code, Failure, Refused, UpstreamFailed
from gateway.core.headers import Header
from gateway.core.principal import Allow, Principal, digest_of
from gateway.flow.exchange import Arrival
from gateway.flow.pipeline import Pipeline, Rules
from gateway.flow.tasks import ClientGoneError
from tests.support.clock import FakeClock
from tests.support.gateway import DEFAULT_MODELS, principal
from tests.support.scripted import Reply, Scripted

JSON: tuple[Header, ...] = ((b"authorization", b"Bearer sk-1"), (b"content-type", b"application/json"))


@dataclass
class Listener:
    """A client that writes down what happens to it."""

    pieces: list[bytes] = field(default_factory=lambda: [b"{}"])
    seen: list[object] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def body(self) -> AsyncIterator[bytes]:
        self.seen.append("body read")
        for piece in self.pieces:
            yield piece

    async def gone(self) -> None:
        await self.left.wait()

    async def start(self, status: int, headers: list[Header]) -> None:
        self.seen.append((status, dict(headers).get(b"content-type")))

    async def send(self, chunk: bytes) -> None:
        self.seen.append(chunk)

    async def end(self) -> None:
        self.seen.append("end")


def house(upstream: Scripted, who: Principal | None = None) -> Pipeline:
    return Pipeline(
        rules=Rules(
            max_body_bytes=1000,
            retries=1,
            sandbox=False,
            credentials=(Credential("only"),),
            default_models=DEFAULT_MODELS,
        ),
        clock=FakeClock(),
        keys=FileKeys({digest_of("sk-1"): who or principal()}),
        upstream=upstream,
    )


def arrival(
    path: str = "/v1/images/generations", *, method: str = "POST", headers: tuple[Header, ...] = JSON
) -> Arrival:
    return Arrival("igr_1", method, path, b"", headers, 0.0)


async def test_a_call_that_is_allowed_goes_up_and_its_answer_comes_down() -> None:
    upstream, client = Scripted([Reply(script=[b"one", b"two"])]), Listener([b'{"prompt":', b'"x"}'])
    await house(upstream).serve(arrival(), client)
    assert client.seen == ["body read", (200, b"application/json"), b"one", b"two", "end"]
    assert [(one.path, one.body, one.credential) for one in upstream.requests] == [
        ("/images/generations", (b'{"prompt":', b'"x"}'), "only")
    ]


@pytest.mark.parametrize(
    ("asked", "who", "code", "reads_body"),
    [
        pytest.param(arrival("/v1/nothing"), None, Code.UNKNOWN_URL, False, id="no route"),
        pytest.param(arrival(headers=()), None, Code.INVALID_API_KEY, False, id="no key"),
        pytest.param(arrival(), principal(expires_at=1), Code.INVALID_API_KEY, False, id="expired"),
        pytest.param(arrival(), principal(Allow(routes=())), Code.NOT_ALLOWED, False, id="route"),
        pytest.param(arrival(), principal(Allow(models=())), Code.NOT_ALLOWED, True, id="model"),
    ],
)
async def test_what_can_be_refused_early_is(
    asked: Arrival, who: Principal | None, code: Code, reads_body: bool
) -> None:
    upstream, client = Scripted([]), Listener()
    with pytest.raises(Refused) as caught:
        await house(upstream, who).serve(asked, client)
    assert caught.value.refusal.code is code
    assert client.seen == (["body read"] if reads_body else [])
    assert upstream.requests == []


async def test_a_failure_before_the_head_is_told_and_nothing_is_sent() -> None:
    client = Listener()
    upstream = Scripted([UpstreamFailed(Failure.UNREACHABLE, phase="read", sent=True)])
    with pytest.raises(UpstreamFailed):
        await house(upstream).serve(arrival(), client)
    assert client.seen == ["body read"]


async def test_a_break_in_the_middle_is_never_a_clean_end() -> None:
    client = Listener()
    broken = UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
    with pytest.raises(UpstreamFailed):
        await house(Scripted([Reply(script=[b"one", broken])])).serve(arrival(), client)
    assert client.seen[-1] == b"one"


@pytest.mark.parametrize("waiting_for", ["head", "chunk"])
async def test_a_client_that_leaves_ends_the_call(waiting_for: str) -> None:
    client, never = Listener(), asyncio.Event()
    reply = Reply(script=[b"one", never])
    upstream = Scripted([never, reply] if waiting_for == "head" else [reply])
    serving = asyncio.get_running_loop().create_task(house(upstream).serve(arrival(), client))
    for _ in range(20):
        await asyncio.sleep(0)
    client.left.set()
    with pytest.raises(ClientGoneError):
        await serving
    for _ in range(20):
        await asyncio.sleep(0)
    assert reply.closed == (0 if waiting_for == "head" else 1)
    assert "end" not in client.seen
