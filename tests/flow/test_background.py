"""A worker's care for responses that run on, over the real ledger and a scripted upstream."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.ledger import OpenCall
from gateway.core.observation import Ending, Observation
from gateway.core.pricing import AccountingRules
from gateway.core.record import Outcome, Record
from gateway.core.units import NanoUSD
from gateway.flow import background
from gateway.flow.background import Background
from tests.support.clock import FakeClock
from tests.support.gateway import CATALOG, ListJournal
from tests.support.scripted import Reply, Scripted

FAILED = UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=False)


def body(status: str) -> Reply:
    usage = b'{"input_tokens":100,"output_tokens":50}' if status == "completed" else b"null"
    text = b'{"object":"response","id":"resp_1","model":"gpt-5","status":"%s","usage":%s}' % (
        status.encode(),
        usage,
    )
    return Reply(script=[text])


class Care:
    """One worker."""

    def __init__(self, ledger: SqliteLedger, clock: FakeClock, upstream: Scripted) -> None:
        self.ledger, self.clock, self.upstream = ledger, clock, upstream
        self.journal = ListJournal()
        self.background = Background(
            ledger, upstream, self.journal, clock, CATALOG, AccountingRules(), retention_s=86_400.0
        )

    async def begun(self, name: str = "igr_1", response_id: str | None = "resp_1") -> None:
        record = Record(
            id=name,
            at=self.clock.now(),
            method="POST",
            outcome=Outcome.FAILED,
            route="responses.create",
            model="gpt-5",
            credential="default",
            reserved_nusd=NanoUSD(9_000_000),
            duration_ms=0.0,
        )
        await self.ledger.begin(OpenCall(record=record, dispatched=True))
        if response_id is not None:
            await self.ledger.entrust(name, response_id, self.clock.now() + 3600)


@pytest.fixture
async def care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Care]:
    monkeypatch.setattr(background, "ROUND_S", 0.0)
    monkeypatch.setattr(background, "PAUSES_S", (0.0,))
    clock = FakeClock()
    ledger = SqliteLedger.open(tmp_path, clock.now)
    yield Care(ledger, clock, Scripted([]))
    await ledger.aclose()


async def settled(care: Care, name: str = "igr_1") -> Record:
    """Run rounds until the call has its record."""
    running = asyncio.get_running_loop().create_task(care.background.run())
    try:
        while (record := await care.ledger.record(name)) is None:  # noqa: ASYNC110 - written in a thread, told nobody
            await asyncio.sleep(0)
        return record
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_response_nobody_comes_back_for_is_settled_at_its_end(care: Care) -> None:
    care.upstream.script = [body("queued"), FAILED, Reply(status=500), body("in_progress"), body("completed")]
    await care.begun()
    record = await settled(care)
    assert (record.outcome, record.response_id) == (Outcome.COMPLETED, "resp_1")
    assert record.cost_nusd == 100 * 1_250 + 50 * 10_000
    assert {(one.method, one.path, one.credential) for one in care.upstream.requests} == {
        ("GET", "/responses/resp_1", "default")
    }
    assert await care.ledger.open_calls() == ()


async def test_whoever_sees_the_end_first_settles_it_and_nobody_again(care: Care) -> None:
    await care.begun()
    ended = Observation(
        ending=Ending.CLEAN, status=200, response_id="resp_1", response_status="completed", model="gpt-5"
    )
    for _ in range(3):
        await care.background.seen(ended)
    assert [record.id for record in care.journal.records] == ["igr_1"]
    record = await care.ledger.record("igr_1")
    assert record is not None
    assert record.outcome is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("status", "known"), [("in_progress", "resp_1"), ("completed", "resp_2"), ("completed", None)]
)
async def test_what_has_not_ended_or_is_not_ours_is_left_alone(
    care: Care, status: str, known: str | None
) -> None:
    await care.begun()
    await care.background.seen(
        Observation(ending=Ending.CLEAN, status=200, response_id=known, response_status=status)
    )
    assert await care.ledger.record("igr_1") is None


async def test_records_grow_old(care: Care) -> None:
    await care.begun("igr_old", "resp_old")
    await care.background.seen(
        Observation(ending=Ending.CLEAN, status=200, response_id="resp_old", response_status="completed")
    )
    care.clock.seconds += 2 * 86_400
    care.upstream.script = [body("completed")]
    await care.begun()
    await settled(care)
    assert await care.ledger.record("igr_old") is None
