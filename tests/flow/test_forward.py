import pytest

from gateway.core.errors import Failure, UpstreamFailed
from gateway.flow.forward import forward
from gateway.ports import UpstreamRequest
from tests.support.scripted import Held, Reply, Scripted

REQUEST = UpstreamRequest("POST", "/images/generations", b"", (), Held((b"{}",)), "a")


def failed(*, sent: bool) -> UpstreamFailed:
    return UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=sent)


async def test_an_answer_is_handed_on_unread() -> None:
    reply = Reply(script=[b"x"])
    assert await forward(Scripted([reply]), REQUEST, (), retries=1) is reply
    assert (reply.read, reply.closed) == (0, 0)


async def test_a_request_of_which_nothing_was_sent_is_tried_again() -> None:
    upstream = Scripted([failed(sent=False), Reply()])
    assert (await forward(upstream, REQUEST, (), retries=1)).status == 200
    assert upstream.requests == [REQUEST, REQUEST]


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_there_are_as_many_attempts_as_allowed(retries: int) -> None:
    upstream = Scripted([failed(sent=False)] * 10)
    with pytest.raises(UpstreamFailed):
        await forward(upstream, REQUEST, ("b",), retries=retries)
    assert len(upstream.requests) == 1 + retries


async def test_a_request_that_may_have_been_carried_out_is_never_tried_again() -> None:
    upstream = Scripted([failed(sent=True), Reply()])
    with pytest.raises(UpstreamFailed):
        await forward(upstream, REQUEST, ("b",), retries=5)
    assert len(upstream.requests) == 1


async def test_after_a_429_another_credential_takes_over() -> None:
    refused = Reply(status=429)
    upstream = Scripted([refused, Reply()])
    assert (await forward(upstream, REQUEST, ("b", "c"), retries=1)).status == 200
    assert [request.credential for request in upstream.requests] == ["a", "b"]
    assert refused.closed == 1


async def test_without_another_credential_a_429_is_the_answer() -> None:
    assert (await forward(Scripted([Reply(status=429)]), REQUEST, (), retries=1)).status == 429


@pytest.mark.parametrize("status", [400, 401, 408, 500, 503])
async def test_no_other_status_is_tried_again(status: int) -> None:
    assert (await forward(Scripted([Reply(status=status)]), REQUEST, ("b",), retries=1)).status == status
