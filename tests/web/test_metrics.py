import asyncio
from collections.abc import Sequence

import httpx2
import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.adapters.prometheus import PrometheusText
from gateway.adapters.tallies import Tallies
from gateway.core import metrics as m
from gateway.core.health import Health
from gateway.core.metrics import Count, Sample
from gateway.web import ops
from gateway.web.metrics import InFlight, Metrics
from tests.support.clock import FakeClock
from tests.support.sandbox import serve

TEXT = (b"content-type", b"text/event-stream; charset=utf-8")


class NoProcesses:
    def read(self) -> tuple[Sample, ...]:
        return (Sample(m.OPEN_FDS, (), 9),)


def endpoint(tallies: Tallies) -> Metrics:
    async def read() -> Sequence[Sample]:
        return [Sample(m.RESERVATIONS, (), 2)]

    return Metrics(
        tallies,
        PrometheusText(),
        NoProcesses(),
        publish=lambda: tallies.take([Count(m.WAITING, (), 1)]),
        read=read,
        constant=[Sample(m.BUILD_INFO, ("1.0",), 1)],
    )


async def ready() -> Health:
    return Health()


def test_a_scrape_tells_what_was_counted_read_and_is_the_case() -> None:
    tallies = Tallies()
    tallies.take([Count(m.REFUSALS, ("overloaded", "none"), 3)])
    with serve(ops.build(FakeClock(), ready, (), endpoint(tallies))) as url:
        answer = httpx2.get(f"{url}/metrics")
        head = httpx2.head(f"{url}/metrics")
        other = httpx2.post(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        'imagegate_refusals_total{reason="overloaded",scope="none"} 3.0',
        "imagegate_reservations_open 2.0",
        "imagegate_settlements_waiting 1.0",
        'imagegate_build_info{version="1.0"} 1.0',
        "process_open_fds 9.0",
    ):
        assert line in answer.text.splitlines()
    assert (head.status_code, head.content) == (200, b"")
    assert other.status_code == 404


def test_the_form_is_negotiated() -> None:
    with serve(ops.build(FakeClock(), ready, (), endpoint(Tallies()))) as url:
        accept = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
        answer = httpx2.get(f"{url}/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_without_metrics_there_is_nothing() -> None:
    with serve(ops.build(FakeClock(), ready)) as url:
        assert httpx2.get(f"{url}/metrics").status_code == 404


async def nobody() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def nowhere(_message: Message) -> None:
    pass


@pytest.mark.parametrize(("headers", "streams"), [([TEXT], 1), ([(b"content-type", b"application/json")], 0)])
async def test_who_is_inside_is_counted_and_a_stream_from_its_head_on(
    headers: list[tuple[bytes, bytes]], streams: int
) -> None:
    seen: list[tuple[int, int]] = []

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        seen.append((inside.requests, inside.streams))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        seen.append((inside.requests, inside.streams))

    inside = InFlight(application)
    await inside({"type": "http"}, nobody, nowhere)
    assert seen == [(1, 0), (1, streams)]
    assert (inside.requests, inside.streams) == (0, 0)


async def test_who_breaks_off_is_inside_no_more() -> None:
    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [TEXT]})
        raise ConnectionError

    inside = InFlight(application)
    with pytest.raises(ConnectionError):
        await inside({"type": "http"}, nobody, nowhere)
    assert (inside.requests, inside.streams) == (0, 0)
