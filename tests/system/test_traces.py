"""Traces of a real gateway, as a real receiver gets them."""

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.books import eventually
from tests.support.otlp import Received, Receiver, receiving
from tests.support.process import KEY, Running, gateway_process, sandbox_process

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

PATH = "/v1/images/generations"
FOX: dict[str, Any] = {
    "model": "gpt-image-1",
    "prompt": "a fox at dawn",
    "quality": "low",
    "size": "1024x1024",
}
PARENT = "b7ad6b7169203331"
PAID = ["identify", "admit", "parse", "admit", "look-up", "reserve", "upstream", "settle"]
LIMITED = 'limits = ["$9 per day"]\n'
"""Of the key: what it asks for is counted."""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver that every gateway of the test is told of."""
    for name in [one for one in os.environ if one.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    with receiving() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=of-the-receiver")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield found


def workers(number: int) -> str:
    return f"{LIMITED}[server]\nworkers = {number}\n"


def trace_id(number: int) -> str:
    return f"{number:032x}"


async def ask(
    gateway: Running, number: int, body: Mapping[str, Any] = FOX, *, key: str = KEY, steering: str = ""
) -> httpx2.Response:
    """A call that is part of the client's trace of this number."""
    headers = {
        "authorization": f"Bearer {key}",
        "traceparent": f"00-{trace_id(number)}-{PARENT}-01",
        "x-sandbox": steering,
    }
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=60) as http:
        return await http.post(PATH, json=body, headers=headers)


async def root_of(receiver: Receiver, number: int) -> Received:
    """The one span of this trace that is a request's, once it has come."""
    found: list[Received] = []

    async def has_come() -> bool:
        found[:] = [root for root in receiver.roots if root.trace == trace_id(number)]
        return bool(found)

    await eventually(has_come, told=lambda: f"{[root.trace for root in receiver.roots]}")
    (root,) = found
    assert root.parent == PARENT
    return root


def names(receiver: Receiver, root: Received) -> list[str]:
    """Of the stages, in their order; all of them within the request's time, and in its trace."""
    stages = receiver.within(root)
    assert len(stages) == len([one for one in receiver.spans if one.trace == root.trace]) - 1
    assert all(root.began_ns <= one.began_ns <= one.ended_ns <= root.ended_ns for one in stages)
    return [one.name for one in stages]


@pytest.mark.parametrize("number", [1, 2])
async def test_calls_arrive_as_traces_from_every_worker(
    number: int, tmp_path: Path, receiver: Receiver
) -> None:
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=workers(number), cached=True) as gateway,
    ):
        plain = await ask(gateway, 1)
        root = await root_of(receiver, 1)
        assert names(receiver, root) == PAID
        assert (root.name, root.has_failed) == (f"POST {PATH}", False)
        said = root.attributes
        assert (said["gen_ai.operation.name"], said["gen_ai.provider.name"]) == ("generate_content", "openai")
        assert said["gen_ai.request.model"] == "gpt-image-1"
        assert said["http.response.status_code"] == 200
        assert (said["imagegate.team"], said["imagegate.key"]) == ("team", "key")
        assert (said["imagegate.cache"], said["imagegate.outcome"]) == ("miss", "completed")
        assert said["imagegate.cost_nusd"] == round(float(plain.headers["x-imagegate-cost-usd"]) * 1e9)
        tokens = int(plain.headers["x-imagegate-output-image-tokens"])
        assert said["imagegate.output_image_tokens"] == tokens
        upstream = next(one for one in receiver.within(root) if one.name == "upstream")
        assert (upstream.kind, upstream.attributes["http.response.status_code"]) == ("client", 200)
        usage = plain.json()["usage"]
        assert upstream.attributes["gen_ai.usage.input_tokens"] == usage["input_tokens"]
        assert upstream.attributes["gen_ai.usage.output_tokens"] == usage["output_tokens"]
        assert root.resource["service.name"] == "imagegate"

        hit = await ask(gateway, 2)
        assert hit.content == plain.content
        root = await root_of(receiver, 2)
        assert names(receiver, root) == ["identify", "admit", "parse", "admit", "look-up", "settle"]
        assert (root.attributes["imagegate.cache"], root.attributes["imagegate.cost_nusd"]) == ("hit", 0)
        assert root.attributes["imagegate.saved_nusd"] == said["imagegate.cost_nusd"]

        stream = {**FOX, "prompt": "another fox", "stream": True, "partial_images": 1}
        assert "partial_image" in (await ask(gateway, 3, stream)).text
        root = await root_of(receiver, 3)
        assert names(receiver, root) == PAID
        assert root.attributes["imagegate.stream"] is True
        assert root.attributes["imagegate.partial_image_tokens"] > 0

        assert (await ask(gateway, 4, key="sk-nobody")).status_code == 401
        root = await root_of(receiver, 4)
        (identify,) = receiver.within(root)
        assert (identify.name, identify.has_failed, identify.message) == ("identify", True, "invalid_api_key")
        assert (root.has_failed, root.attributes["error.type"]) == (False, "invalid_api_key")

        failing = {**FOX, "prompt": "no fox"}
        assert (await ask(gateway, 5, failing, steering="fail=500")).status_code == 500
        root = await root_of(receiver, 5)
        upstream = next(one for one in receiver.within(root) if one.name == "upstream")
        assert (root.has_failed, upstream.has_failed, upstream.message) == (True, True, "500")

        async with httpx2.AsyncClient(base_url=sandbox.url) as http:
            asked = await http.get("/_sandbox/requests")
        assert "traceparent" not in asked.text.lower()
        assert trace_id(1) not in asked.text
    assert {one["x-token"] for one in receiver.headers} == {"of-the-receiver"}
    sent = b"".join(receiver.bodies)
    for secret in (KEY, "sk-up", "sk-nobody", "of-the-receiver", "fox", plain.json()["data"][0]["b64_json"]):
        assert secret.encode() not in sent


async def test_whoever_is_given_what_another_call_brings_follows(tmp_path: Path, receiver: Receiver) -> None:
    with (
        sandbox_process(tmp_path, speed="1") as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=workers(1), cached=True) as gateway,
    ):
        headers = {"authorization": f"Bearer {KEY}", "x-sandbox": "delay_ms=2000"}
        body = {**FOX, "stream": True, "partial_images": 1}
        async with (
            httpx2.AsyncClient(base_url=gateway.url, timeout=60) as http,
            http.stream("POST", PATH, json=body, headers=headers) as leader,
        ):
            await ask(gateway, 1, body, steering="delay_ms=2000")
            await leader.aread()
        root = await root_of(receiver, 1)
        assert names(receiver, root) == ["identify", "admit", "parse", "admit", "look-up", "follow", "settle"]
        assert (root.attributes["imagegate.cache"], root.attributes["imagegate.cost_nusd"]) == (
            "collapsed",
            0,
        )


@pytest.mark.parametrize("number", [1, 2])
async def test_what_is_held_is_sent_before_the_gateway_ends(
    number: int, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with gateway_process("http://127.0.0.1:9/v1", tmp_path, rest=workers(number)) as gateway:
        for one in range(6):
            assert (await ask(gateway, one + 1)).status_code == 502
        assert receiver.bodies == []
    assert {root.trace for root in receiver.roots} == {trace_id(one + 1) for one in range(6)}
    assert all(root.has_failed for root in receiver.roots)


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_receiver_that_hangs_or_is_away_costs_no_request_anything(
    is_there: bool, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        port = hanging.getsockname()[1] if is_there else 9
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        with (
            sandbox_process(tmp_path) as sandbox,
            gateway_process(f"{sandbox.url}/v1", tmp_path, rest=workers(1), cached=True) as gateway,
        ):
            for number in range(20):
                assert (await ask(gateway, number + 1)).status_code == 200
            process, log = gateway.process, gateway.log
        # It was told to stop, and did: nobody had to kill it.
        assert process.returncode == -signal.SIGTERM
        assert "Traceback" not in log.read_text()
    assert receiver.bodies == []
