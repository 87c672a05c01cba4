import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.cli.usage import usage
from gateway.core.ledger import TOLD
from gateway.core.record import CacheUse, Record
from gateway.core.units import NanoUSD
from gateway.web.admin.shapes import RECORD
from tests.support.config import PAID, write
from tests.support.ledger import NOON, record

CONFIG = PAID + '[org]\ntimezone = "Asia/Tokyo"\n[store]\nurl = "sqlite:///{folder}"\n'
RECORDS = [
    record(1),
    record(2, team="web", tags=(), model="gpt-image-1", cost_nusd=NanoUSD(1_500_000_000_000)),
    record(3, at=NOON + 12 * 3600, cache=CacheUse.HIT, cost_nusd=NanoUSD(0), saved_nusd=NanoUSD(8_160_000)),
]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def fill(folder: Path, records: list[Record]) -> None:
    async def settle() -> None:
        ledger = SqliteLedger.open(folder, lambda: NOON)
        for one in records:
            await ledger.settle(one)
        await ledger.aclose()

    asyncio.run(settle())


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    fill(folder, RECORDS)
    return write(tmp_path, CONFIG.format(folder=folder))


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(usage, ["--config", str(config), *arguments])


def as_json(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = orjson.loads(result.stdout)
    assert (found["object"], found["next_cursor"]) == ("list", None)
    data: list[dict[str, Any]] = found["data"]
    return data


def as_csv(result: Result) -> list[dict[str, str]]:
    assert result.exit_code == 0, result.output
    return list(csv.DictReader(io.StringIO(result.stdout)))


def test_everything_comes_to_one_row(config: Path) -> None:
    (row,) = as_json(run(config, "--format", "json"))
    assert list(row) == list(TOLD)
    assert (row["requests"], row["hits"], row["cost_usd"], row["saved_usd"]) == (
        3,
        1,
        "1500.00816",
        "0.00816",
    )


def test_groups_and_days_of_the_organisation(config: Path) -> None:
    rows = as_json(run(config, "--format", "json", "--by", "day,team"))
    assert [(row["day"], row["team"], row["requests"]) for row in rows] == [
        ("2027-01-15", "design", 1),
        ("2027-01-15", "web", 1),
        ("2027-01-16", "design", 1),
    ]


def test_since_and_until_are_days_of_the_organisation_or_instants(config: Path) -> None:
    def requests(*arguments: str) -> int:
        (row,) = as_json(run(config, "--format", "json", *arguments))
        count: int = row["requests"]
        return count

    assert requests("--since", "2027-01-16") == 1
    assert requests("--until", "2027-01-16") == 2
    assert requests("--since", "2027-01-15T12:00:02Z", "--until", "2027-01-16") == 1


def test_csv_has_a_head_and_a_line_for_each_group(config: Path) -> None:
    result = run(config, "--format", "csv", "--by", "tag:campaign")
    assert result.stdout.splitlines()[0] == "tag:campaign," + ",".join(TOLD)
    assert [(row["tag:campaign"], row["requests"]) for row in as_csv(result)] == [("", "1"), ("spring", "2")]


def test_the_table_has_a_total(config: Path) -> None:
    result = run(config, "--by", "team,model")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]
    assert lines[0].startswith("team model requests hits images")
    assert lines[2] == "design gpt-image-2 2 1 2 0 544 0 22 0 0 0.00816 0.00816"
    assert lines[3].startswith("web gpt-image-1 1 0 1")
    assert lines[-1] == "total 3 1 3 0 816 0 33 0 0 1500.00816 0.00816"


def test_a_tag_cannot_steer_the_terminal(tmp_path: Path) -> None:
    fill(tmp_path / "data", [record(1, tags=(("a", "\x1b[2Jred[bold]"),))])
    result = run(write(tmp_path, CONFIG.format(folder=tmp_path / "data")), "--by", "tag:a")
    assert "\x1b" not in result.stdout
    assert "\N{REPLACEMENT CHARACTER}[2Jred[bold]" in result.stdout


def test_every_record_can_be_had_as_json(config: Path) -> None:
    rows = as_json(run(config, "--records", "--format", "json", "--until", "2027-01-16"))
    assert [row["id"] for row in rows] == [record(2).id, record(1).id]
    assert list(rows[0]) == list(RECORD)


def test_every_record_can_be_had_as_csv(config: Path) -> None:
    rows = as_csv(run(config, "--records", "--format", "csv"))
    assert [row["id"] for row in rows] == [record(n).id for n in (3, 2, 1)]
    last = rows[-1]
    assert (last["tags"], last["stream"], last["status"]) == ('{"campaign":"spring"}', "false", "200")
    assert orjson.loads(last["lines"])[0]["output_image"] == 272
    assert last["tool_model"] == ""


def test_more_than_one_piece_is_written_whole(tmp_path: Path) -> None:
    fill(tmp_path / "data", [record(number) for number in range(700)])
    config = write(tmp_path, CONFIG.format(folder=tmp_path / "data"))
    assert len(as_json(run(config, "--records", "--format", "json"))) == 700
    assert len(as_csv(run(config, "--records", "--format", "csv"))) == 700


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "teams"], "Usage cannot be grouped by 'teams'"),
        (["--since", "yesterday"], "'yesterday' is no time"),
        (["--until", "2027-13-01"], "'2027-13-01' is no time"),
        (["--format", "xml"], "is not one of"),
        (["--records"], "--records goes with --format json or csv, and without --by."),
        (["--records", "--format", "csv", "--by", "team"], "--records goes with"),
    ],
)
def test_misuse_is_told_with_exit_code_2(config: Path, arguments: list[str], message: str) -> None:
    result = run(config, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_store_without_a_ledger_is_exit_code_1(tmp_path: Path) -> None:
    result = run(write(tmp_path, CONFIG.format(folder=tmp_path / "nowhere")))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no ledger at" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_store_that_is_not_there_is_exit_code_1(tmp_path: Path) -> None:
    result = run(write(tmp_path, PAID + '[store]\nurl = "redis://:secret@127.0.0.1:9"\n'))
    assert result.exit_code == 1
    assert "The store at redis://:***@127.0.0.1:9/0 cannot be used" in result.stderr


def test_a_bad_configuration_is_exit_code_2(tmp_path: Path) -> None:
    result = run(write(tmp_path, "[stor]\n"))
    assert result.exit_code == 2
    assert "The configuration cannot be used" in result.stderr


def test_help_has_an_example() -> None:
    result = CliRunner().invoke(usage, ["--help"])
    assert "imagegate usage --by team,day --since 2026-11-01" in result.stdout
