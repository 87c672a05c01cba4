"""Names that others chose, in what is written down: plain signs, and nothing that looks like a key."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.adapters.journal import LogJournal
from gateway.adapters.log import JsonFormatter
from gateway.core.record import Outcome, Record
from tests.support.answers import read_answer
from tests.support.gateway import live_gateway
from tests.support.raw import raw_client, request_bytes
from tests.support.scripted import Reply, Scripted
from tests.support.waiting import until

STRANGE = {
    "a line of its own": 'gpt-image-1\n{"level":"error","message":"all is lost"}',
    "colours of a terminal": "gpt-image-1\x1b[2J\x1b[31mred",
    "a key": "gpt-image-sk-proj-0123456789abcdef",
    "no Latin": "gpt-image-\u202eeslaf",
    "far too long": "gpt-image-" + "x" * 5000,
}
SIGNS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/+-?…")


def strings(value: object) -> Iterator[str]:
    """All of them, in whatever holds them."""
    match value:
        case str():
            yield value
        case dict():
            for each in value.values():
                yield from strings(each)
        case list() | tuple():
            for each in value:
                yield from strings(each)
        case _:
            pass


def told(record: Record, caplog: pytest.LogCaptureFixture) -> str:
    """Its line in the log."""
    with caplog.at_level(logging.INFO):
        LogJournal().write(record)
    return JsonFormatter().format(caplog.records[-1])


async def record_of(path: str, body: dict[str, Any], answer: dict[str, Any], status: int = 200) -> Record:
    """The ledger's, of a call with this answer."""
    headers = ((b"content-type", b"application/json"), (b"x-request-id", b"req_\x1b[2J_sk-abc"))
    reply = Reply(status=status, headers=headers, script=[json.dumps(answer).encode()])
    async with live_gateway("http://unused", upstream=Scripted([reply])) as gateway:
        async with raw_client(gateway.port) as wire:
            await wire.write(request_bytes("POST", path, json.dumps(body).encode()))
            assert (await read_answer(wire)).status == status
        # The record is written after the answer.
        await until(lambda: bool(gateway.records))
        found = None
        while found is None:
            found = await gateway.ledger.record(gateway.records[0].id)
        return found


def check(record: Record, caplog: pytest.LogCaptureFixture) -> None:
    words = list(strings(dataclasses.asdict(record)))
    assert [word for word in words if len(word) > 128 or "sk-" in word or not SIGNS.issuperset(word)] == []
    line = told(record, caplog)
    assert "sk-" not in line
    assert json.loads(line)["id"] == record.id


@pytest.mark.parametrize("name", STRANGE.values(), ids=list(STRANGE))
async def test_what_a_client_names_is_written_in_plain_signs(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"model": name, "prompt": "x", "size": name, "quality": name}
    record = await record_of("/v1/images/generations", body, {"created": 1, "data": [{"b64_json": "AA"}]})
    assert record.cost_nusd > 0
    check(record, caplog)


@pytest.mark.parametrize("name", STRANGE.values(), ids=list(STRANGE))
async def test_so_is_the_model_of_an_image_tool(name: str, caplog: pytest.LogCaptureFixture) -> None:
    tool = {"type": "image_generation", "model": name, "size": name, "quality": name}
    body = {"model": "gpt-5", "input": "x", "tools": [tool]}
    answer = {"object": "response", "id": "resp_1", "status": "completed", "model": "gpt-5", "tools": [tool]}
    check(await record_of("/v1/responses", body, answer), caplog)


@pytest.mark.parametrize("name", STRANGE.values(), ids=list(STRANGE))
async def test_so_is_what_the_upstream_names(name: str, caplog: pytest.LogCaptureFixture) -> None:
    picture = {
        "id": "ig_1",
        "type": "image_generation_call",
        "status": "completed",
        "result": "AA",
        "size": name,
        "quality": name,
    }
    answer = {
        "object": "response",
        "id": "resp_1",
        "status": "completed",
        "model": name,
        "service_tier": name,
        "tools": [{"type": "image_generation", "model": name}],
        "output": [picture],
    }
    check(await record_of("/v1/responses", {"model": "gpt-5", "input": "x"}, answer), caplog)


@pytest.mark.parametrize("name", STRANGE.values(), ids=list(STRANGE))
async def test_so_is_the_code_of_an_error(name: str, caplog: pytest.LogCaptureFixture) -> None:
    body = {"model": "gpt-image-1", "prompt": "x"}
    error = {"error": {"message": name, "type": name, "param": name, "code": name}}
    record = await record_of("/v1/images/generations", body, error, 400)
    assert record.outcome is Outcome.FAILED
    check(record, caplog)
