"""A server that is slow, silent, full, or forgetful: every call answers in time, and what is repeated is done once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.redis.idempotency import RedisIdempotencyKeys
from gateway.adapters.redis.ledger import RedisLedger
from gateway.adapters.redis.ledger_store import PATIENCE_S
from gateway.core.idempotency import Once, name_of
from gateway.core.ledger import LedgerFilter, OpenCall, Verdict
from gateway.core.limits import Unit
from gateway.core.quota import Exceeded, Standing
from gateway.core.record import Outcome
from gateway.flow.tasks import spawn
from gateway.ports import StoreFailed, UnfitError
from tests.support.ledger import record
from tests.support.proxy import Proxy, proxy_to
from tests.support.redis import Server, redis_server, until_followed
from tests.support.redis_ledger import claim, ledger_at, now, opened, used

PATIENT = {"attempt_s": 3.0, "patience_s": 9.0}
SLACK_S = 2.0
"""For a machine that is busy with other things."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with redis_server(tmp_path) as started:
        yield started


@pytest.fixture
async def hasty(server: Server) -> AsyncIterator[RedisLedger]:
    """As patient as in service."""
    async with ledger_at(server.address) as opened_:
        yield opened_


@pytest.fixture
async def ledger(server: Server) -> AsyncIterator[RedisLedger]:
    """For tests in which nothing is about time."""
    async with ledger_at(server.address, **PATIENT) as opened_:
        yield opened_


async def records(ledger: RedisLedger) -> int:
    return len([one async for one in ledger.export(LedgerFilter())])


# Silence


async def test_a_paused_server_is_given_up_within_a_second(server: Server, hasty: RedisLedger) -> None:
    await hasty.ping()
    server.pause()
    calls = {
        "admit": hasty.admit(claim("igr_1")),
        "reserve": hasty.reserve(opened("igr_1"), claim("igr_1")),
        "dispatch": hasty.dispatch("igr_1"),
        "entrust": hasty.entrust("igr_1", "resp_1", now() + 60, None),
        "settle": hasty.settle(record(1)),
        "leave": hasty.leave("igr_1"),
        "beat": hasty.beat(),
        "adopt": hasty.adopt(),
        "set_limits": hasty.set_limits("org", []),
        "prune": hasty.prune(now()),
        "ping": hasty.ping(),
    }
    async with asyncio.timeout(PATIENCE_S + SLACK_S):
        found = await asyncio.gather(*calls.values(), return_exceptions=True)
    for name, answer in zip(calls, found, strict=True):
        assert isinstance(answer, StoreFailed), name
        assert answer.unknown, name
    server.resume()
    await hasty.ping()


async def test_what_was_given_up_takes_nothing_when_the_server_wakes(
    server: Server, hasty: RedisLedger
) -> None:
    """Else a call that was refused would keep its place for as long as this process lives."""
    await hasty.admit(claim("igr_0"))
    await hasty.leave("igr_0")
    server.pause()
    several = [hasty.reserve(opened(f"igr_{n}"), claim(f"igr_{n}")) for n in range(1, 9)]
    found = await asyncio.gather(*several, return_exceptions=True)
    assert all(isinstance(one, StoreFailed) for one in found)
    server.resume()
    await hasty.ping()
    assert await hasty.open_calls() == ()
    assert (await used(hasty))[Unit.REQUESTS] == (1, 0)
    assert (await used(hasty))[Unit.CONCURRENT] == (0, 0)
    assert isinstance(await hasty.reserve(opened("igr_9"), claim("igr_9")), Standing)


async def test_a_clock_of_the_server_that_was_set_forward_keeps_nobody_out(ledger: RedisLedger) -> None:
    await ledger.admit(claim("igr_1"))
    ledger._store.learn(0)  # as if its clock had been decades behind until now
    assert isinstance(await ledger.admit(claim("igr_2")), Standing)


async def test_reading_a_paused_server_ends_too(
    server: Server, ledger: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.adapters.redis.ledger_store.READ_S", 0.3)
    server.pause()
    with pytest.raises(StoreFailed) as caught:
        await ledger.record("igr_1")
    assert not caught.value.unknown
    server.resume()


async def test_a_server_that_has_gone_is_known_to_have_done_nothing(
    server: Server, hasty: RedisLedger
) -> None:
    server.kill()
    with pytest.raises(StoreFailed) as caught:
        await hasty.settle(record(1))
    assert not caught.value.unknown
    server.restart()
    assert (await hasty.settle(record(1))).verdict is Verdict.WRITTEN


# Answers that are lost


@pytest.fixture
async def wire(server: Server) -> AsyncIterator[Proxy]:
    async with proxy_to(server.port) as proxy:
        yield proxy


async def test_a_lost_answer_is_asked_for_again_and_the_act_was_done_once(wire: Proxy) -> None:
    async with ledger_at(wire.address, **PATIENT) as ledger:
        for number in range(20):
            id_ = f"igr_{number}"
            wire.lose(1)
            assert isinstance(await ledger.admit(claim(id_)), Standing)
            wire.lose(1)
            assert isinstance(await ledger.reserve(opened(id_), claim(id_)), Standing)
            wire.lose(1)
            assert await ledger.dispatch(id_)
            wire.lose(1)
            settled = await ledger.settle(record(number, id=id_, at=now()), images=1)
            assert settled.verdict is Verdict.WRITTEN
        assert wire.lost == 80
        found = await used(ledger)
        assert found[Unit.REQUESTS] == (20, 0)
        assert found[Unit.IMAGES] == (20, 0)
        assert found[Unit.USD] == (20 * record().cost_nusd, 0)
        assert found[Unit.CONCURRENT] == (0, 0)
        assert await records(ledger) == 20
        assert await ledger.verify() == ()


async def test_a_correction_whose_answer_is_lost_says_what_it_corrected(wire: Proxy) -> None:
    guess = record(1, outcome=Outcome.LOST)
    async with ledger_at(wire.address, **PATIENT) as ledger:
        await ledger.settle(guess)
        wire.lose(1)
        late = await ledger.settle(record(1))
        assert (late.verdict, late.before, late.record) == (Verdict.CORRECTED, guess, record(1))


async def test_two_lost_answers_are_told_as_not_known_and_the_truth_is_found_by_asking(wire: Proxy) -> None:
    async with ledger_at(wire.address, **PATIENT) as ledger:
        await ledger.settle(record(9))  # from now on the script is known there
        wire.lose(2)
        with pytest.raises(StoreFailed) as caught:
            await ledger.settle(record(1))
        assert caught.value.unknown
        again = await ledger.settle(record(1))
        assert (again.verdict, again.record) == (Verdict.REPEATED, record(1))


async def test_a_refusal_stays_one_when_its_answer_is_lost(wire: Proxy) -> None:
    async with ledger_at(wire.address, **PATIENT) as ledger:
        await ledger.admit(claim("igr_1", ["1 request per day"]))
        wire.lose(1)
        assert isinstance(await ledger.admit(claim("igr_2", ["1 request per day"])), Exceeded)
        assert (await used(ledger))[Unit.REQUESTS] == (1, 0)


# Servers that refuse, and that forget scripts


async def test_scripts_that_are_flushed_in_the_middle_are_sent_again(
    server: Server, ledger: RedisLedger
) -> None:
    async def flushing() -> None:
        while True:
            await asyncio.to_thread(server.said, "SCRIPT", "FLUSH")

    task = asyncio.get_running_loop().create_task(flushing())
    try:
        for n in range(0, 100, 10):
            several = range(n, n + 10)
            await asyncio.gather(*(ledger.reserve(OpenCall(record=record(one))) for one in several))
            await asyncio.gather(*(ledger.settle(record(one)) for one in several))
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await records(ledger) == 100


async def test_a_full_server_refuses_and_has_written_nothing(server: Server, ledger: RedisLedger) -> None:
    await ledger.reserve(opened("igr_1"), claim("igr_1"))
    server.said("CONFIG", "SET", "maxmemory", "1")
    for act in (ledger.admit(claim("igr_2")), ledger.settle(record(2)), ledger.set_limits("org", [])):
        with pytest.raises(StoreFailed, match="OutOfMemory") as caught:
            await act
        assert not caught.value.unknown
    with pytest.raises(StoreFailed, match="OutOfMemory"):
        await ledger.ping()
    assert [call.record.id for call in await ledger.open_calls()] == ["igr_1"], "it can be read all the same"
    # What gives something back first may go on: Redis sees to it that a script that has begun to write ends.
    assert (await ledger.settle(record(1, id="igr_1"))).verdict is Verdict.WRITTEN
    server.said("CONFIG", "SET", "maxmemory", "0")
    assert await ledger.verify() == ()


async def test_a_ledger_that_has_gone_is_not_begun_anew(server: Server, ledger: RedisLedger) -> None:
    """An empty one would give every budget anew, and nobody would notice."""
    await ledger.reserve(opened("igr_1"), claim("igr_1"))
    server.said("FLUSHALL")
    await nothing_is_written(ledger)
    assert server.said("DBSIZE") == 0
    with pytest.raises(UnfitError, match="it has gone"):
        await asyncio.to_thread(RedisLedger.open, server.address, make=False)
    async with ledger_at(server.address, **PATIENT) as other:
        await nothing_is_written(ledger)
        assert (await other.settle(record(1, id="igr_1"))).verdict is Verdict.WRITTEN
        async with ledger_at(server.address, name=ledger.name, **PATIENT) as late:
            await nothing_is_written(late)
        async with ledger_at(server.address, name=other.name, **PATIENT) as late:
            await late.ping()


async def nothing_is_written(ledger: RedisLedger) -> None:
    for act in (
        ledger.admit(claim("igr_2")),
        ledger.reserve(opened("igr_3")),
        ledger.dispatch("igr_1"),
        ledger.entrust("igr_1", "resp_1", now(), None),
        ledger.settle(record(1, id="igr_1")),
        ledger.leave("igr_1"),
        ledger.beat(),
        ledger.adopt(),
        ledger.prune(now()),
        ledger.set_limits("org", []),
        ledger.ping(),
    ):
        with pytest.raises(StoreFailed, match="GONE") as caught:
            await act
        assert not caught.value.unknown


async def test_a_server_that_has_become_a_replica_is_not_written_to(
    tmp_path: Path, server: Server, ledger: RedisLedger
) -> None:
    with redis_server(tmp_path) as other:
        server.said("REPLICAOF", "127.0.0.1", other.port)
        with pytest.raises(StoreFailed) as caught:
            await ledger.settle(record(1))
        assert not caught.value.unknown


# Confirmed by a replica


async def test_strict_writes_wait_for_a_replica(tmp_path: Path, server: Server) -> None:
    with redis_server(tmp_path, arguments=("--replicaof", "127.0.0.1", str(server.port))) as replica:
        until_followed(server, replica)
        async with ledger_at(server.address, strict=True) as ledger:
            for number in range(20):
                await ledger.settle(record(number))
                assert replica.said("HLEN", ledger._store.key("record")) == number + 1
            server.said("SCRIPT", "FLUSH")
            assert (await ledger.settle(record(21))).verdict is Verdict.WRITTEN
            replica.pause()
            with pytest.raises(StoreFailed, match="Unconfirmed") as caught:
                await ledger.settle(record(22))
            assert caught.value.unknown
            # Nothing is left to be written, and yet it is not confirmed.
            with pytest.raises(StoreFailed, match="Unconfirmed"):
                await ledger.settle(record(22))
            replica.resume()
            assert (await ledger.settle(record(22))).verdict is Verdict.REPEATED


# To the end


async def test_closing_waits_for_what_was_begun(server: Server) -> None:
    async with ledger_at(server.address, **PATIENT) as ledger:
        tasks = [asyncio.get_running_loop().create_task(ledger.settle(record(n))) for n in range(200)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
        await ledger.aclose()
        assert server.said("HLEN", ledger._store.key("record")) == 200
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_nobody_waits_for_any_more_is_not_begun(server: Server) -> None:
    async with ledger_at(server.address, **PATIENT) as ledger:
        ledger._store._turns = asyncio.Semaphore(0)
        task = asyncio.get_running_loop().create_task(ledger.admit(claim("igr_1")))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        ledger._store._turns.release()
        await ledger.ping()
        assert (await used(ledger))[Unit.REQUESTS] == (0, 0)


async def test_a_place_is_not_given_back_before_it_is_taken(server: Server, ledger: RedisLedger) -> None:
    """The client has left while the server was slow: what gives its place back must not come first."""
    await ledger.beat()
    for number in range(20):
        call = f"igr_{number}"
        server.pause()
        entering = spawn("admit", ledger.admit(claim(call, ["1000 concurrent"])))
        await asyncio.sleep(0.01)
        entering.cancel()
        leaving = spawn("leave", ledger.leave(call))
        await asyncio.sleep(0.01)
        server.resume()
        await leaving
        await asyncio.gather(entering, return_exceptions=True)
        assert server.said("HLEN", ledger._store.key("inside")) == 0
    assert await ledger.verify() == ()


async def test_a_key_is_not_taken_for_a_call_that_has_given_up(server: Server, ledger: RedisLedger) -> None:
    keys = RedisIdempotencyKeys(ledger)
    once = Once(name_of(("default", "team"), "POST", "images.edits", b"key"), "fox")
    await ledger.admit(claim("igr_1"))  # the server's clock is known from now on
    server.pause()
    with pytest.raises(StoreFailed):
        await keys.begin(once, "igr_2")
    server.resume()
    await asyncio.sleep(0.2)
    assert await keys.begin(once, "igr_3") is None


async def test_a_ledger_that_is_being_filled_is_written_to_by_nobody_else(
    server: Server, ledger: RedisLedger
) -> None:
    await ledger.reserve(opened("igr_1"), claim("igr_1"))
    server.said("HSET", ledger._store.key("mark"), "moving", "token")
    for act in (ledger.settle(record(1, id="igr_1")), ledger.beat(), ledger.admit(claim("igr_2"))):
        with pytest.raises(StoreFailed, match="is being filled"):
            await act


async def test_whatever_comes_late_takes_nothing_for_a_call_that_has_ended(server: Server) -> None:
    """The server was slow, the client has left, and the door's second attempt lands behind the record."""
    async with ledger_at(server.address) as ledger:
        keys = RedisIdempotencyKeys(ledger)
        await ledger.beat()
        # Connections are there, and the server's clock is known.
        await asyncio.gather(*(ledger.admit(claim(f"igr_w{number}")) for number in range(30)))
        await asyncio.gather(*(ledger.leave(f"igr_w{number}") for number in range(30)))
        for number in range(4):
            call = f"igr_{number}"
            once = Once(name_of(("default", "team"), "POST", "images.edits", call.encode()), "fox")
            over = replace(record(1, id=call, at=now()), outcome=Outcome.CLIENT_GONE)
            server.pause()
            entering = [
                spawn("admit", ledger.admit(claim(call, ["100 concurrent"]))),
                spawn("begin", keys.begin(once, call)),
            ]
            await asyncio.sleep(0.05)
            for one in entering:
                one.cancel()
            ending = [
                spawn("settle", ledger.settle(over, images=0)),
                spawn("conclude", keys.conclude(once, call, None)),
            ]
            await asyncio.sleep(0.35 + 0.08 * number)
            server.resume()
            await asyncio.gather(*entering, *ending, return_exceptions=True)
            await ledger.settle(over, images=0)
            await asyncio.sleep(0.5)
            assert server.said("HLEN", ledger._store.key("inside")) == 0
            assert server.said("HGET", ledger._store.key("once"), once.name) is None
        assert await ledger.verify() == ()


async def test_a_right_that_is_taken_away_is_no_damage_of_one_call(
    server: Server, ledger: RedisLedger
) -> None:
    await ledger.reserve(opened("igr_1"), claim("igr_1"))
    server.said("ACL", "SETUSER", "default", "-hset")
    with pytest.raises(StoreFailed) as failed:
        await ledger.reserve(opened("igr_2"), claim("igr_2"))
    server.said("ACL", "SETUSER", "default", "+hset")
    assert not failed.value.damaged
    server.said("SET", ledger._store.key("record"), "another kind")
    with pytest.raises(StoreFailed) as failed:
        await ledger.settle(record(1, id="igr_1"))
    assert not failed.value.damaged
