import asyncio
import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.cli.limits import BAR, Shown, bar, limits, table
from gateway.core.ledger import OpenCall
from gateway.core.limits import Limit, parse_limit
from gateway.core.quota import FIRST_DOOR, Amounts, Claim, Reading
from gateway.core.units import NanoUSD
from gateway.settings import load
from gateway.settings.directory import directory_of
from tests.support.clock import FakeClock
from tests.support.config import PAID, write
from tests.support.ledger import NOON, noted, record

CONFIG = (
    PAID
    + """
[org]
timezone = "Asia/Tokyo"
limits = ["$500 per month"]
[[team]]
id = "design"
limits = ["20 images total", "4 concurrent", "9 requests per week soft"]
[[team]]
id = "free"
[[key]]
id = "design-1"
team = "design"
secret = "sk-1"
[store]
url = "sqlite:///{folder}"
"""
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    clock = FakeClock()
    clock.seconds = NOON
    monkeypatch.setattr("gateway.cli.limits.SystemClock", lambda: clock)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A ledger with one call that is over, one that is under way, and one limit that was changed."""
    path = write(tmp_path, CONFIG.format(folder=tmp_path / "data"))
    directory = directory_of(load(path, {}))

    async def use() -> None:
        ledger = SqliteLedger.open(tmp_path / "data", lambda: NOON)
        asked = FIRST_DOOR + Amounts(images=3, image_tokens=660, tokens=725, cost_nusd=NanoUSD(20_000_000))
        for number in (1, 2):
            claim = Claim(
                id=record(number).id,
                claimants=tuple(
                    entry.claimant for entry in reversed(list(directory)) if entry.scope.id != "free"
                ),
                asked=asked,
                frames=ZoneCalendar("Asia/Tokyo").frames(NOON),
            )
            await ledger.reserve(OpenCall(record=noted(number), dispatched=True), claim)
        await ledger.settle(record(1, cost_nusd=NanoUSD(10_000_000)), 2)
        await ledger.set_limits("key:design-1", [parse_limit("5 images total")])
        await ledger.aclose()

    asyncio.run(use())
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(limits, ["--config", str(config), *arguments])


def as_json(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return orjson.loads(result.stdout)


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


def test_every_scope_with_limits_has_its_lines(config: Path) -> None:
    head, _, *rows = lines(run(config))
    assert head == "scope limit used held left resets (Asia/Tokyo)"
    assert rows[0].startswith("org $500 per month █·")
    assert rows[0].endswith("$0.01 $0.02 $499.97 2027-02-01 00:00")
    assert rows[1] == "design 20 images total ██▒▒▒··············· 2 3 15 never".replace(
        "design", "team:design"
    )
    assert rows[2] == "4 concurrent █████··············· 1 0 3 as calls end"
    assert rows[3] == "9 requests per week soft ████················ 2 0 7 2027-01-18 00:00 soft"
    assert rows[4] == "key:design-1 5 images total ████████▒▒▒▒▒▒▒▒▒▒▒▒ 2 3 0 never set while running"
    assert len(rows) == 5


def test_one_scope_is_shown_alone(config: Path) -> None:
    rows = lines(run(config, "key:design-1"))[2:]
    assert [row.partition(" ")[0] for row in rows] == ["key:design-1"]


def test_json_has_the_shape_of_the_admin_api(config: Path) -> None:
    found = as_json(run(config, "key:design-1", "--format", "json"))
    assert found == {
        "scope": "key:design-1",
        "limits": [
            {
                "limit": "5 images total",
                "unit": "images",
                "window": "total",
                "max": "5",
                "used": "2",
                "held": "3",
                "remaining": "0",
                "resets_at": None,
            }
        ],
    }
    everything = as_json(run(config, "--format", "json"))
    assert (everything["object"], everything["next_cursor"]) == ("list", None)
    assert [one["scope"] for one in everything["data"]] == ["org", "team:design", "key:design-1"]
    assert everything["data"][2] == found


def test_a_scope_without_limits_says_so(config: Path) -> None:
    assert lines(run(config, "team:free")) == ["team:free has no limits."]
    assert as_json(run(config, "team:free", "--format", "json")) == {"scope": "team:free", "limits": []}


def test_a_configuration_without_limits_says_so(tmp_path: Path) -> None:
    async def make() -> None:
        await SqliteLedger.open(tmp_path / "data", lambda: 0.0).aclose()

    asyncio.run(make())
    config = write(tmp_path, PAID + f'[store]\nurl = "sqlite:///{tmp_path / "data"}"\n')
    assert lines(run(config)) == ["There are no limits."]
    assert as_json(run(config, "--format", "json"))["data"] == []


def test_an_unknown_scope_names_the_nearest_known_one(config: Path) -> None:
    result = run(config, "team:desing")
    assert result.exit_code == 2
    assert "'team:desing' is no scope of the configuration. Did you mean team:design?" in result.output


def test_where_no_gateway_has_kept_a_ledger_it_says_so(tmp_path: Path) -> None:
    result = run(write(tmp_path, CONFIG.format(folder=tmp_path / "none")))
    assert result.exit_code == 1
    assert "There is no ledger at" in result.output
    assert not (tmp_path / "none").exists(), "it only reads"


@pytest.mark.parametrize(
    ("used", "held", "signs"),
    [
        (0, 0, "····················"),
        (1, 0, "█···················"),
        (0, 1, "▒···················"),
        (500, 250, "██████████▒▒▒▒▒·····"),
        (999, 0, "███████████████████·"),
        (500, 499, "██████████▒▒▒▒▒▒▒▒▒·"),
        (1000, 0, "████████████████████"),
        (700, 300, "██████████████▒▒▒▒▒▒"),
        (5000, 1, "████████████████████"),
        (-5, 0, "····················"),
    ],
)
def test_a_bar_is_empty_only_if_nothing_is_taken_and_full_only_if_nothing_is_left(
    used: int, held: int, signs: str
) -> None:
    found = bar(Reading("org", parse_limit("1000 images total"), used, held))
    assert found.plain == signs
    assert len(signs) == BAR


@pytest.mark.parametrize(("used", "colour"), [(79, "green"), (80, "yellow"), (99, "yellow"), (100, "red")])
def test_a_bar_warns_by_its_colour(used: int, colour: str) -> None:
    assert bar(Reading("org", parse_limit("100 images total"), used, 0)).spans[0].style == colour


def limit_rows(*several: Limit) -> str:
    console = Console(file=io.StringIO(), width=160)
    readings = tuple(Reading("org", one, 0, 0) for one in several)
    console.print(table([Shown("org", readings, is_changed=False)], "UTC"))
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue()


def test_rolling_windows_say_that_they_roll() -> None:
    found = limit_rows(parse_limit("1 image per hour"), parse_limit("12345678 tokens per minute"))
    assert "rolls, an hour" in found
    assert "rolls, a minute" in found
    assert "12 345 678" in found
