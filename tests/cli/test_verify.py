import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.adapters.sqlite.connection import FILE, writing
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.cli.verify import verify
from tests.support.config import PAID, write
from tests.support.ledger import NOON, record


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    async def fill() -> None:
        ledger = SqliteLedger.open(tmp_path / "data", lambda: NOON)
        await ledger.settle(record(1))
        await ledger.aclose()

    asyncio.run(fill())
    return write(tmp_path, PAID + f'[store]\nurl = "sqlite:///{tmp_path / "data"}"\n')


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(verify, ["--config", str(config), *arguments])


def damage(config: Path) -> None:
    with closing(writing(config.parent / "data" / FILE)) as db:
        db.execute("INSERT INTO place VALUES ('org', 'igr_x'), ('team:a', 'igr_x')")


@pytest.mark.parametrize("arguments", [[], ["--repair"]])
def test_a_ledger_that_adds_up_is_well(config: Path, arguments: list[str]) -> None:
    result = run(config, *arguments)
    assert (result.exit_code, result.output) == (0, "The ledger adds up.\n")


def test_what_does_not_add_up_is_said_in_sentences_and_left_as_it_is(config: Path) -> None:
    damage(config)
    for _ in range(2):
        result = run(config)
        assert result.exit_code == 1
        assert result.stdout.splitlines() == [
            "org, call igr_x: it has a place, but is not inside.",
            "team:a, call igr_x: it has a place, but is not inside.",
        ]
        assert result.stderr == "2 things do not add up; imagegate verify --repair mends it.\n"


def test_a_repair_says_what_it_mended_and_all_is_well(config: Path) -> None:
    damage(config)
    result = run(config, "--repair")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Mended: org, call igr_x: it has a place, but is not inside.",
        "Mended: team:a, call igr_x: it has a place, but is not inside.",
        "The ledger adds up.",
    ]
    assert run(config).exit_code == 0


def test_it_works_while_a_gateway_has_the_ledger_open(config: Path) -> None:
    async def live() -> None:
        ledger = SqliteLedger.open(config.parent / "data", lambda: NOON)
        await ledger.settle(record(2))
        assert (await asyncio.to_thread(run, config)).exit_code == 0
        damage(config)
        assert (await asyncio.to_thread(run, config, "--repair")).exit_code == 0
        await ledger.settle(record(3))
        assert await ledger.verify() == ()
        await ledger.aclose()

    asyncio.run(live())


@pytest.mark.parametrize("arguments", [[], ["--repair"]])
def test_where_there_is_no_ledger_none_is_made(tmp_path: Path, arguments: list[str]) -> None:
    config = write(tmp_path, PAID + f'[store]\nurl = "sqlite:///{tmp_path / "none"}"\n')
    result = run(config, *arguments)
    assert result.exit_code == 1
    assert "There is no ledger at" in result.output
    assert not (tmp_path / "none").exists()


def test_a_configuration_with_faults_is_misuse(tmp_path: Path) -> None:
    assert run(write(tmp_path, "[server]\nprot = 1\n")).exit_code == 2
