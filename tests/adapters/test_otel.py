import asyncio
import logging
import socket
import threading
from collections.abc import Mapping

import pytest

from gateway.adapters.otel import OtelTraces
from gateway.core.spans import Kind, Span, Trace
from tests.support.otlp import receiving
from tests.support.raw import PATIENCE_S

SECOND = 1_000_000_000
AT = 1_800_000_000 * SECOND
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def span(name: str, kind: Kind, fault: str | None = None) -> Span:
    return Span(
        name=name,
        kind=kind,
        began_ns=AT,
        ended_ns=AT + SECOND,
        attributes={"text": "a", "number": 2**40, "yes": True, "part": 0.5},
        fault=fault,
    )


def trace(parent: Mapping[str, str] | None = None) -> Trace:
    stages = (span("identify", Kind.INTERNAL), span("upstream", Kind.CLIENT, "500"))
    return Trace(span("POST", Kind.SERVER), stages, parent or {})


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS"):
        monkeypatch.delenv(name, raising=False)


async def test_a_trace_arrives_as_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        traces = OtelTraces()
        traces.tell(trace({"traceparent": f"00-{TRACE}-{PARENT}-01"}))
        await traces.aclose()
        (root,) = receiver.roots
        assert (root.name, root.trace, root.parent) == ("POST", TRACE, PARENT)
        assert (root.began_ns, root.ended_ns, root.has_failed) == (AT, AT + SECOND, False)
        assert root.attributes == {"text": "a", "number": 2**40, "yes": True, "part": 0.5}
        assert root.resource["service.name"] == "imagegate"
        found = {one.name: (one.kind, one.has_failed, one.message) for one in receiver.within(root)}
        assert found == {"identify": ("internal", False, ""), "upstream": ("client", True, "500")}


@pytest.mark.parametrize("parent", [{}, {"traceparent": "00-1-2-3"}, {"traceparent": "é" * 55}])
async def test_without_a_trace_of_the_clients_each_request_is_one(
    parent: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        traces = OtelTraces()
        traces.tell(trace(parent))
        traces.tell(trace(parent))
        await traces.aclose()
        assert len({root.trace for root in receiver.roots}) == 2
        assert [root.parent for root in receiver.roots] == ["", ""]


async def test_what_a_client_does_not_want_sampled_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        traces = OtelTraces()
        traces.tell(trace({"traceparent": f"00-{TRACE}-{PARENT}-00"}))
        await traces.aclose()
        assert receiver.spans == []


async def test_the_operator_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "pictures")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.version=7,deployment.environment.name=test")
        traces = OtelTraces()
        traces.tell(trace())
        await traces.aclose()
        said = receiver.roots[0].resource
        assert (said["service.name"], said["service.version"]) == ("pictures", "7")
        assert said["deployment.environment.name"] == "test"


async def test_a_receiver_that_hangs_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{hanging.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        traces = OtelTraces(flush_s=0.05)
        for _ in range(3000):
            traces.tell(trace())
        async with asyncio.timeout(20):
            await traces.aclose()
    assert "the last traces could not be sent in 0.05 s" in caplog.text
    # It goes on trying, and rolls dice for how long it waits: other tests have dice of their own.
    for thread in threading.enumerate():
        if thread.name == "traces":
            await asyncio.to_thread(thread.join, PATIENCE_S)
            assert not thread.is_alive()


async def test_a_header_that_cannot_be_read_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "Bearer the-secret")
        with caplog.at_level(logging.DEBUG):
            traces = OtelTraces()
            traces.tell(trace())
            await traces.aclose()
        assert len(receiver.roots) == 1
    assert "a header for the OTLP receiver is not name=value" in caplog.text
    assert "the-secret" not in caplog.text
