"""The commands that look at a store, and mend it, on a real Redis: they say what they say of a folder."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import click
import orjson
import pytest
from click.testing import CliRunner, Result

from gateway import stores
from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.cli.cache import cache
from gateway.cli.check_config import check_config
from gateway.cli.limits import limits
from gateway.cli.usage import usage
from gateway.cli.verify import verify
from gateway.core.freshness import Life
from gateway.core.ledger import OpenCall
from gateway.core.limits import parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim
from gateway.core.units import NanoUSD
from gateway.settings import Settings, load
from gateway.settings.directory import directory_of
from tests.support.cache import body_of, entry, kept
from tests.support.config import PAID, write
from tests.support.ledger import noted, record
from tests.support.redis import Server, redis_server

pytestmark = pytest.mark.timeout(120)

CONFIG = (
    PAID
    + """
[org]
id = "acme"
[[team]]
id = "design"
limits = ["20 images total", "4 concurrent"]
[[key]]
id = "design-1"
team = "design"
secret = "sk-1"
[store]
url = "{url}"
"""
)
LEDGER = "{imagegate:acme}:ledger:"
clock = SystemClock()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server(tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.fixture
def config(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A call that is over, one that is under way, a limit that was changed, and two answers that are kept."""
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    server.said("FLUSHALL")
    path = write(tmp_path, CONFIG.format(url=server.url))
    asyncio.run(fill(load(path, {})))
    return path


async def fill(settings: Settings) -> None:
    money, kept_ = stores.Money(settings), stores.cache_of(settings, clock)
    now = clock.now()
    scopes = tuple(entry_.claimant for entry_ in reversed(list(directory_of(settings))))
    asked = FIRST_DOOR + Amounts(images=3, image_tokens=660, tokens=725, cost_nusd=NanoUSD(20_000_000))
    for number in (1, 2):
        frames = ZoneCalendar("UTC").frames(now)
        claim = Claim(id=record(number).id, claimants=scopes, asked=asked, frames=frames)
        await money.ledger.reserve(OpenCall(record=noted(number, at=now), dispatched=True), claim)
    await money.ledger.settle(record(1, at=now, cost_nusd=NanoUSD(10_000_000)), 2)
    await money.ledger.set_limits("key:design-1", [parse_limit("5 images total")])
    for number in (1, 2):
        life = Life(kept_at=now, ttl_s=80_000.0)
        assert await kept(kept_, body_of(number, 1000), entry(number, 1000, life=life))
    await kept_.aclose()
    await money.ledger.aclose()


def run(config: Path, command: click.Command, *arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--config", str(config)])


def test_usage_tells_what_was_used(config: Path) -> None:
    result = run(config, usage, "--by", "team,key", "--format", "json")
    assert result.exit_code == 0, result.output
    [row] = orjson.loads(result.stdout)["data"]
    assert (row["team"], row["key"], row["requests"], row["cost_usd"]) == ("design", "design-1", 1, "0.01")
    assert run(config, usage, "--records", "--format", "csv").stdout.count(record(1).id) == 1


def test_limits_tell_how_they_stand_and_which_were_changed(config: Path) -> None:
    result = run(config, limits, "--format", "json")
    assert result.exit_code == 0, result.output
    told = {
        (one["scope"], limit["limit"]): (limit["used"], limit["held"])
        for one in orjson.loads(result.stdout)["data"]
        for limit in one["limits"]
    }
    assert told == {
        ("team:design", "20 images total"): ("2", "3"),
        ("team:design", "4 concurrent"): ("1", "0"),
        ("key:design-1", "5 images total"): ("2", "3"),
    }
    assert "team:design" in run(config, limits).stdout


def test_what_does_not_add_up_is_told_and_mended(config: Path, server: Server) -> None:
    assert run(config, verify).output == "The ledger adds up.\n"
    server.said("ZADD", f"{LEDGER}place", 0, "org\x1figr_x")
    result = run(config, verify)
    assert (result.exit_code, result.stdout) == (1, "org, call igr_x: it has a place, but is not inside.\n")
    mended = run(config, verify, "--repair")
    assert (mended.exit_code, mended.stdout.splitlines()[-1]) == (0, "The ledger adds up.")


def test_the_cache_is_counted_and_purged(config: Path) -> None:
    result = run(config, cache, "stats", "--format", "json")
    assert result.exit_code == 0, result.output
    assert orjson.loads(result.stdout)["entries"] == 2
    purged = CliRunner().invoke(cache, ["purge", "--team", "design", "--yes", "--config", str(config)])
    assert (purged.exit_code, purged.stdout) == (0, "2 entries purged (--team design).\n")


def test_where_there_is_no_ledger_none_is_made(config: Path, server: Server) -> None:
    server.said("FLUSHALL")
    for command in (usage, limits, verify):
        result = run(config, command)
        assert result.exit_code == 1
        assert "no gateway has kept one there yet" in result.output
    assert server.said("DBSIZE") == 0


def test_a_redis_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    path = write(tmp_path, CONFIG.format(url="redis://u:hunter2@127.0.0.1:1/0"))
    for command in (usage, limits, verify):
        result = run(path, command)
        assert result.exit_code == 1
        assert "cannot be used" in result.output
        assert "hunter2" not in result.output


def test_a_limit_that_a_redis_cannot_count_against_is_a_fault_of_the_configuration(config: Path) -> None:
    text = config.read_text().replace("20 images total", "$9000001 per month")
    config.write_text(text)
    result = run(config, check_config)
    assert result.exit_code == 2
    assert "is more than a Redis store can count exactly, $9,000,000" in result.output
