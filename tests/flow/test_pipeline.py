"""The order of things, with every port in the test's hands."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.keyfile import FileKeys
from gateway.adapters.spool import FileSpool
from gateway.core.credentials import Credential
from gateway.core.errors import Code, Failure, Refusal, UpstreamFailed
from gateway.core.headers import Header
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Allow, Principal, digest_of
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.core.spans import Trace
from gateway.core.units import usd_text
from gateway.flow.account import Accounts
from gateway.flow.background import Background
from gateway.flow.exchange import Arrival
from gateway.flow.keep import Keeper
from gateway.flow.orphans import Orphans
from gateway.flow.pipeline import Pipeline, Rules
from gateway.flow.relay import HELD_BYTES
from gateway.flow.tasks import ClientGoneError, spawn
from tests.support.clock import FakeClock
from tests.support.gateway import CATALOG, DEFAULT_MODELS, Books, ListJournal, principal
from tests.support.outbox import ListOutbox
from tests.support.replies import event, images_body, response, usage
from tests.support.scripted import JSON as JSON_HEAD
from tests.support.scripted import Reply, Scripted

JSON: tuple[Header, ...] = ((b"authorization", b"Bearer sk-1"), (b"content-type", b"application/json"))
SSE: tuple[Header, ...] = ((b"content-type", b"text/event-stream"), (b"x-request-id", b"req_1"))
DONE = b'event: image_generation.completed\ndata: {"type":"image_generation.completed"}\n\n'
BROKEN = UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)


@dataclass
class Listener:
    """A client that writes down what happens to it."""

    pieces: list[bytes] = field(default_factory=lambda: [b"{}"])
    seen: list[object] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    leaves_while_sending: bool = False
    heads: list[dict[bytes, bytes]] = field(default_factory=list)

    async def body(self) -> AsyncIterator[bytes]:
        self.seen.append("body read")
        for piece in self.pieces:
            yield piece
        if self.leaves_while_sending:
            raise ClientGoneError

    async def gone(self) -> None:
        await self.left.wait()

    async def start(self, status: int, headers: list[Header]) -> None:
        self.heads.append(dict(headers))
        self.seen.append((status, dict(headers).get(b"content-type")))

    async def send(self, chunk: bytes) -> None:
        self.seen.append(chunk)

    async def end(self) -> None:
        self.seen.append("end")

    def cut(self) -> None:
        self.seen.append("cut")

    async def refuse(self, refusal: Refusal, request_id: str) -> None:
        assert request_id.startswith("igr_")
        self.seen.append(refusal.code)


@dataclass
class ListTraces:
    """Takes traces."""

    told: list[Trace] = field(default_factory=list)

    def tell(self, trace: Trace) -> None:
        self.told.append(trace)

    async def aclose(self) -> None:
        pass


@dataclass
class House:
    """A pipeline with its ports."""

    upstream: Scripted
    who: Principal = field(default_factory=principal)
    max_concurrent: int = 10
    journal: ListJournal = field(default_factory=ListJournal)
    clock: FakeClock = field(default_factory=FakeClock)
    books: Books = field(default_factory=Books)
    finish: bool = False
    limit_s: float = 20.0
    traces: ListTraces | None = None

    def __post_init__(self) -> None:
        rules = Rules(
            max_body_bytes=1000,
            max_concurrent=self.max_concurrent,
            retries=1,
            sandbox=False,
            credentials=(Credential("only"),),
            default_models=DEFAULT_MODELS,
        )
        keys = FileKeys({digest_of("sk-1"): self.who})
        books: Any = self.books
        money = AccountingRules()
        background = Background(
            books, self.upstream, self.journal, self.clock, CATALOG, money, retention_s=1e9
        )
        calendar = ZoneCalendar("UTC")
        keeper = Keeper(books, ListOutbox(), self.journal, self.clock, calendar)
        accounts = Accounts(
            keeper, self.journal, background, self.clock, calendar, CATALOG, money, self.traces
        )
        self.orphans = Orphans(accounts, finish=self.finish, most=2, limit_s=self.limit_s)
        self.pipeline = Pipeline(rules, self.clock, keys, self.upstream, self._spool, accounts, self.orphans)
        self.open_spools = 0

    def _spool(self) -> FileSpool:
        house = self

        class Counted(FileSpool):
            def close(self) -> None:
                super().close()
                house.open_spools -= 1

        self.open_spools += 1
        return Counted()

    def serve(self, client: Listener, asked: Arrival | None = None) -> Coroutine[object, object, None]:
        return self.pipeline.serve(asked or arrival(), client)

    @property
    def record(self) -> Record:
        """The one record there is."""
        (record,) = self.journal.records
        return record


def arrival(path: str = "/v1/images/generations", *, headers: tuple[Header, ...] = JSON) -> Arrival:
    return Arrival("igr_1", "POST", path, b"", headers, FakeClock().ticks())


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_call_that_is_allowed_goes_up_and_its_answer_comes_down() -> None:
    house, client = (
        House(Scripted([Reply(script=[b"one", b"two"])])),
        Listener([b'{"model":"dall-e-2",', b'"prompt":"p"}']),
    )
    await house.serve(client)
    assert client.seen == ["body read", (200, b"application/json"), b"one", b"two", "end"]
    assert [(one.path, one.credential) for one in house.upstream.requests] == [
        ("/images/generations", "only")
    ]
    assert house.upstream.bodies == [b'{"model":"dall-e-2","prompt":"p"}']
    assert house.open_spools == 0
    record = house.record
    assert (record.outcome, record.status, record.model) == (Outcome.COMPLETED, 200, "dall-e-2")
    assert (record.org, record.team, record.key, record.credential) == ("default", "team", "key", "only")
    assert (record.bytes_in, record.bytes_out) == (33, 6)


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
    house, client = House(Scripted([]), who or principal()), Listener()
    await house.serve(client, asked)
    assert client.seen == (["body read", code] if reads_body else [code])
    assert house.upstream.requests == []
    assert house.open_spools == 0
    assert (house.record.outcome, house.record.code, house.record.status) == (
        Outcome.REFUSED,
        code.code,
        code.status,
    )


class TestTraces:
    """One for each request, when all is over."""

    async def test_a_call_was_in_each_stage_once_on_its_way(self) -> None:
        traces = ListTraces()
        await House(Scripted([Reply(script=[b"one"])]), traces=traces).serve(Listener())
        (trace,) = traces.told
        assert [one.name for one in trace.stages] == [
            "identify",
            "admit",
            "parse",
            "admit",
            "reserve",
            "upstream",
            "settle",
        ]
        assert trace.root.attributes["imagegate.outcome"] == "completed"
        assert not any(one.fault for one in (trace.root, *trace.stages))

    @pytest.mark.parametrize(
        ("asked", "who", "faults"),
        [
            pytest.param(arrival("/v1/nothing"), principal(), {}, id="no route"),
            pytest.param(arrival(headers=()), principal(), {"identify": "invalid_api_key"}, id="no key"),
            pytest.param(arrival(), principal(Allow(routes=())), {"admit": "not_allowed"}, id="route"),
            pytest.param(
                arrival(), principal(Allow(models=())), {"admit": "not_allowed", "settle": None}, id="model"
            ),
        ],
    )
    async def test_a_refusal_is_told_of_the_stage_that_said_no(
        self, asked: Arrival, who: Principal, faults: dict[str, str | None]
    ) -> None:
        traces = ListTraces()
        await House(Scripted([]), who, traces=traces).serve(Listener(), asked)
        (trace,) = traces.told
        said = {one.name: one.fault for one in trace.stages}
        assert {name: said[name] for name in faults} == faults
        assert trace.root.fault is None

    async def test_one_too_many_is_a_trace_of_no_stage(self) -> None:
        traces = ListTraces()
        await House(Scripted([]), max_concurrent=0, traces=traces).serve(Listener())
        (trace,) = traces.told
        assert (trace.stages, trace.root.fault) == ((), "overloaded")

    async def test_a_client_that_leaves_leaves_a_call_whose_trace_comes_at_its_end(self) -> None:
        traces, more = ListTraces(), asyncio.Event()
        house = House(Scripted([Reply(headers=SSE, script=[b"one", more, DONE])]), finish=True, traces=traces)
        client = Listener()
        serving = spawn("serve", house.serve(client))
        await settle()
        client.left.set()
        await serving
        assert traces.told == []
        more.set()
        await settle()
        (trace,) = traces.told
        assert trace.root.attributes["imagegate.outcome"] == "client_gone"
        assert [one.name for one in trace.stages][-2:] == ["upstream", "settle"]
        assert trace.stages[-2].fault is None


class TestEndings:
    @pytest.mark.parametrize(
        ("script", "outcome"),
        [
            pytest.param([DONE], Outcome.COMPLETED, id="terminal event"),
            pytest.param([DONE[:30], DONE[30:]], Outcome.COMPLETED, id="terminal event in two pieces"),
            pytest.param([b": ping\n\n"], Outcome.INCOMPLETE, id="no terminal event"),
            pytest.param([], Outcome.INCOMPLETE, id="no event at all"),
            pytest.param([b'event: error\ndata: {"error":{}}\n\n'], Outcome.FAILED, id="error event"),
            pytest.param(
                [b"event: response.incomplete\ndata: {}\n\n"], Outcome.INCOMPLETE, id="stopped early"
            ),
            pytest.param([b"\xff\x00garbage"], Outcome.INCOMPLETE, id="garbage"),
        ],
    )
    async def test_a_stream_ends_as_its_events_say(self, script: list[bytes], outcome: Outcome) -> None:
        house, client = House(Scripted([Reply(headers=SSE, script=script)])), Listener()
        await house.serve(client)
        assert client.seen[2:] == [*script, "end"], "a clean end upstream is a clean end here"
        assert (house.record.outcome, house.record.stream) == (outcome, True)
        assert house.record.upstream_request_id == "req_1"

    @pytest.mark.parametrize(
        ("status", "outcome"), [(200, Outcome.COMPLETED), (400, Outcome.FAILED), (500, Outcome.FAILED)]
    )
    async def test_a_plain_answer_ends_as_its_status_says(self, status: int, outcome: Outcome) -> None:
        house = House(Scripted([Reply(status=status)]))
        await house.serve(Listener())
        assert (house.record.outcome, house.record.status) == (outcome, status)

    async def test_a_failure_before_the_head_is_told(self) -> None:
        house, client = (
            House(Scripted([UpstreamFailed(Failure.UNREACHABLE, phase="read", sent=True)])),
            Listener(),
        )
        await house.serve(client)
        assert client.seen == ["body read", Code.UPSTREAM_UNREACHABLE]
        assert (house.record.outcome, house.record.status) == (Outcome.FAILED, 502)

    @pytest.mark.parametrize("after", [b"one", DONE], ids=["mid-stream", "after the terminal event"])
    async def test_a_break_in_the_middle_cuts_the_client(self, after: bytes) -> None:
        house, client = House(Scripted([Reply(headers=SSE, script=[after, BROKEN])])), Listener()
        await house.serve(client)
        assert client.seen[-2:] == [after, "cut"]
        assert house.record.outcome is Outcome.UPSTREAM_CUT

    @pytest.mark.parametrize(
        ("failure", "code"),
        [
            (Failure.BROKEN_OFF, Code.UPSTREAM_UNREACHABLE),
            (Failure.TIMED_OUT, Code.UPSTREAM_TIMEOUT),
        ],
    )
    async def test_a_plain_answer_that_breaks_off_while_its_head_is_held_is_told(
        self, failure: Failure, code: Code
    ) -> None:
        failed = UpstreamFailed(failure, phase="read", sent=True)
        house, client = House(Scripted([Reply(script=[b"half", failed])])), Listener([ASKED])
        await house.serve(client)
        assert client.seen == ["body read", code], "nothing of the half"
        record = house.record
        assert (record.outcome, record.code) == (Outcome.UPSTREAM_CUT, code.code)
        assert (record.status, record.upstream_status) == (code.status, 200)
        assert (record.bytes_out, record.first_byte_ms) == (0, None)
        assert record.cost_nusd == record.reserved_nusd > 0, "it had been sent"

    async def test_one_that_breaks_off_after_its_head_went_cuts_the_client(self) -> None:
        beginning = b"x" * HELD_BYTES
        house, client = House(Scripted([Reply(script=[beginning, BROKEN])])), Listener()
        await house.serve(client)
        assert client.seen == ["body read", (200, b"application/json"), beginning, "cut"]
        assert (house.record.outcome, house.record.status) == (Outcome.UPSTREAM_CUT, 200)

    @pytest.mark.parametrize("waiting_for", ["head", "chunk"])
    async def test_a_client_that_leaves_ends_the_call(self, waiting_for: str) -> None:
        client, never = Listener(), asyncio.Event()
        reply = Reply(script=[b"one", never])
        house = House(Scripted([never, reply] if waiting_for == "head" else [reply]))
        serving = asyncio.get_running_loop().create_task(house.serve(client))
        await settle()
        client.left.set()
        await serving
        await settle()
        assert reply.closed == (0 if waiting_for == "head" else 1)
        assert house.record.outcome is Outcome.CLIENT_GONE
        assert not {"end", "cut"} & {one for one in client.seen if isinstance(one, str)}

    async def test_a_client_that_leaves_while_sending_never_reaches_the_upstream(self) -> None:
        house = House(Scripted([]))
        await house.serve(Listener(leaves_while_sending=True))
        assert house.record.outcome is Outcome.CLIENT_GONE
        assert house.upstream.requests == []

    async def test_a_fault_of_ours_is_told_without_its_insides(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Faulty(Scripted):
            async def open(self, request: object) -> Reply:
                raise KeyError("sk-secret")

        house, client = House(Faulty([])), Listener()
        await house.serve(client)
        assert client.seen == ["body read", Code.INTERNAL_ERROR]
        assert (house.record.outcome, house.record.status) == (Outcome.FAILED, 500)
        assert "internal error" in caplog.text

    @pytest.mark.parametrize("at", ["waiting for the head", "while it is held", "in a stream"])
    async def test_a_server_that_stops_tells_or_cuts(self, at: str) -> None:
        client, never = Listener(), asyncio.Event()
        answered, started = at != "waiting for the head", at == "in a stream"
        reply = Reply(headers=SSE if started else JSON_HEAD, script=[b"one", never])
        house = House(Scripted([reply] if answered else [never, reply]))
        serving = asyncio.get_running_loop().create_task(house.serve(client))
        await settle()
        serving.cancel()
        await serving
        await settle()
        assert client.seen[-1] == ("cut" if started else Code.SHUTTING_DOWN)
        assert (house.record.outcome, house.record.code) == (Outcome.CANCELLED, "shutting_down")
        assert house.record.status == (200 if started else 503)
        assert house.record.upstream_status == (200 if answered else None)
        assert reply.closed == int(answered)


PICTURE = (
    b'event: image_generation.completed\ndata: {"type":"image_generation.completed","b64_json":"AA","size":"1024x1024",'
    b'"quality":"low","usage":{"input_tokens":10,"output_tokens":472,"total_tokens":482,'
    b'"input_tokens_details":{"text_tokens":10,"image_tokens":0}}}\n\n'
)
PARTIAL = b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image","b64_json":"AA"}\n\n'
ASKED = b'{"model":"gpt-image-1","prompt":"x","size":"1024x1024","quality":"low","stream":true,"partial_images":2}'

PLAINLY = b'{"model":"gpt-image-1","prompt":"x","size":"1024x1024","quality":"low"}'
PLAIN = images_body(usage(272, text=10))


class TestTags:
    """Names that a client gives its call, for the ledger."""

    async def test_they_are_in_the_record_and_in_the_open_call_and_do_not_go_up(self) -> None:
        hold = asyncio.Event()
        house = House(Scripted([hold, Reply(script=[PLAIN])]))
        headers = (*JSON, (b"x-imagegate-tags", b"campaign=spring"), (b"x-imagegate-tags", b"env=prod"))
        serving = asyncio.get_running_loop().create_task(
            house.serve(Listener([PLAINLY]), arrival(headers=headers))
        )
        await settle()
        tags = (("campaign", "spring"), ("env", "prod"))
        assert [call.record.tags for call in house.books.open.values()] == [tags]
        hold.set()
        await serving
        assert house.record.tags == tags
        assert [name for name, _ in house.upstream.requests[0].headers] == [b"content-type"]

    async def test_bad_ones_are_refused_before_the_body_is_read(self) -> None:
        house, client = House(Scripted([])), Listener([PLAINLY])
        await house.serve(client, arrival(headers=(*JSON, (b"x-imagegate-tags", b"spring"))))
        assert client.seen == [Code.INVALID_HEADER]
        assert (house.record.status, house.record.tags) == (400, ())
        assert house.upstream.requests == []

    async def test_what_costs_nothing_is_not_judged_by_them(self) -> None:
        house, client = House(Scripted([Reply(script=[b"{}"])])), Listener([])
        headers = (*JSON, (b"x-imagegate-tags", b"spring"))
        await house.serve(client, Arrival("igr_1", "GET", "/v1/files", b"", headers, FakeClock().ticks()))
        assert client.seen[-1] == "end"


class TestMoney:
    async def test_a_call_is_in_the_ledger_before_it_goes_up_and_settled_after(self) -> None:
        hold = asyncio.Event()
        house = House(Scripted([hold, Reply(headers=SSE, script=[PARTIAL, PARTIAL, PICTURE])]))
        serving = asyncio.get_running_loop().create_task(house.serve(Listener([ASKED])))
        await settle()
        (open_call,) = house.books.open.values()
        assert open_call.dispatched
        assert open_call.record.reserved_nusd >= 472 * 40_000
        hold.set()
        await serving
        assert house.books.open == {}
        (record,) = house.books.records
        assert record == house.record
        assert (record.images, record.partial_images_delivered) == (1, 2)
        assert (record.output_image_tokens, record.partial_image_tokens) == (472, 200)
        assert record.cost_nusd == 472 * 40_000 + 10 * 5_000

    @pytest.mark.parametrize("sent", [False, True])
    async def test_a_call_without_an_answer_costs_nothing_only_if_nothing_was_sent(self, sent: bool) -> None:
        failed = UpstreamFailed(Failure.UNREACHABLE, phase="read", sent=sent)
        house = House(Scripted([failed] * 2))
        await house.serve(Listener([ASKED]))
        assert bool(house.record.cost_nusd) is sent
        assert house.books.records == [house.record]

    async def test_a_ledger_that_cannot_be_written_to_lets_nothing_through(self) -> None:
        house, client = House(Scripted([])), Listener([ASKED])
        house.books.broken = True
        await house.serve(client)
        assert client.seen == ["body read", Code.STORE_UNAVAILABLE]
        assert house.upstream.requests == []

    async def test_a_model_without_a_price_is_refused(self) -> None:
        house, client = House(Scripted([])), Listener([b'{"model":"unheard-of","prompt":"x"}'])
        await house.serve(client)
        assert client.seen == ["body read", Code.NOT_ALLOWED]

    async def test_a_background_response_is_settled_once_by_whoever_sees_its_end(self) -> None:
        def body(status: str) -> bytes:
            usage = b'{"input_tokens":100,"output_tokens":50}' if status == "completed" else b"null"
            return b'{"object":"response","id":"resp_1","model":"gpt-5","status":"%s","usage":%s}' % (
                status.encode(),
                usage,
            )

        script = [
            Reply(script=[body(status)]) for status in ("queued", "in_progress", "completed", "completed")
        ]
        house = House(Scripted([*script]))
        create = arrival("/v1/responses")
        await house.serve(Listener([b'{"model":"gpt-5","input":"x","background":true}']), create)
        assert house.journal.records == []
        assert [call.record.response_id for call in house.books.open.values()] == ["resp_1"]
        for _ in range(3):
            look = Arrival("igr_2", "GET", "/v1/responses/resp_1", b"", JSON, 0.0)
            await house.pipeline.serve(look, Listener([]))
        (record,) = house.books.records
        assert (record.id, record.outcome, record.response_id) == ("igr_1", Outcome.COMPLETED, "resp_1")
        assert record.cost_nusd == 100 * 1_250 + 50 * 10_000

    @pytest.mark.parametrize("answers", [True, False])
    async def test_a_background_response_is_looked_at_before_it_is_deleted(self, *, answers: bool) -> None:
        def body(status: str) -> Reply:
            return Reply(script=[orjson.dumps(response(status=status, tool=None))])

        look = (
            body("completed") if answers else UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=False)
        )
        deleted = Reply(script=[b'{"id":"resp_1","object":"response.deleted","deleted":true}'])
        house = House(Scripted([body("queued"), look, deleted]))
        await house.serve(
            Listener([b'{"model":"gpt-5","input":"x","background":true}']), arrival("/v1/responses")
        )
        client = Listener([])
        await house.pipeline.serve(Arrival("igr_2", "DELETE", "/v1/responses/resp_1", b"", JSON, 0.0), client)
        assert client.seen[1] == (200, b"application/json")
        assert [one.method for one in house.upstream.requests] == ["POST", "GET", "DELETE"]
        assert [(one.id, one.tokens_from) for one in house.books.records] == (
            [("igr_1", TokensFrom.REPORTED)] if answers else []
        )


class TestOrphans:
    """Generations whose client has left."""

    @staticmethod
    async def left(house: House, client: Listener, asked: Arrival | None = None) -> None:
        """Ask, and leave as soon as there is nothing more to get."""
        serving = asyncio.get_running_loop().create_task(house.serve(client, asked))
        await settle()
        client.left.set()
        await serving

    @pytest.mark.parametrize("waiting_for", ["the head", "the picture"])
    async def test_a_generation_is_read_to_its_end_and_charged_as_reported(self, waiting_for: str) -> None:
        hold = asyncio.Event()
        reply = Reply(headers=SSE, script=[PARTIAL, hold, PARTIAL, PICTURE])
        house = House(Scripted([hold, reply] if waiting_for == "the head" else [reply]), finish=True)
        client = Listener([ASKED])
        await self.left(house, client)
        assert (house.journal.records, len(house.orphans)) == ([], 1)
        hold.set()
        await settle()
        assert (house.record.outcome, house.record.tokens_from) == (Outcome.CLIENT_GONE, TokensFrom.REPORTED)
        assert (house.record.output_image_tokens, house.record.images) == (472, 1)
        assert house.books.records == [house.record]
        assert (reply.closed, len(house.orphans), house.open_spools) == (1, 0, 0)

    async def test_beyond_its_time_it_is_cut_and_charged_as_it_can_have_cost(self) -> None:
        reply = Reply(headers=SSE, script=[PARTIAL, asyncio.Event()])
        house = House(Scripted([reply]), finish=True, limit_s=0.01)
        await self.left(house, Listener([ASKED]))
        await asyncio.wait(house.orphans.reading)
        await settle()
        assert house.record.cost_nusd >= 472 * 40_000
        assert reply.closed == 1

    async def test_beyond_their_number_they_are_cut_at_once(self) -> None:
        replies = [Reply(headers=SSE, script=[PARTIAL, asyncio.Event()]) for _ in range(3)]
        house = House(Scripted([*replies]), finish=True)
        for _ in replies:
            await self.left(house, Listener([ASKED]))
        await settle()
        assert len(house.orphans) == 2
        assert [reply.closed for reply in replies] == [0, 0, 1]

    async def test_a_key_may_want_it_otherwise(self) -> None:
        reply = Reply(headers=SSE, script=[PARTIAL, asyncio.Event()])
        house = House(Scripted([reply]), replace(principal(), finish=False), finish=True)
        await self.left(house, Listener([ASKED]))
        await settle()
        assert (reply.closed, len(house.orphans)) == (1, 0)

    async def test_a_client_that_leaves_while_the_head_is_held_leaves_what_was_seen(self) -> None:
        """No chunk is lost, and none is looked at twice: either would make the report unreadable."""
        hold = asyncio.Event()
        at = len(PLAIN) // 2
        house = House(Scripted([Reply(script=[PLAIN[:at], hold, PLAIN[at:]])]), finish=True)
        client = Listener([PLAINLY])
        await self.left(house, client)
        assert (client.seen, len(house.orphans)) == (["body read"], 1)
        hold.set()
        await settle()
        record = house.record
        assert (record.outcome, record.tokens_from) == (Outcome.CLIENT_GONE, TokensFrom.REPORTED)
        assert (record.output_image_tokens, record.images) == (272, 1)
        assert (record.status, record.upstream_status, record.bytes_out) == (None, 200, 0)
        assert house.books.records == [record]

    @pytest.mark.parametrize("finish", [True, False])
    async def test_one_that_leaves_while_a_complete_answer_is_sent_leaves_it_settled(
        self, finish: bool
    ) -> None:
        class Slow(Listener):
            async def send(self, chunk: bytes) -> None:
                await asyncio.Event().wait()

        house, client = House(Scripted([Reply(script=[PLAIN])]), finish=finish), Slow([PLAINLY])
        await self.left(house, client)
        await settle()
        record = house.record
        assert (record.outcome, record.status) == (Outcome.CLIENT_GONE, 200)
        assert client.heads[0][b"x-imagegate-cost-usd"] == usd_text(record.cost_nusd).encode()
        assert (record.tokens_from, record.cost_nusd) == (TokensFrom.REPORTED, 272 * 40_000 + 10 * 5_000)

    @pytest.mark.parametrize(
        ("end", "outcome"),
        [
            ("completed", Outcome.COMPLETED),
            ("failed", Outcome.FAILED),
            ("incomplete", Outcome.INCOMPLETE),
        ],
    )
    @pytest.mark.parametrize("background", [True, False])
    async def test_a_background_stream_ends_as_its_events_say_though_its_client_has_left(
        self, background: bool, end: str, outcome: Outcome
    ) -> None:
        """It is made to be left; a foreground one is not."""
        hold = asyncio.Event()
        shown = response(status=end, tool=None)
        created, ended = (
            event(f"response.{status}", response={**shown, "status": status})
            for status in ("in_progress", end)
        )
        house = House(Scripted([Reply(headers=SSE, script=[created, hold, ended])]), finish=True)
        body = {"model": "gpt-5", "input": "x", "stream": True, "background": background}
        await self.left(house, Listener([orjson.dumps(body)]), arrival("/v1/responses"))
        hold.set()
        await settle()
        assert house.record.outcome is (outcome if background else Outcome.CLIENT_GONE)
        assert house.record.response_id == "resp_1"
        assert house.books.records == [house.record]

    async def test_a_background_stream_whose_line_breaks_after_its_end_has_ended(self) -> None:
        ended = event("response.completed", response=response(tool=None))
        hold = asyncio.Event()
        house = House(Scripted([Reply(headers=SSE, script=[hold, ended, BROKEN])]), finish=True)
        body = b'{"model":"gpt-5","input":"x","stream":true,"background":true}'
        await self.left(house, Listener([body]), arrival("/v1/responses"))
        hold.set()
        await settle()
        assert house.record.outcome is Outcome.COMPLETED

    async def test_one_that_breaks_before_it_is_still_the_clients_leaving_or_goes_on(self) -> None:
        created = event("response.created", response=response(status="in_progress", main=None, tool=None))
        for sent, outcomes, goes_on in (
            (b": nothing yet\n\n", [Outcome.CLIENT_GONE], []),
            (created, [], ["resp_1"]),
        ):
            hold = asyncio.Event()
            house = House(Scripted([Reply(headers=SSE, script=[sent, hold, BROKEN])]), finish=True)
            body = b'{"model":"gpt-5","input":"x","stream":true,"background":true}'
            await self.left(house, Listener([body]), arrival("/v1/responses"))
            hold.set()
            await settle()
            assert [record.outcome for record in house.journal.records] == outcomes
            assert [call.record.response_id for call in house.books.open.values()] == goes_on

    async def test_what_costs_nothing_is_not_read_on(self) -> None:
        reply = Reply(script=[b"{", asyncio.Event()])
        house = House(Scripted([reply]), finish=True)
        client = Listener([])
        serving = asyncio.get_running_loop().create_task(
            house.serve(client, Arrival("igr_1", "GET", "/v1/files", b"", JSON, FakeClock().ticks()))
        )
        await settle()
        client.left.set()
        await serving
        await settle()
        assert (reply.closed, len(house.orphans)) == (1, 0)

    async def test_a_break_after_the_client_left_is_still_the_clients_leaving(self) -> None:
        hold = asyncio.Event()
        house = House(Scripted([Reply(headers=SSE, script=[PARTIAL, hold, BROKEN])]), finish=True)
        await self.left(house, Listener([ASKED]))
        hold.set()
        await settle()
        assert house.record.outcome is Outcome.CLIENT_GONE
        assert house.record.cost_nusd >= 472 * 40_000


async def test_one_request_too_many_is_sent_away_and_the_others_go_on() -> None:
    hold = asyncio.Event()
    house = House(Scripted([Reply(script=[hold, b"one"]), Reply(script=[hold, b"two"])]), max_concurrent=2)
    inside = [Listener(), Listener()]
    serving = [asyncio.get_running_loop().create_task(house.serve(client)) for client in inside]
    await settle()
    shed = Listener()
    await house.serve(shed)
    assert shed.seen == [Code.OVERLOADED]
    hold.set()
    await asyncio.gather(*serving)
    assert [client.seen[-1] for client in inside] == ["end", "end"]
    assert house.pipeline.gate.inside == 0


async def test_a_request_cancelled_at_any_await_leaves_nothing_behind() -> None:
    """As httpcore tests itself: run it as often as it has steps, and cancel it one step later each time."""
    for step in range(60):
        reply = Reply(headers=SSE, script=[b"one", b"two", DONE])
        house, client = House(Scripted([reply])), Listener([b"{", b"}"])
        serving = asyncio.get_running_loop().create_task(house.serve(client))
        for _ in range(step):
            await asyncio.sleep(0)
        finished = serving.done()
        serving.cancel()
        await asyncio.wait([serving])
        await settle()
        assert len(house.journal.records) == (0 if step == 0 else 1)
        assert reply.closed == len(house.upstream.requests)
        assert house.pipeline.gate.inside == house.open_spools == len(house.books.open) == 0
        assert len(asyncio.all_tasks()) == 1
        if finished:
            assert house.record.outcome is Outcome.COMPLETED
            return
    raise AssertionError("the request never came to its end")
