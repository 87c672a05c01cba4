import asyncio
import socket

import pytest

from gateway.adapters import dial
from tests.support.raw import PATIENCE_S, raw_upstream

SIX = [(socket.AF_INET6, (f"::{n}", 80, 0, 0)) for n in range(3)]
FOUR = [(socket.AF_INET, (f"127.0.0.{n}", 80)) for n in range(2)]


def test_families_take_turns_and_no_address_comes_twice() -> None:
    assert dial.interleaved([*SIX, *FOUR, *SIX]) == [SIX[0], FOUR[0], SIX[1], FOUR[1], SIX[2]]
    assert dial.interleaved(FOUR) == FOUR


class Network:
    """Stands in for `dial.connect`: each address fails, hangs or answers, as the test says of its port."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *fates: str) -> None:
        self._fates = fates
        self.addresses: list[dial.Address] = [
            (socket.AF_INET, ("127.0.0.1", port)) for port in range(len(fates))
        ]
        self.tried: list[int] = []
        self.cancelled: list[int] = []
        self.made: list[socket.socket] = []
        self.hanging = asyncio.Event()
        self.later = asyncio.Event()
        monkeypatch.setattr(dial, "connect", self._connect)
        monkeypatch.setattr(dial, "STAGGER_S", 0.01)

    async def _connect(self, address: dial.Address) -> socket.socket:
        port = address[1][1]
        self.tried.append(port)
        match self._fates[port]:
            case "refuses":
                raise ConnectionRefusedError(f"port {port}")
            case "hangs":
                try:
                    self.hanging.set()
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.cancelled.append(port)
                    raise
            case "later":
                await self.later.wait()
        self.made.append(socket.socket())
        return self.made[-1]


class TestRacing:
    async def test_an_address_that_leads_nowhere_does_not_hold_up_the_next(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        network = Network(monkeypatch, "hangs", "answers")
        sock = await asyncio.wait_for(dial.race(network.addresses), PATIENCE_S)
        assert sock is network.made[0]
        assert network.cancelled == [0]
        sock.close()

    async def test_an_address_that_refuses_gives_way_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = Network(monkeypatch, "refuses", "answers", "answers")
        monkeypatch.setattr(dial, "STAGGER_S", PATIENCE_S)
        sock = await asyncio.wait_for(dial.race(network.addresses), PATIENCE_S)
        assert network.tried == [0, 1]
        sock.close()

    async def test_the_first_addresss_reason_is_told_if_none_answers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        network = Network(monkeypatch, "refuses", "refuses", "refuses")
        with pytest.raises(ConnectionRefusedError, match="port 0"):
            await dial.race(network.addresses)
        assert network.tried == [0, 1, 2]

    async def test_cancelling_ends_every_attempt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = Network(monkeypatch, "refuses", "hangs", "hangs")
        racing = asyncio.get_running_loop().create_task(dial.race(network.addresses))
        await network.hanging.wait()
        racing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await racing
        assert sorted(network.cancelled) == sorted(set(network.tried) - {0})

    async def test_of_several_that_answer_at_once_one_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = Network(monkeypatch, "later", "later", "later")
        racing = asyncio.get_running_loop().create_task(dial.race(network.addresses))
        while len(network.tried) < 3:
            await asyncio.wait({asyncio.get_running_loop().create_future()}, timeout=0.001)
        network.later.set()
        sock = await asyncio.wait_for(racing, PATIENCE_S)
        assert [one for one in network.made if one.fileno() >= 0] == [sock]
        sock.close()


async def test_a_host_with_one_address_is_connected_without_delay_or_nagle() -> None:
    async with raw_upstream() as server:
        sock = await asyncio.wait_for(dial.dial("127.0.0.1", server.port), PATIENCE_S)
        await server.accept()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert not sock.getblocking()
        sock.close()


async def test_a_name_with_several_addresses_is_connected_to_one_that_listens() -> None:
    async with raw_upstream() as server:
        sock = await asyncio.wait_for(dial.dial("localhost", server.port), PATIENCE_S)
        await server.accept()
        assert sock.getpeername()[1] == server.port
        sock.close()
