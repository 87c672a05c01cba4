"""`/metrics` of a real gateway of several workers: the sums are the ledger's, whoever is asked and whoever dies."""

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import httpx2
import pytest

from gateway.core.record import CacheUse, Record
from tests.conftest import FULL, SEED
from tests.support.books import Books, eventually
from tests.support.process import KEY, SETTINGS, Running, gateway_process, running, sandbox_process
from tests.support.prometheus import check
from tests.support.scrape import Scrape, Series, scrape
from tests.support.workers import tell, workers_of

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

TWO_WORKERS = 'limits = ["$1000 per day"]\n[server]\nworkers = 2\n'
MODELS = ("gpt-image-1", "gpt-image-2", "gpt-image-1000")
STRANGERS = 10_000 if FULL else 1_000
KILLS = 20 if FULL else 3


def client_of(gateway: Running) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20)
    return httpx2.AsyncClient(
        base_url=gateway.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60, limits=limits
    )


async def draw(http: httpx2.AsyncClient, chance: random.Random) -> int | None:
    """A call of some kind; None: it was cut."""
    body: dict[str, object] = {
        "model": chance.choice(MODELS),
        "prompt": f"a fox {chance.randrange(30)}",
        "quality": "low",
        "size": "1024x1024",
    }
    if chance.random() < 0.3:
        body |= {"stream": True, "partial_images": chance.randrange(1, 3)}
    steering = chance.choice(["", "", "delay_ms=50", "fail=500", "fail=mid-stream"])
    with suppress(httpx2.TransportError):
        answer = await http.post("/v1/images/generations", json=body, headers={"x-sandbox": steering})
        return answer.status_code
    return None


def sums_of(records: list[Record]) -> dict[str, float]:
    paid = [one for one in records if one.cache not in {CacheUse.HIT, CacheUse.COLLAPSED}]
    return {
        "cost": sum(one.cost_nusd for one in records),
        "saved": sum(one.saved_nusd for one in records),
        "images": sum(one.images for one in paid),
        "output_image": sum(one.output_image_tokens for one in records),
        "input_text": sum(one.input_text_tokens for one in records),
        "partials": sum(one.partial_images_delivered for one in records),
        "surcharge": sum(one.partial_image_tokens for one in records),
        "records": len(records),
    }


def sums_told(found: Scrape) -> dict[str, float]:
    owed = found.total("cost_usd_total") - found.total("cost_taken_back_usd_total")
    return {
        "cost": round(owed * 1e9),
        "saved": round(found.total("saved_usd_total") * 1e9),
        "images": found.total("images_total"),
        "output_image": found.total("tokens_total", kind="output_image"),
        "input_text": found.total("tokens_total", kind="input_text"),
        "partials": found.total("partial_images_total"),
        "surcharge": found.total("partial_image_tokens_total"),
        "records": found.total("ledger_records_total"),
    }


async def test_under_load_whoever_is_asked_tells_the_sums_of_the_ledger(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=TWO_WORKERS, cached=True) as gateway,
    ):
        ops, books = gateway.addresses[1], Books(tmp_path, sandbox.url)
        seen = Scrape("")
        async with client_of(gateway) as http:
            for _ in range(6):
                calls = [asyncio.ensure_future(draw(http, chance)) for _ in range(20)]
                while any(not call.done() for call in calls):
                    now = await scrape(ops)
                    assert all(now.counters.get(name, 0) >= value for name, value in seen.counters.items())
                    seen = now
        await eventually(books.is_quiet)
        expected = sums_of(await books.records())
        found = await scrape(ops)

        async def are_counted() -> bool:
            nonlocal found
            found = await scrape(ops)
            is_empty = found.total("in_flight") == 0
            return is_empty and (sums_told(found), found.total("requests_total")) == (expected, 120)

        await eventually(are_counted, told=lambda: f"{sums_told(found)}, not {expected}; seed {SEED}")
        for _ in range(10):
            found = await scrape(ops)
            assert sums_told(found) == expected, f"seed {SEED}"
        check("check", "metrics", text=found.text)
        assert "_created" not in found.text


async def test_kill_9_of_a_worker_lowers_no_counter_and_the_new_one_counts_on(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    chance = random.Random(SEED)
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=TWO_WORKERS) as gateway,
    ):
        ops = gateway.addresses[1]
        seen: dict[Series, float] = {}

        async def look() -> Scrape:
            with suppress(httpx2.TransportError):  # It was asked in the moment of its death.
                now = await scrape(ops)
                fallen = {
                    one: (value, now.counters.get(one))
                    for one, value in seen.items()
                    if now.counters.get(one, 0) < value
                }
                assert fallen == {}, f"seed {SEED}"
                seen.update(now.counters)
                return now
            return await look()

        for _ in range(KILLS):
            async with client_of(gateway) as http:
                calls = [asyncio.ensure_future(draw(http, chance)) for _ in range(20)]
                await asyncio.wait(calls, timeout=chance.uniform(0.05, 0.5))
                await look()
                dead = chance.choice(workers_of(gateway))
                tell([dead], signal.SIGKILL)
                for _ in range(5):
                    await look()
                await asyncio.gather(*calls)

            async def are_two(dead: int = dead) -> bool:
                await look()
                found = workers_of(gateway)
                return len(found) == 2 and dead not in found

            await eventually(are_two, 30, lambda: f"workers {workers_of(gateway)}")
        before = (await look()).total("requests_total")
        async with client_of(gateway) as http:
            for number in range(10):
                await http.post(
                    "/v1/images/generations", json={"prompt": str(number), "model": "gpt-image-1"}
                )

        async def are_counted() -> bool:
            return (await look()).total("requests_total") >= before + 10

        await eventually(are_counted)

        async def is_empty() -> bool:
            return (await look()).total("in_flight") == 0

        await eventually(is_empty, 30, lambda: "what the dead had in flight is not forgotten")
        figure("`kill -9` of a worker that lowered no counter", KILLS)


async def test_what_strangers_make_up_makes_no_series(
    tmp_path: Path, figure: Callable[[str, int], None]
) -> None:
    """Distinct models, keys, paths, sizes, qualities, methods."""
    rest = f'{TWO_WORKERS}[[key]]\nid = "narrow"\nteam = "team"\nsecret = "sk-narrow"\nallow = {{ models = ["one"] }}\n'
    with (
        sandbox_process(tmp_path) as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=rest) as gateway,
    ):
        ops, numbers = gateway.addresses[1], count()
        statuses: Counter[int] = Counter()

        async def come(times: int) -> None:
            async with client_of(gateway) as http:
                for number in (next(numbers) for _ in range(times)):
                    made_up = {"model": f"model-{number}", "prompt": "a fox"}
                    for answer in (
                        await http.post(
                            "/v1/images/generations",
                            json=made_up,
                            headers={"authorization": "Bearer sk-narrow"},
                        ),
                        await http.get(
                            f"/v1/path/{number}", headers={"authorization": f"Bearer sk-{number}"}
                        ),
                        await http.post(
                            "/images/edits", headers={"authorization": f"Bearer sk-{number}"}, json={}
                        ),
                    ):
                        statuses[answer.status_code] += 1

        async def pay(times: int) -> None:
            async with client_of(gateway) as http:
                for number in (next(numbers) for _ in range(times)):
                    body = {
                        "model": f"gpt-image-{2000 + number}",
                        "prompt": "a fox",
                        "quality": "low",
                        "size": f"{1040 + 16 * (number % 20)}x1024",
                    }
                    await http.post("/v1/images/generations", json=body)

        async def everybody(times: int) -> None:
            await asyncio.gather(*(come(times) for _ in range(8)), pay(max(times // 10, 4)))

        await everybody(4)
        first = await scrape(ops)
        await everybody(STRANGERS // 8)
        last = await scrape(ops)
        new = {name for name in last.series.keys() - first.series.keys() if "_bucket" not in name[0]}
        # What takes longer than before falls into the same buckets, and housekeeping comes round again.
        assert {name[0] for name in new} <= {
            "imagegate_store_duration_seconds_count",
            "imagegate_store_duration_seconds_sum",
            "imagegate_store_errors_total",
        }, new
        assert statuses.keys() == {401, 403, 404}
        assert last.total("requests_total", model="other") >= STRANGERS
        assert set(last.by("images_total", "model")) <= {"other"}
        figure("models, keys and paths that somebody made up, each, without a new series", next(numbers))


async def test_series_of_keys_are_shown_where_they_are_wanted(tmp_path: Path) -> None:
    rest = 'limits = ["5 images per day"]\n[org]\nlimits = ["$9 per month"]\n[metrics]\nkey_labels = {}\n'
    shown = {}
    for wanted in ("true", "false"):
        (tmp_path / wanted).mkdir()
        with gateway_process("http://127.0.0.1:9/v1", tmp_path / wanted, rest=rest.format(wanted)) as gateway:
            shown[wanted] = set((await scrape(gateway.addresses[1])).by("limit_used_ratio", "scope"))
    assert shown == {"true": {"org", "key:key"}, "false": {"org"}}


async def test_nothing_is_there_on_the_public_listener_nor_where_it_is_switched_off(tmp_path: Path) -> None:
    with gateway_process("http://127.0.0.1:9/v1", tmp_path, rest="[metrics]\nenabled = false\n") as gateway:
        async with httpx2.AsyncClient() as http:
            assert (await http.get(f"{gateway.addresses[1]}/metrics")).status_code == 404
            assert (await http.get(f"{gateway.url}/metrics")).status_code == 404
            assert (await http.get(f"{gateway.addresses[1]}/livez")).status_code == 200


async def test_where_workers_count_is_gone_when_the_gateway_is(tmp_path: Path) -> None:
    with gateway_process("http://127.0.0.1:9/v1", tmp_path, rest=TWO_WORKERS) as gateway:
        await scrape(gateway.addresses[1])
        (folder,) = (tmp_path / "data").glob("metrics-*")
        assert folder.stat().st_mode & 0o077 == 0
    assert list((tmp_path / "data").glob("metrics-*")) == []


def python_with_a_read_only_root(folder: Path) -> str:
    """A Python for which only this folder can be written to."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        # It takes a right that containers often withhold, and that no package brings.
        pytest.skip("this system gives nobody a root of their own: unshare -m")
    alone = (
        f"mount --make-rprivate / && mount --bind {folder} {folder} && mount -o remount,bind,ro / && "
        f'cd {folder} && ! touch /written 2>/dev/null && exec {sys.executable} "$@"'
    )
    python = folder / "python"
    python.write_text(f"#!/bin/sh\nexec unshare -m sh -c '{alone}' sh \"$@\"\n")
    python.chmod(0o700)
    return str(python)


async def test_a_read_only_root_does_no_harm(tmp_path: Path) -> None:
    """Only the gateway's own folder can be written to."""
    python = python_with_a_read_only_root(tmp_path)
    config = tmp_path / "gateway.toml"
    config.write_text(
        SETTINGS.format(
            base_url="http://127.0.0.1:9/v1",
            api_key="sk-up",
            key=KEY,
            upstream="",
            rest=TWO_WORKERS,
            cached="true",
            cache="",
        )
    )
    with running("serve", "--config", str(config), "--port", "0", folder=tmp_path, python=python) as gateway:
        async with client_of(gateway) as http:
            assert (await http.post("/v1/images/generations", json={"prompt": "a fox"})).status_code == 502

        async def is_counted() -> bool:
            return (await scrape(gateway.addresses[1])).total("requests_total", outcome="failed") == 1

        await eventually(is_counted)


async def test_a_head_that_is_no_request_is_counted_too(tmp_path: Path) -> None:
    with gateway_process("http://127.0.0.1:9/v1", tmp_path, rest=TWO_WORKERS) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n")
        await reader.read()
        writer.close()
        found = await scrape(gateway.addresses[1])
        assert found.total("refusals_total", reason="invalid_host", scope="none") == 1


async def test_what_is_under_way_in_any_worker_is_told_by_whoever_is_asked(tmp_path: Path) -> None:
    """Two streams, one of them joined, a plain call, and one whose client has left."""
    with (
        sandbox_process(tmp_path, speed="1") as sandbox,
        gateway_process(f"{sandbox.url}/v1", tmp_path, rest=TWO_WORKERS, cached=True) as gateway,
    ):
        found = Scrape("")
        slow = {"x-sandbox": "delay_ms=60000"}
        stream = {"model": "gpt-image-1", "prompt": "a fox", "stream": True, "partial_images": 1}

        async def looks_like(**expected: int) -> None:
            async def does_it() -> bool:
                nonlocal found
                found = await scrape(gateway.addresses[1])
                return {kind: found.total("in_flight", kind=kind) for kind in expected} == expected

            await eventually(does_it, 30, lambda: found.by("in_flight", "kind"))

        async def ask(prompt: str | None) -> None:
            body = stream if prompt is None else {"model": "gpt-image-1", "prompt": prompt}
            # A connection each: any worker may take it.
            async with (
                client_of(gateway) as http,
                http.stream("POST", "/v1/images/generations", json=body, headers=slow) as answer,
            ):
                await answer.aread()

        await looks_like(requests=0, streams=0, followers=0, orphans=0)
        calls = [asyncio.ensure_future(ask(prompt)) for prompt in (None, "plain", "left")]
        await looks_like(requests=3, followers=0, orphans=0)
        calls.append(asyncio.ensure_future(ask(None)))
        await looks_like(requests=4, streams=2, followers=1, orphans=0)
        calls[2].cancel()
        await looks_like(requests=3, streams=2, followers=1, orphans=1)
        assert found.total("reservations_open") == 3
        tell(workers_of(gateway), signal.SIGKILL)
        await looks_like(requests=0, streams=0, followers=0, orphans=0)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
