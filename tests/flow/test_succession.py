"""One pipeline follows another; an upstream is closed when nobody uses it any more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from gateway.flow import succession
from gateway.flow.exchange import Arrival, Client
from gateway.flow.succession import Succession, Tenure
from gateway.flow.tasks import spawn
from gateway.ports import UpstreamRequest
from tests.support.waiting import until

REQUEST = UpstreamRequest("GET", "/models", b"", (), None, "default")
ARRIVAL, CLIENT = cast("Arrival", None), cast("Client", None)


class Reply:
    """An answer whose body never ends."""

    status = 200
    headers = ((b"a", b"b"),)
    is_closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"piece"

    async def aclose(self) -> None:
        self.is_closed = True


class Origin:
    """An upstream."""

    is_closed = False
    fails = False

    def __init__(self) -> None:
        self.reply = Reply()

    async def open(self, request: UpstreamRequest) -> Any:
        if self.fails:
            raise ValueError("no")
        return self.reply

    async def aclose(self) -> None:
        self.is_closed = True


class Desk:
    """A pipeline that does what a test says."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act

    async def serve(self, arrival: Arrival, client: Client) -> None:
        await self._act()


async def nothing() -> None:
    pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(succession, "LOOK_S", 0.001)


async def test_a_request_is_answered_by_what_it_began_with() -> None:
    served, go = [], asyncio.Event()

    async def old() -> None:
        await go.wait()
        served.append("old")

    async def new() -> None:
        served.append("new")

    first = Tenure(Origin())
    both = Succession(Desk(old), first)
    begun = spawn("request", both.serve(ARRIVAL, CLIENT))
    await asyncio.sleep(0)
    both.take_over(Desk(new), first)
    await both.serve(ARRIVAL, CLIENT)
    go.set()
    await begun

    assert served == ["new", "old"]
    await both.aclose()


async def test_an_upstream_that_stays_is_not_closed() -> None:
    origin = Origin()
    tenure = Tenure(origin)
    both = Succession(Desk(nothing), tenure)
    both.take_over(Desk(nothing), tenure)
    await asyncio.sleep(0.01)
    assert not origin.is_closed
    await both.aclose()
    assert origin.is_closed


async def test_an_upstream_that_is_replaced_is_closed_when_the_last_request_has_ended() -> None:
    go, old, new = asyncio.Event(), Origin(), Origin()
    both = Succession(Desk(go.wait), Tenure(old))
    begun = spawn("request", both.serve(ARRIVAL, CLIENT))
    await asyncio.sleep(0)
    both.take_over(Desk(nothing), Tenure(new))
    await asyncio.sleep(0.01)
    assert not old.is_closed
    go.set()
    await begun
    await until(lambda: old.is_closed, every_s=0.001)
    assert not new.is_closed
    await both.aclose()


async def test_an_answer_that_is_read_on_without_its_request_keeps_it_open() -> None:
    """As one that is finished for nobody, or for those who follow."""
    old = Origin()
    tenure = Tenure(old)
    both = Succession(Desk(nothing), tenure)
    reply = await tenure.open(REQUEST)
    both.take_over(Desk(nothing), Tenure(Origin()))
    await asyncio.sleep(0.01)
    assert (old.is_closed, reply.status, reply.headers) == (False, 200, ((b"a", b"b"),))
    assert [chunk async for chunk in reply.chunks()] == [b"piece"]
    await reply.aclose()
    await reply.aclose()
    assert old.reply.is_closed
    await until(lambda: old.is_closed, every_s=0.001)
    await both.aclose()


async def test_a_call_that_fails_holds_nothing() -> None:
    old = Origin()
    old.fails = True
    tenure = Tenure(old)
    with pytest.raises(ValueError, match="no"):
        await tenure.open(REQUEST)
    both = Succession(Desk(nothing), tenure)
    both.take_over(Desk(nothing), Tenure(Origin()))
    await until(lambda: old.is_closed, every_s=0.001)
    await both.aclose()


async def test_at_the_end_all_are_closed_in_use_or_not() -> None:
    old, new = Origin(), Origin()
    tenure = Tenure(old)
    both = Succession(Desk(nothing), tenure)
    await tenure.open(REQUEST)
    both.take_over(Desk(nothing), Tenure(new))
    await both.aclose()
    assert old.is_closed
    assert new.is_closed
