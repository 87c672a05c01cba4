from dataclasses import replace

import pytest

from gateway.core.record import CacheUse, Outcome, Record, TokensFrom
from gateway.core.spans import Kind, Span, Stage, Stay, Trace, trace_of
from gateway.core.units import NanoUSD

PAID = Record(
    id="igr_1",
    at=1_800_000_000.0,
    method="POST",
    outcome=Outcome.COMPLETED,
    status=200,
    org="org",
    team="design",
    key="plain",
    route="images.generations",
    model="gpt-image-1",
    cache=CacheUse.MISS,
    images=2,
    input_text_tokens=10,
    input_image_tokens=20,
    cached_input_tokens=5,
    output_image_tokens=400,
    partial_image_tokens=300,
    output_text_tokens=7,
    tokens_from=TokensFrom.REPORTED,
    cost_nusd=NanoUSD(1_000_000_007),
    upstream_status=200,
    upstream_request_id="req_1",
    response_id="resp_1",
    credential="default",
    duration_ms=3000.0,
)
STAYS = (
    Stay(Stage.IDENTIFY, 50.0, 50.25),
    Stay(Stage.UPSTREAM, 50.5, 52.5),
    Stay(Stage.SETTLE, 52.75, 53.0),
)
REFUSED = replace(
    PAID,
    outcome=Outcome.REFUSED,
    status=429,
    code="budget_exceeded",
    refused_by="team",
    upstream_status=None,
    tokens_from=TokensFrom.NONE,
)


def trace(record: Record = PAID, stays: tuple[Stay, ...] = STAYS, *, is_pending: bool = False) -> Trace:
    return trace_of(
        record, stays, (), template="images/generations", began=50.0, ended=53.0, is_pending=is_pending
    )


def stage(found: Trace, name: str) -> Span:
    return next(one for one in found.stages if one.name == name)


def test_a_request_is_a_span_and_each_stage_one_within_its_time() -> None:
    found = trace()
    assert (found.root.name, found.root.kind) == ("POST /v1/images/generations", Kind.SERVER)
    second = 1_000_000_000
    arrived = 1_800_000_000 * second
    assert (found.root.began_ns, found.root.ended_ns) == (arrived, arrived + 3 * second)
    assert [(one.name, one.kind, one.began_ns - arrived, one.ended_ns - arrived) for one in found.stages] == [
        ("identify", Kind.INTERNAL, 0, second // 4),
        ("upstream", Kind.CLIENT, second // 2, 5 * second // 2),
        ("settle", Kind.INTERNAL, 11 * second // 4, 3 * second),
    ]


def test_what_it_was_and_what_it_cost_are_said_of_the_whole() -> None:
    assert trace().root.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/images/generations",
        "http.response.status_code": 200,
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "image",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-image-1",
        "imagegate.id": "igr_1",
        "imagegate.route": "images.generations",
        "imagegate.org": "org",
        "imagegate.team": "design",
        "imagegate.key": "plain",
        "imagegate.outcome": "completed",
        "imagegate.cache": "miss",
        "imagegate.stream": False,
        "imagegate.cost_nusd": 1_000_000_007,
        "imagegate.saved_nusd": 0,
        "imagegate.output_image_tokens": 400,
        "imagegate.partial_image_tokens": 300,
        "imagegate.images": 2,
    }


def test_what_was_used_is_said_once_where_it_was_used() -> None:
    """Whoever adds up usage over all spans counts each token once."""
    found = trace()
    used = stage(found, "upstream").attributes
    assert used["gen_ai.usage.input_tokens"] == 30
    assert used["gen_ai.usage.output_tokens"] == 407
    assert used["gen_ai.usage.cache_read.input_tokens"] == 5
    assert used["gen_ai.response.id"] == "resp_1"
    assert used["imagegate.upstream_request_id"] == "req_1"
    others = (found.root, stage(found, "identify"), stage(found, "settle"))
    assert not any(name.startswith("gen_ai.usage") for one in others for name in one.attributes)


def test_what_runs_on_upstream_has_no_cost_yet() -> None:
    found = trace(is_pending=True)
    assert found.root.attributes["imagegate.pending"] is True
    assert "imagegate.cost_nusd" not in found.root.attributes
    assert "gen_ai.usage.output_tokens" not in stage(found, "upstream").attributes


@pytest.mark.parametrize(
    ("route", "asked"),
    [
        ("images.edits", ("generate_content", "image")),
        ("responses.create", ("chat", None)),
        ("responses.retrieve", (None, None)),
        (None, (None, None)),
    ],
)
def test_an_operation_is_named_where_something_is_to_be_made(
    route: str | None, asked: tuple[str | None, str | None]
) -> None:
    said = trace(replace(PAID, route=route)).root.attributes
    assert (said.get("gen_ai.operation.name"), said.get("gen_ai.output.type")) == asked


def test_a_refusal_is_an_error_of_its_stage_and_none_of_the_server() -> None:
    found = trace(REFUSED, (Stay(Stage.RESERVE, 50.0, 51.0, "budget_exceeded"),))
    assert found.root.fault is None
    assert found.root.attributes["error.type"] == "budget_exceeded"
    assert found.root.attributes["imagegate.refused_by"] == "team"
    assert stage(found, "reserve").fault == "budget_exceeded"
    assert stage(found, "reserve").attributes == {"error.type": "budget_exceeded"}


BROKEN = replace(PAID, outcome=Outcome.UPSTREAM_CUT, code="upstream_cut")
SILENT = replace(PAID, outcome=Outcome.FAILED, status=502, code="upstream_unreachable", upstream_status=None)
LEFT = replace(PAID, outcome=Outcome.CLIENT_GONE, status=None, upstream_status=None)


@pytest.mark.parametrize(
    ("record", "whole", "upstream"),
    [
        (PAID, None, None),
        (replace(PAID, outcome=Outcome.FAILED, status=500, upstream_status=500), "500", "500"),
        (replace(PAID, outcome=Outcome.FAILED, status=400, upstream_status=400), None, "400"),
        (replace(PAID, outcome=Outcome.FAILED), "failed", "failed"),
        (BROKEN, "upstream_cut", "upstream_cut"),
        (SILENT, "upstream_unreachable", "upstream_unreachable"),
        (LEFT, None, None),
        (replace(LEFT, outcome=Outcome.CANCELLED, status=503, code="shutting_down"), "shutting_down", None),
        # What is kept was given in its place.
        (replace(PAID, upstream_status=503), None, "503"),
        (replace(PAID, upstream_status=None), None, "failed"),
    ],
)
def test_a_failure_is_one_of_the_side_that_failed(
    record: Record, whole: str | None, upstream: str | None
) -> None:
    found = trace(record)
    assert (found.root.fault, stage(found, "upstream").fault) == (whole, upstream)


def test_what_a_stranger_made_up_is_in_no_name() -> None:
    record = replace(REFUSED, method="sk-secret", route=None, model=None, status=404, code="unknown_url")
    found = trace_of(record, (), (), template=None, began=0.0, ended=1.0)
    assert found.root.name == "_OTHER"
    assert "sk-secret" not in str(found)


def test_the_clients_own_trace_is_handed_on_as_it_was_sent() -> None:
    headers = ((b"traceparent", b"00-1-2-01"), (b"tracestate", b"a=1"), (b"tracestate", b"b=2"))
    found = trace_of(PAID, (), headers, template=None, began=0.0, ended=1.0)
    assert found.parent == {"traceparent": "00-1-2-01", "tracestate": "a=1,b=2"}
    assert trace().parent == {}
