"""What is damaged in a server concerns the call that it is about, and no other one."""

import logging

import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.adapters.redis.acts import key
from gateway.core.kept import Due
from gateway.flow.keep import Keeper
from gateway.ports import StoreFailed
from tests.support.gateway import ListJournal
from tests.support.ledger import record
from tests.support.outbox import ListOutbox
from tests.support.redis import TAGS, Kind, shared_server
from tests.support.redis_ledger import claim, ledger_at, now, opened


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_a_call_whose_row_is_damaged_waits_behind_all_others_until_it_is_mended(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    server, tag = shared_server(kind), f"damage-{next(TAGS)}"
    async with ledger_at(server.address, tag=tag, attempt_s=5, patience_s=10) as ledger:
        outbox = ListOutbox()
        keeper = Keeper(ledger, outbox, ListJournal(), SystemClock(), ZoneCalendar("UTC"))
        over = {n: record(n, id=f"igr_{n}", at=now()) for n in range(3)}
        for number in over:
            await keeper.reserve(opened(f"igr_{number}"), claim(f"igr_{number}"))
        sound = server.said("HGET", key(tag, "hold"), "igr_0")
        server.said("HSET", key(tag, "hold"), "igr_0", "no hold at all")
        caplog.clear()
        with pytest.raises(StoreFailed) as failed:
            await ledger.settle(over[0], 1)
        assert failed.value.damaged
        assert await keeper.settle(over[0], 1) is None
        assert not keeper.is_away
        assert await keeper.settle(over[1], 1) is not None
        await outbox.keep(Due(over[2], 1))
        for _ in range(3):
            await keeper.catch_up()
        assert not keeper.is_away
        assert outbox.entries == [Due(over[0], 1)], "it is not in the way of those behind it"
        assert await ledger.record("igr_2") is not None
        told = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert (
            len([one for one in told if "is kept in the outbox until that is mended" in one.getMessage()])
            == 1
        )
        server.said("HSET", key(tag, "hold"), "igr_0", sound)
        await keeper.catch_up()
        assert outbox.entries == []
        assert await ledger.record("igr_0") is not None
        assert await ledger.verify() == ()


async def test_a_place_that_is_damaged_keeps_no_store_away() -> None:
    """It is given back later, as the store was away; then it cannot be read, and others wait for nothing."""
    server, tag = shared_server("redis"), f"damage-{next(TAGS)}"
    async with ledger_at(server.address, tag=tag, attempt_s=5, patience_s=10) as ledger:
        keeper = Keeper(ledger, ListOutbox(), ListJournal(), SystemClock(), ZoneCalendar("UTC"))
        for number in range(2):
            await keeper.admit(claim(f"igr_{number}"))
        keeper.failed(StoreFailed("away", unknown=False))
        for number in range(2):
            await keeper.leave(f"igr_{number}")
        server.said("HSET", key(tag, "inside"), "igr_0", "no place at all")
        await keeper.catch_up()
        assert not keeper.is_away
        assert server.said("HKEYS", key(tag, "inside")) == ["igr_0"]
