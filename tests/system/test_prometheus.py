"""
A real Prometheus scrapes a real gateway of two workers under all kinds of traffic; then every panel is asked for its data.

The traffic is such that each panel has some: what is missing here would be missing on somebody's wall.
"""

import asyncio
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.grafana.build import FOLDER
from tests.support.books import Books, eventually
from tests.support.locker import locked
from tests.support.process import KEY, Running, gateway_process, sandbox_process
from tests.support.prometheus import Prometheus, prometheus

pytestmark = [pytest.mark.system, pytest.mark.timeout(300), pytest.mark.xdist_group("prometheus")]

REST = """
[server]
workers = 2
[org]
limits = ["$100 per month", "10000 requests per hour"]
[[key]]
id = "tight"
team = "team"
secret = "sk-tight"
limits = ["1 images per day"]
allow = { qualities = ["low"] }
[[key]]
id = "other"
team = "others"
secret = "sk-other"
[[team]]
id = "others"
limits = ["$5 per day"]
"""
PICTURE = {"model": "gpt-image-2", "quality": "low", "size": "1024x1024"}
ROUNDS = 6
"""At a second each: a rate is one of several scrapes."""


@dataclass(frozen=True)
class House:
    """All three, after the traffic."""

    gateway: Running
    prometheus: Prometheus
    books: Books


class Traffic:
    """Calls of every kind that a panel is about."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http
        self.number = 0

    async def round(self) -> None:
        """One of each."""
        self.number += 1
        fresh = {"prompt": f"a fox, {self.number}"}
        await asyncio.gather(
            self.draw(fresh, steering="delay_ms=300"),  # And whoever asks the same meanwhile joins.
            self.draw(fresh, steering="delay_ms=300"),
            self.draw(fresh | {"stream": True, "partial_images": 2}, key="sk-other"),
            self.draw(fresh | {"model": "gpt-image-1000"}),  # Nobody knows its price.
            self.draw(fresh | {"n": 2}, steering="fail=500"),
            self.draw(fresh | {"quality": "high"}, key="sk-tight"),
            self.draw(fresh, key="sk-tight"),
            self.draw(fresh, key="sk-unknown"),
            self.respond(fresh["prompt"]),
            self.edit(fresh["prompt"]),
        )
        await self.draw({"prompt": "always the same"})

    async def draw(self, asked: Mapping[str, object], *, key: str = KEY, steering: str = "") -> None:
        """A picture."""
        await self._post("/v1/images/generations", key, steering, json={**PICTURE, **asked})

    async def respond(self, prompt: str) -> None:
        """A picture that a mainline model has drawn."""
        tool = {"type": "image_generation", "quality": "low", "size": "1024x1024"}
        await self._post("/v1/responses", KEY, "", json={"model": "gpt-5", "input": prompt, "tools": [tool]})

    async def edit(self, prompt: str) -> None:
        """A picture made of another one."""
        files = {"image": ("fox.png", _PNG, "image/png")}
        await self._post("/v1/images/edits", KEY, "", data=PICTURE | {"prompt": prompt}, files=files)

    async def _post(self, path: str, key: str, steering: str, **content: object) -> None:
        headers = {"authorization": f"Bearer {key}", "x-sandbox": steering}
        await self.http.post(path, headers=headers, **content)  # type: ignore[arg-type]


def _png() -> bytes:
    from io import BytesIO  # noqa: PLC0415

    from PIL import Image  # noqa: PLC0415

    file = BytesIO()
    Image.new("RGB", (64, 64), "orange").save(file, "png")
    return file.getvalue()


_PNG = _png()


async def drive(gateway: Running, folder: Path, watched: Prometheus) -> None:
    """Traffic for some seconds, the store away for two of them."""
    async with httpx2.AsyncClient(base_url=gateway.url, timeout=60) as http:
        traffic = Traffic(http)
        await watched.has_scraped(time.time())
        with locked(folder / "data" / "ledger.db"):
            await traffic.draw({"prompt": "while the store is away"})
            await traffic.draw({"prompt": "again"})

        async def is_back() -> bool:
            await traffic.draw({"prompt": "once more"})
            return await watched.value('sum(imagegate_requests_total{outcome="completed"})') > 0

        await eventually(is_back, 60)
        for _ in range(ROUNDS):
            await asyncio.gather(traffic.round(), asyncio.sleep(1))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        sandbox_process(folder) as sandbox,
        gateway_process(f"{sandbox.url}/v1", folder, rest=REST, cached=True) as gateway,
        prometheus(folder, [gateway.addresses[1].removeprefix("http://")]) as watched,
    ):
        asyncio.run(drive(gateway, folder, watched))
        yield House(gateway, watched, Books(folder, sandbox.url))


def panels() -> Iterator[tuple[str, str]]:
    """Dashboard, panel and legend; and the query."""
    for path in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield f"{path.stem}: {panel['title']} {target.get('legendFormat', '')}", target["expr"]


@pytest.mark.parametrize("query", [pytest.param(query, id=name) for name, query in panels()])
async def test_every_panel_has_something_to_show(house: House, query: str) -> None:
    asked = query.replace("$__rate_interval", "30s").replace("$__range", "5m")
    found = await house.prometheus.ask(asked)
    values = [float(one["value"][1]) for one in found]
    assert any(not math.isnan(value) for value in values), f"{asked} gives {found}"


async def test_what_prometheus_has_of_money_is_what_the_ledger_has(house: House) -> None:
    """Nano-dollar by nano-dollar: floats of 53 bits hold them."""
    await eventually(house.books.is_quiet)
    await house.prometheus.has_scraped(time.time())
    records = await house.books.records()
    query = "imagegate_cost_usd_total - (imagegate_cost_taken_back_usd_total or imagegate_cost_usd_total * 0)"
    told = {
        (one["metric"]["team"], one["metric"]["model"]): round(float(one["value"][1]) * 1e9)
        for one in await house.prometheus.ask(query)
    }
    assert sum(told.values()) == sum(one.cost_nusd for one in records) > 0
    for team in ("team", "others"):
        of_team = sum(one.cost_nusd for one in records if one.team == team)
        assert sum(value for (name, _), value in told.items() if name == team) == of_team
    saved = await house.prometheus.value("sum(imagegate_saved_usd_total)")
    assert round(saved * 1e9) == sum(one.saved_nusd for one in records) > 0


async def test_the_rules_run_on_it(house: House) -> None:
    rules: list[Mapping[str, Any]] = []

    async def have_run() -> bool:
        rules[:] = await house.prometheus.rules()
        return all(rule["health"] != "unknown" for rule in rules)

    await eventually(have_run)
    assert len(rules) == 13
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    alerts = {rule["name"]: rule["state"] for rule in rules if rule["type"] == "alerting"}
    assert alerts["ImagegateStandInPrices"] == "firing"
    assert alerts["ImagegateSettlementsLate"] == "inactive"


async def test_the_target_is_up_and_its_series_are_bounded(house: House) -> None:
    assert await house.prometheus.value("min(up)") == 1
    assert await house.prometheus.value('count({__name__=~"imagegate_.*|process_.*"})') < 3000
