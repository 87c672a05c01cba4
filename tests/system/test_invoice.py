"""
The proof of the accounting: over any sequence of calls the ledger says what the sandbox would bill.

Equal, by model and kind, wherever the upstream reported; the same pictures where it hid its report; never below it
where the call was cut, left to be cut, or hung: no call makes more image calls than are reserved. The sandbox keeps its
books with code of its own.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import openai._base_client
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from gateway.adapters.clock import SystemClock
from gateway.core.ledger import LedgerFilter
from gateway.core.record import Outcome, Record, Role
from tests.conftest import FULL
from tests.support.books import TOKENS, eventually, mark_of
from tests.support.chance import sequences
from tests.support.errands import Customer, Errand, How
from tests.support.pair import LivePair, live_pair

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("ledger")]

MOST = 16
"""Calls of one sequence, all at once; each has keys of its own, so that records and charges are told apart."""
EXAMPLES = 240 if FULL else 24
PATIENCE_S = 60.0
"""Three attempts that hang, and a machine that is busy."""
KEY = """
[[key]]
id = "{name}"
team = "team"
secret = "sk-{name}"
on_disconnect = "{policy}"
"""
POLICIES = {True: "finish", False: "cancel"}
KEYS = "".join(
    KEY.format(name=f"{policy}-{number}", policy=policy)
    for policy in POLICIES.values()
    for number in range(MOST)
)


LOW = {"model": "gpt-image-1", "size": "1024x1024", "quality": "low"}
DRAWN: dict[str, Any] = {"prompt": "a fox", **LOW, "stream": True, "partial_images": 2}
TOOL = {"type": "image_generation", **LOW, "partial_images": 2}
ASKED: dict[str, Any] = {"model": "gpt-5", "input": "a fox", "tools": [TOOL], "stream": True}
SURCHARGES = [
    Errand("images/generations", DRAWN, ("usage=without_surcharge",)),
    Errand("images/generations", DRAWN, ("usage=omit",)),
    Errand("responses", ASKED, ("usage=without_surcharge", "image_calls=2")),
    Errand("responses", ASKED, ("tool_usage=omit",)),
    # Its stream is cut, so that only its end is seen.
    Errand(
        "responses",
        {**ASKED, "background": True},
        ("usage=without_surcharge", "delay_ms=200"),
        leave=1,
        finish=False,
    ),
]
"""Always among the sequences: where others go wrong."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivePair]:
    with live_pair(tmp_path_factory.mktemp("invoice"), KEYS) as found, pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.01)
        yield found


Sums = dict[tuple[str, str], Counter[str]]
"""By model and kind: requests, images, tokens of each modality, nano-dollars."""


def of_ledger(records: Sequence[Record]) -> Sums:
    """What the ledger says. A record's pictures are those of its image model."""
    sums: Sums = {}
    for record in records:
        pictures = record.images
        for line in record.lines:
            found = sums.setdefault((line.model, line.role.value), Counter())
            found["requests"] += 1
            found["nano_dollars"] += line.cost_nusd
            found.update({kind: getattr(line, kind) for kind in TOKENS})
            if line.role is Role.IMAGE:
                found["images"] += pictures
                pictures = 0
        assert pictures == 0, "pictures without a line that pays for them"
    return sums


def of_invoice(charges: Sequence[dict[str, Any]]) -> Sums:
    """The same of the sandbox's charges."""
    sums: Sums = {}
    for line in (line for charge in charges for line in charge["lines"]):
        found = sums.setdefault((line["model"], line["kind"]), Counter())
        found["requests"] += 1
        found["nano_dollars"] += line["nano_dollars"]
        found["images"] += line["images"]
        found.update(line["tokens"])
    return sums


@dataclass
class Spent:
    """What some calls came to, in both books."""

    records: list[Record] = field(default_factory=list)
    charges: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: "Spent") -> None:
        self.records += other.records
        self.charges += other.charges

    def fault(self, how: How) -> str | None:
        """What is wrong with the ledger, where it is to compare with the bill like this; None: nothing."""
        ours, theirs = of_ledger(self.records), of_invoice(self.charges)
        total, bill = (
            sum(record.cost_nusd for record in self.records),
            sum(one["nano_dollars"] for one in self.charges),
        )
        told = f"{ours} at {total}, billed {theirs} at {bill}"
        for key in ours.keys() | theirs.keys():
            mine, bills = ours.get(key, Counter()), theirs.get(key, Counter())
            exact = {
                How.EQUAL: ("requests", "images", *TOKENS),
                How.FREE: ("requests", "nano_dollars"),
                How.SAME_PICTURES: ("requests", "images", "output_image"),
                How.NOT_LESS: (),
            }[how]
            if any(mine[each] != bills[each] for each in exact):
                return f"{key} differs: {told}"
            # A sum is rounded up once, in both books; which line of a request has the odd nano-dollar is not said.
            if mine["nano_dollars"] < bills["nano_dollars"] - bills["requests"]:
                return f"{key} is charged less: {told}"
        if total < bill or (how is How.EQUAL and total != bill):
            return f"the sum differs: {told}"
        return None


@dataclass
class Proof:
    """Runs sequences, and counts."""

    pair: LivePair
    customer: Customer
    counted: Counter[str] = field(default_factory=Counter)
    number: int = 0

    async def sequence(self, calls: Sequence[Errand]) -> None:
        """All of these calls at once; then both books, call by call and as sums."""
        self.number += 1
        marks = [f"{self.number}-{place}" for place in range(len(calls))]
        await self.pair.books.reset()
        began = SystemClock().now()
        await asyncio.gather(
            *(
                self.customer.run(call, mark, f"sk-{self._key(place, call)}")
                for place, (call, mark) in enumerate(zip(calls, marks, strict=True))
            )
        )
        await eventually(lambda: self._is_over(marks, began), PATIENCE_S, lambda: calls)
        records, charges = await self._records(began), await self._charges()
        sums: dict[How, Spent] = {}
        for place, (call, mark) in enumerate(zip(calls, marks, strict=True)):
            spent = Spent(
                [one for one in records if one.key == self._key(place, call)], charges.pop(mark, [])
            )
            self._count(call, spent)
            if call.how is not How.FREE:
                came = self.pair.sandbox.came[mark]
                assert came <= len(spent.records) == self.customer.attempts[mark], (call, came, spent.records)
                # Who leaves while waiting to be let in has a record, and is not made to pay.
                went = [
                    one for one in spent.records if one.outcome is not Outcome.CLIENT_GONE or one.cost_nusd
                ]
                assert came == len(went) or (not call.finish and call.how is How.NOT_LESS), call
            fault = spent.fault(call.how)
            assert fault is None, f"{fault}\n{call}\n{spent.records}"
            sums.setdefault(call.how, Spent()).add(spent)
        assert charges == {}, "charges of nobody's"
        assert await self.pair.books.ledger.verify() == ()
        for how, spent in sums.items():
            fault = spent.fault(how)
            assert fault is None, fault

    @staticmethod
    def _key(place: int, call: Errand) -> str:
        return f"{POLICIES[call.finish]}-{place}"

    async def _is_over(self, marks: Sequence[str], began: float) -> bool:
        """Whether nobody works any more, and every attempt has its record."""
        if not self.pair.sandbox.is_idle or not await self.pair.books.is_quiet():
            return False
        return len(await self._records(began)) >= sum(self.customer.attempts[mark] for mark in marks)

    async def _records(self, began: float) -> list[Record]:
        found = self.pair.books.ledger.export(LedgerFilter(since=began))
        return [record async for record in found]

    async def _charges(self) -> dict[str, list[dict[str, Any]]]:
        """The sandbox's, by the mark of their calls; each of their sums is in the invoice."""
        invoice = await self.pair.books.invoice()
        marks = {one["request_id"]: mark_of(one) or "" for one in await self.pair.books.visitors()}
        found: dict[str, list[dict[str, Any]]] = {}
        for charge in invoice["charges"]:
            found.setdefault(marks.get(charge["request_id"], ""), []).append(charge)
        total = of_invoice(invoice["charges"])
        for line in invoice["lines"]:
            assert total[line["model"], line["kind"]]["requests"] == line["requests"]
        return found

    def _count(self, call: Errand, spent: Spent) -> None:
        self.counted[call.how.name] += len(spent.records)
        self.counted["left"] += call.leave is not None or call.limit_s is not None
        self.counted["retries"] += sum(record.retry_count > 0 for record in spent.records)


@pytest.mark.timeout(1800)
def test_the_ledger_is_the_invoice_whatever_is_called_and_whatever_happens(
    pair: LivePair, figure: Callable[[str, int], None]
) -> None:
    with asyncio.Runner() as runner:
        proof = Proof(pair, runner.run(_customer(pair)))

        @settings(
            max_examples=EXAMPLES,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
        )
        @example(SURCHARGES)
        @given(sequences(MOST))
        def proved(calls: list[Errand]) -> None:
            runner.run(proof.sequence(calls))

        try:
            proved()
        finally:
            runner.run(proof.customer.aclose())
    figure("sequences of calls with the ledger's sums those of the invoice, or above", proof.number)
    figure("… calls of them equal by model and kind", proof.counted[How.EQUAL.name])
    figure("… calls that hid their usage, with the same pictures", proof.counted[How.SAME_PICTURES.name])
    figure(
        "… calls within their reserved image calls cut, hung, cancelled or deleted, never below",
        proof.counted[How.NOT_LESS.name],
    )
    figure("… calls that their client left", proof.counted["left"])
    figure("… retries of the official SDK, each in both books", proof.counted["retries"])


async def _customer(pair: LivePair) -> Customer:
    return Customer(pair)
