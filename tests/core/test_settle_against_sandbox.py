"""
What we settle for real answers of the sandbox, against the sandbox's own books, request by request.

Where the upstream reported, the two are equal to the nano-dollar, line by line; where it did not, ours is never less.
"""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest

from gateway.core import strictjson
from gateway.core.call import FORM_FIELDS, Call, read_form, read_json
from gateway.core.meter import Meter
from gateway.core.multipart import FormReader, boundary_of
from gateway.core.observation import Ending, unanswered
from gateway.core.record import TokensFrom
from gateway.core.routes import match
from gateway.core.settle import Settlement
from tests.support.replies import observed, settled
from tests.support.sandbox import sandbox
from tests.support.sandbox_client import data_url, invoice, png

EQUAL, NOT_LESS = "equal", "not less"
SMALL: dict[str, object] = {"prompt": "a red fox", "size": "1024x1024", "quality": "low"}
TOOL = {"type": "image_generation", "size": "1024x1024", "quality": "low"}


def drawing(tool: dict[str, object] | None = None, **fields: object) -> dict[str, object]:
    return {"model": "gpt-5", "input": "draw a red fox", "tools": [{**TOOL, **(tool or {})}], **fields}


IMAGES: list[tuple[str, dict[str, object], str, str]] = [
    ("plain", SMALL, "", EQUAL),
    ("two", {**SMALL, "n": 2}, "", EQUAL),
    ("auto", {"prompt": "a fox", "model": "gpt-image-1"}, "", EQUAL),
    ("portrait", {**SMALL, "model": "gpt-image-1-mini", "size": "1024x1536"}, "", EQUAL),
    ("any size", {**SMALL, "model": "gpt-image-2", "size": "1024x640"}, "", EQUAL),
    (
        "resolved otherwise",
        {**SMALL, "model": "gpt-image-2"},
        "size_out=1040x1040; quality_out=medium",
        EQUAL,
    ),
    ("no details", SMALL, "usage=no_details", EQUAL),
    ("not reported", {**SMALL, "model": "gpt-image-1.5"}, "usage=omit", NOT_LESS),
    ("new model", {**SMALL, "model": "gpt-image-7"}, "", EQUAL),
    ("svg", {**SMALL, "output_format": "svg", "svg": {"model": "gpt-5.4"}}, "", EQUAL),
    ("gif", {**SMALL, "output_format": "gif", "frame_count": 2}, "", EQUAL),
    ("dall-e-3", {"model": "dall-e-3", "prompt": "x", "quality": "hd"}, "", EQUAL),
    ("dall-e-2", {"model": "dall-e-2", "prompt": "x", "n": 2, "size": "256x256"}, "", EQUAL),
    ("blocked at input", SMALL, "moderate=input", EQUAL),
    ("blocked at output", SMALL, "moderate=output", EQUAL),
    (
        "blocked after partial images",
        {**SMALL, "stream": True, "partial_images": 2},
        "moderate=output",
        NOT_LESS,
    ),
    ("refused", {**SMALL, "size": "7x7"}, "", EQUAL),
    ("500", SMALL, "fail=500", EQUAL),
    ("429", SMALL, "fail=429", EQUAL),
    ("504", SMALL, "fail=504", NOT_LESS),
    ("cut", SMALL, "fail=mid-stream", NOT_LESS),
    ("lost", SMALL, "fail=lost", NOT_LESS),
    ("streamed", {**SMALL, "stream": True}, "", EQUAL),
    ("two partial images", {**SMALL, "stream": True, "partial_images": 2}, "chunk=4096", EQUAL),
    ("fewer", {**SMALL, "stream": True, "partial_images": 3}, "partials=1", EQUAL),
    ("more", {**SMALL, "stream": True, "partial_images": 1}, "partials=3", EQUAL),
    ("unasked", {**SMALL, "stream": True}, "partials=2", EQUAL),
    ("left out", {**SMALL, "stream": True, "partial_images": 2}, "usage=without_surcharge", EQUAL),
    ("stream not reported", {**SMALL, "stream": True, "partial_images": 2}, "usage=omit", NOT_LESS),
    ("error event", {**SMALL, "stream": True}, "fail=error-event", EQUAL),
    ("error after a partial", {**SMALL, "stream": True, "partial_images": 2}, "fail=error-event", NOT_LESS),
    ("stream cut", {**SMALL, "stream": True, "partial_images": 3}, "fail=mid-stream", NOT_LESS),
    ("cut in the last event", {**SMALL, "stream": True}, "fail=mid-stream", NOT_LESS),
]

RESPONSES: list[tuple[str, dict[str, object], str, str]] = [
    ("plain", drawing(), "", EQUAL),
    ("words only", {"model": "gpt-5.4", "input": "hello"}, "", EQUAL),
    ("named tool", drawing({"model": "gpt-image-1.5"}), "", EQUAL),
    ("two images", drawing({"model": "gpt-image-1"}), "image_calls=2", EQUAL),
    ("none", drawing(), "image_calls=0", EQUAL),
    ("streamed", drawing({"partial_images": 2}, stream=True), "chunk=5000", EQUAL),
    ("three images", drawing({"partial_images": 1}, stream=True), "image_calls=3", EQUAL),
    ("left out", drawing({"partial_images": 2}, stream=True), "usage=without_surcharge", EQUAL),
    ("no tool usage", drawing({"partial_images": 2}, stream=True), "tool_usage=omit", NOT_LESS),
    ("no usage", drawing(), "usage=omit", NOT_LESS),
    ("priority", drawing(service_tier="priority"), "", EQUAL),
    ("fast", drawing(service_tier="fast"), "", EQUAL),
    ("flex", drawing(service_tier="flex"), "", EQUAL),
    ("blocked", drawing(), "moderate=output", EQUAL),
    ("incomplete", drawing(max_output_tokens=90), "", EQUAL),
    ("svg", drawing({"output_format": "svg"}), "", EQUAL),
    (
        "an image to look at",
        drawing(
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "more"},
                        {"type": "input_image", "image_url": data_url(png())},
                    ],
                }
            ]
        ),
        "",
        EQUAL,
    ),
    (
        "a tool brought along",
        {
            "model": "gpt-5",
            "input": [
                {"role": "user", "content": "a fox"},
                {"type": "additional_tools", "tools": [{**TOOL, "model": "gpt-image-1"}]},
            ],
            "tools": [TOOL],
        },
        "",
        EQUAL,
    ),
    ("failed", drawing(stream=True), "fail=error-event", EQUAL),
    ("failed flat", drawing(stream=True), "fail=error-event; error_form=flat", EQUAL),
    ("cut", drawing({"partial_images": 2}, stream=True), "fail=mid-stream", NOT_LESS),
    ("cut at the end", drawing(stream=True), "fail=mid-stream", NOT_LESS),
    ("plain cut", drawing(), "fail=mid-stream", NOT_LESS),
    ("500", drawing(), "fail=500", EQUAL),
]


@pytest.fixture(scope="module")
def http() -> Iterator[httpx2.Client]:
    with (
        sandbox() as url,
        httpx2.Client(base_url=url, headers={"authorization": "Bearer sk-any"}, trust_env=False) as client,
    ):
        yield client


def charge_of(http: httpx2.Client, request_id: str | None) -> dict[str, Any]:
    nothing = {"nano_dollars": 0, "lines": []}
    charges = invoice(http)["charges"]
    # An answer without a head has no id: it is the newest charge.
    if request_id is None:
        return dict(charges[-1])
    return next((one for one in charges if one["request_id"] == request_id), nothing)


def exchange(
    http: httpx2.Client,
    path: str,
    steering: str,
    call: Call,
    *,
    leave_after: int | None = None,
    **request: Any,
) -> tuple[Settlement, dict[str, Any]]:
    """One call of the sandbox, metered and settled, and what the sandbox billed for it."""
    headers = {"x-sandbox": steering} if steering else {}
    seen, request_id = unanswered(sent=True), None
    try:
        with http.stream(
            "POST", f"/v1/{path}", headers={**request.pop("headers", {}), **headers}, **request
        ) as reply:
            request_id = reply.headers["x-request-id"]
            raw = [(name.lower(), value) for name, value in reply.headers.raw]
            meter, ending, passed = Meter(reply.status_code, raw), Ending.CLEAN, 0
            try:
                for chunk in reply.iter_raw():
                    meter.feed(chunk)
                    passed += len(chunk)
                    if leave_after is not None and passed >= leave_after:
                        ending = Ending.LEFT
                        break
            except httpx2.TransportError:
                ending = Ending.BROKEN
            seen = meter.close(ending)
    except httpx2.TransportError:
        pass
    return settled(seen, call), charge_of(http, request_id)


def compare(ours: Settlement, theirs: dict[str, Any], how: str) -> None:
    if how == NOT_LESS:
        assert ours.cost_nusd >= theirs["nano_dollars"]
        image = sum(line["tokens"]["output_image"] for line in theirs["lines"])
        assert ours.output_image_tokens >= image
        return
    assert ours.cost_nusd == theirs["nano_dollars"]
    kinds = ("input_text", "input_image", "cached_text", "output_image", "output_text")
    told = [
        (line.model, line.role.value, {kind: getattr(line, kind) for kind in kinds}) for line in ours.lines
    ]
    billed = [
        (line["model"], line["kind"], {kind: line["tokens"][kind] for kind in kinds})
        for line in theirs["lines"]
    ]
    assert sorted(told, key=str) == sorted(billed, key=str)
    assert ours.images == sum(line["images"] for line in theirs["lines"])


def read(path: str, body: bytes) -> Call:
    found = match("POST", f"/{path}")
    assert found is not None
    return read_json(found, strictjson.loads(body))


@pytest.mark.parametrize(
    ("body", "steering", "how"), [case[1:] for case in IMAGES], ids=[case[0] for case in IMAGES]
)
def test_generations_cost_what_the_sandbox_bills(
    http: httpx2.Client, body: dict[str, object], steering: str, how: str
) -> None:
    sent = orjson.dumps(body)
    path = "images/generations"
    ours, theirs = exchange(http, path, steering, read(path, sent), content=sent)
    compare(ours, theirs, how)


@pytest.mark.parametrize(
    ("body", "steering", "how"), [case[1:] for case in RESPONSES], ids=[case[0] for case in RESPONSES]
)
def test_responses_cost_what_the_sandbox_bills(
    http: httpx2.Client, body: dict[str, object], steering: str, how: str
) -> None:
    sent = orjson.dumps(body)
    ours, theirs = exchange(http, "responses", steering, read("responses", sent), content=sent)
    compare(ours, theirs, how)


@pytest.mark.parametrize(
    ("fields", "steering", "how"),
    [
        ({}, "", EQUAL),
        ({"stream": "true", "partial_images": "2"}, "", EQUAL),
        ({"stream": "true", "partial_images": "2"}, "usage=without_surcharge", EQUAL),
        ({"input_fidelity": "high", "model": "gpt-image-1"}, "", EQUAL),
        ({"model": "gpt-image-1", "input_fidelity": "high"}, "usage=omit", NOT_LESS),
        ({"model": "gpt-image-2", "n": "2"}, "usage=omit", NOT_LESS),
    ],
)
def test_edits_by_form_cost_what_the_sandbox_bills(
    http: httpx2.Client, fields: dict[str, str], steering: str, how: str
) -> None:
    files = [
        ("image[]", ("a.png", png(), "image/png")),
        ("image[]", ("b.png", png((1024, 512)), "image/png")),
    ]
    request = http.build_request("POST", "/v1/images/edits", data={**SMALL, **fields}, files=files)
    content, kind = request.read(), request.headers["content-type"]
    reader = FormReader(boundary_of(kind.encode()), FORM_FIELDS)
    reader.feed(content)
    found = match("POST", "/images/edits")
    assert found is not None
    call = read_form(found, reader.close())
    ours, theirs = exchange(
        http, "images/edits", steering, call, content=content, headers={"content-type": kind}
    )
    compare(ours, theirs, how)


def test_edits_by_json_and_variations_cost_what_the_sandbox_bills(http: httpx2.Client) -> None:
    sent = orjson.dumps({**SMALL, "images": [{"image_url": data_url(png((300, 200)))}]})
    ours, theirs = exchange(http, "images/edits", "", read("images/edits", sent), content=sent)
    compare(ours, theirs, EQUAL)


@pytest.mark.parametrize("leave_after", [1, 2_000_000])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("images/generations", {**SMALL, "stream": True, "partial_images": 3}),
        ("responses", drawing({"partial_images": 3}, stream=True)),
    ],
)
def test_a_stream_that_is_left_costs_no_less_than_the_sandbox_bills(
    http: httpx2.Client, path: str, body: dict[str, object], leave_after: int
) -> None:
    sent = orjson.dumps(body)
    ours, theirs = exchange(http, path, "", read(path, sent), content=sent, leave_after=leave_after)
    compare(ours, theirs, NOT_LESS)


def test_a_background_response_costs_at_its_end_what_the_sandbox_bills(http: httpx2.Client) -> None:
    sent = orjson.dumps(drawing(background=True))
    call = read("responses", sent)
    started = http.post("/v1/responses", content=sent)
    seen = observed(started.content)
    for _ in range(20_000):
        body = http.get(f"/v1/responses/{started.json()['id']}")
        seen = observed(body.content)
        if not seen.pending:
            break
    theirs = charge_of(http, started.headers["x-request-id"])
    compare(settled(seen, call), theirs, EQUAL)
    assert settled(seen, call).tokens_from is TokensFrom.REPORTED


def test_compacting_costs_what_the_sandbox_bills(http: httpx2.Client) -> None:
    sent = orjson.dumps({"model": "gpt-5", "input": "hello " + base64.b64encode(b"x" * 90).decode()})
    path = "responses/compact"
    ours, theirs = exchange(http, path, "", read(path, sent), content=sent)
    compare(ours, theirs, EQUAL)


def test_a_second_turn_costs_what_the_sandbox_bills(http: httpx2.Client) -> None:
    first = http.post(
        "/v1/responses", content=orjson.dumps(drawing(input="draw " + "a very long story " * 40))
    )
    sent = orjson.dumps(drawing(previous_response_id=first.json()["id"]))
    ours, theirs = exchange(http, "responses", "", read("responses", sent), content=sent)
    compare(ours, theirs, EQUAL)
    assert any(line.cached_text for line in ours.lines)
