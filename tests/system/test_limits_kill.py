"""
Workers and gateways that are killed or frozen in the middle of calls with limits.

Whatever happens no limit is gone beyond, every call that went up has one record that says no less than the upstream
bills, and what the dead held is given back or charged within the lease.
"""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import apsw
import httpx2
import pytest

from gateway.core.limits import Unit
from gateway.core.record import Outcome
from tests.conftest import FULL, SEED
from tests.support.books import Books, eventually
from tests.support.limits import (
    NUSD,
    Answer,
    Tenant,
    Turnstile,
    Upstream,
    all_given_back,
    ask,
    client_of,
    configured,
    dollars,
    guarded_sandbox,
    state,
)
from tests.support.process import Running, gateway_process, sandbox_process
from tests.support.traffic import CALLS, MOST_S, Traffic, check_books, check_limits, limited
from tests.support.workers import kill_all, sockets_of, tell, workers_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

LEASE_S = 30.0
"""What a dead process held is given back, or charged, by then."""
KILLS = 100 if FULL else 6
FREEZES = 5 if FULL else 1


@pytest.mark.xdist_group("limits-kill")
async def test_after_kill_9_no_limit_is_gone_beyond_and_nothing_is_held_for_ever(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    """Of a worker, which is replaced; and of the whole gateway, which is started again."""
    chance = random.Random(SEED)
    traffic, tenants = Traffic(chance), [limited(number, chance) for number in range(KILLS)]
    roomy = f"{dollars(10 * KILLS * CALLS * NUSD)} per month"
    config = configured(tenants, teams={"all": [roomy]}, org=[roomy], workers=2)
    whole, replaced = 0, 0
    with sandbox_process(tmp_path) as sandbox, ExitStack() as stack:
        books = Books(tmp_path, sandbox.url)

        def started() -> Running:
            return stack.enter_context(gateway_process(f"{sandbox.url}/v1", tmp_path, rest=config))

        gateway = started()
        for tenant in tenants:
            workers = await both_up(gateway)
            async with client_of(gateway.url) as http:
                await http.get(f"{gateway.url}/livez")  # One of them serves.
                calls = [asyncio.ensure_future(traffic.make(http, tenant)) for _ in range(CALLS)]
                await asyncio.wait(calls, timeout=chance.uniform(0, MOST_S))
                if chance.random() < 0.5:
                    kill_all(gateway)
                    await asyncio.gather(*calls)
                    gateway, whole = started(), whole + 1
                else:
                    tell([chance.choice(workers)], signal.SIGKILL)
                    await asyncio.gather(*calls)
                    await both_up(gateway)
                    replaced += 1
            await all_given_back(books, [tenant.scope], LEASE_S)
            await check_limits(books, tenant)
        await all_given_back(books, ["team:all", "org"])
        assert await books.is_quiet()
        records, sent = await check_books(books, traffic)
    told = Counter(answer.status for answer in traffic.answers)
    assert told[429] > 0, "no limit stood in the way"
    assert told[503] == 0, "the store was there"
    figure("`kill -9` of a worker under calls with limits", replaced)
    figure("`kill -9` of the whole gateway under calls with limits", whole)
    figure("calls with limits that went up in it, each with one record", len(sent))
    figure("of them lost with their worker", sum(one.outcome is Outcome.LOST for one in records))


async def both_up(gateway: Running) -> list[int]:
    """The two workers, once there are two."""
    found: list[int] = []

    async def are_two() -> bool:
        found[:] = workers_of(gateway)
        return len(found) == 2

    await eventually(are_two, LEASE_S, lambda: f"workers: {found}")

    async def do_serve() -> bool:
        told = gateway.log.read_text()
        return all(f"worker {one} serves" in told for one in found)

    # One that has not told yet that it serves is given the time that a start may take.
    await eventually(do_serve, LEASE_S)
    return found


@pytest.mark.xdist_group("limits-hang")
async def test_a_worker_that_hangs_is_replaced_and_gives_back_what_it_held(tmp_path: Path) -> None:
    tenant = Tenant("one", ["20 images per day", "10 concurrent"])
    with (
        guarded_sandbox() as upstream,
        gateway_process(f"{upstream.url}/v1", tmp_path, rest=configured([tenant], workers=2)) as gateway,
    ):
        books, turnstile, workers = Books(tmp_path, upstream.url), upstream.turnstile, await both_up(gateway)
        turnstile.shut()
        async with client_of(gateway.url) as http:
            calls = [asyncio.ensure_future(ask(http, tenant, str(number))) for number in range(10)]
            await until_came(turnstile, 10)
            hangs = max(workers, key=sockets_of)  # the one that has most of the calls
            tell([hangs], signal.SIGSTOP)

            async def is_replaced() -> bool:
                return len(workers_of(gateway)) == 2 and hangs not in workers_of(gateway)

            await eventually(is_replaced, LEASE_S)
            turnstile.open()
            answers = await asyncio.gather(*calls, return_exceptions=True)
            cut = [found for found in answers if isinstance(found, httpx2.TransportError)]
            assert len(cut) >= 5
            assert all(
                isinstance(found, Answer) and found.status == 200 for found in answers if found not in cut
            )
            await all_given_back(books, [tenant.scope], LEASE_S)
            later = await asyncio.gather(*(ask(http, tenant, f"later-{number}") for number in range(10)))
            assert {answer.status for answer in later} == {200}, "ten places, and half of the budget"
            assert (await ask(http, tenant)).error["code"] == "insufficient_quota"
        lost = [one for one in await books.records() if one.outcome is Outcome.LOST]
        assert [one.cost_nusd for one in lost] == [NUSD] * len(cut)


async def until_came(turnstile: Turnstile, calls: int) -> None:
    async def have_come() -> bool:
        return len(turnstile.came) >= calls

    await eventually(have_come, told=lambda: f"{len(turnstile.came)} of {calls} came")


@contextmanager
def two_gateways(
    upstream: Upstream, folder: Path, tenants: list[Tenant]
) -> Iterator[tuple[Running, Running]]:
    """Of one worker each, on one ledger: nobody looks after either."""
    rest = configured(tenants) + f'\n[store]\nurl = "sqlite:///{folder}/data"\n'
    for name in ("one", "other"):
        (folder / name).mkdir()
    with (
        gateway_process(f"{upstream.url}/v1", folder / "one", rest=rest) as one,
        gateway_process(f"{upstream.url}/v1", folder / "other", rest=rest) as other,
    ):
        yield one, other


def freeze(gateway: Running, ledger: Path) -> None:
    """Stop a process, but not while it writes: until it woke up, nobody else could, and nothing would be spent."""
    while True:
        gateway.process.send_signal(signal.SIGSTOP)
        db = apsw.Connection(str(ledger))
        try:
            db.set_busy_timeout(50)
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except apsw.BusyError:
            gateway.process.send_signal(signal.SIGCONT)
        else:
            return
        finally:
            db.close()


@pytest.mark.xdist_group("limits-freeze")
async def test_a_worker_that_was_frozen_for_longer_than_its_lease_overspends_nothing_when_it_goes_on(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    for number in range(FREEZES):
        folder = tmp_path / str(number)
        folder.mkdir()
        await frozen(folder, chance)
    figure(f"frozen gateways that went on after {LEASE_S:.0f} s", FREEZES)


async def count_tokens(http: httpx2.AsyncClient, tenant: Tenant) -> Answer:
    return await ask(http, tenant, path="responses/input_tokens", body={"model": "gpt-5", "input": "a fox"})


async def frozen(folder: Path, chance: random.Random) -> None:
    held, more, fits = chance.randint(2, 8), chance.randint(1, 8), chance.randint(5, 25)
    steady = Tenant("steady", [f"{held + more} images per day", f"{max(held, more)} concurrent"])
    counter = Tenant("counter", ["3 concurrent"])
    hasty = Tenant("hasty", [f"{fits} images per month", f"{dollars(2 * fits * NUSD)} total"])
    with (
        guarded_sandbox() as upstream,
        two_gateways(upstream, folder, [steady, hasty, counter]) as (one, other),
    ):
        books, turnstile = Books(folder, upstream.url), upstream.turnstile
        async with client_of(one.url) as cold, client_of(other.url) as warm:
            turnstile.shut()
            asleep = [asyncio.ensure_future(ask(cold, steady, f"asleep-{n}")) for n in range(held)]
            # These cost nothing: the ledger knows no more of them than their places.
            counting = [asyncio.ensure_future(count_tokens(cold, counter)) for _ in range(3)]
            await until_came(turnstile, held + 3)
            hurried = [asyncio.ensure_future(ask(cold, hasty, f"hurried-{n}")) for n in range(CALLS)]
            await asyncio.wait(hurried, timeout=chance.uniform(0, 0.3))
            freeze(one, folder / "data" / "ledger.db")
            try:
                # What it held is charged, its places are free.
                await all_given_back(books, [steady.scope, hasty.scope, counter.scope], LEASE_S)
                charged = (await state(books, steady.scope)).used
                assert (charged[Unit.IMAGES], charged[Unit.USD]) == (held, held * NUSD)
                awake = [asyncio.ensure_future(ask(warm, steady, f"awake-{n}")) for n in range(CALLS)]
                awake += [asyncio.ensure_future(ask(warm, hasty, f"awake-too-{n}")) for n in range(CALLS)]

                async def are_decided() -> bool:
                    came = [mark for mark in turnstile.came if mark.startswith("awake-")]
                    return len(came) + sum(call.done() for call in awake) == len(awake)

                await eventually(are_decided)
                came = [mark for mark in turnstile.came if mark.startswith("awake-") and "too" not in mark]
                assert len(came) == more, f"exactly what the frozen one had left, seed {SEED}"
            finally:
                one.process.send_signal(signal.SIGCONT)
            late = await asyncio.gather(*(ask(cold, steady, f"late-{n}") for n in range(5)))
            assert {answer.error["code"] for answer in late} == {"insufficient_quota"}
            turnstile.open()
            answers = await asyncio.gather(*asleep, *hurried, *awake)
            assert [answer.status for answer in await asyncio.gather(*counting)] == [200] * 3
        assert {answer.status for answer in answers[:held]} == {200}, "whoever waited has the picture"
        assert {answer.status for answer in answers} <= {200, 429}
        await all_given_back(books, [steady.scope, hasty.scope, counter.scope, "org"])
        for tenant in (steady, hasty):
            await check_limits(books, tenant)
        assert (await state(books, steady.scope)).used[Unit.IMAGES] == held + more
        assert await books.is_quiet()
        charges = await books.charges()
        records = {one.id: one for one in await books.records()}
        assert len(records) == len(answers) + len(late), "one record of each call"
        for answer in answers:
            found = records[answer.headers["x-imagegate-id"]]
            billed = charges[answer.mark]["nano_dollars"] if answer.status == 200 else 0
            assert found.cost_nusd == billed, "the truth came late, and stands"
            assert (answer.mark in charges) == (answer.status == 200)
