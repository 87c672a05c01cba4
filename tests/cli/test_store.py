import asyncio
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.cli.limits import limits
from gateway.cli.store import configured
from gateway.cli.usage import usage
from gateway.cli.verify import verify
from tests.support.config import write
from tests.support.ledger import NOON, record

COMMANDS = [usage, limits, verify]
UNSET = """\
[upstream]
api_key = "env:OPENAI_API_KEY"
[auth]
admin_token = "env:ADMIN"
[[team]]
id = "a"
[[key]]
id = "k"
team = "a"
secret = "env:CLIENT"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger; no secret is set."""

    async def fill() -> None:
        ledger = SqliteLedger.open(tmp_path / "data", lambda: NOON)
        await ledger.settle(record(1))
        await ledger.aclose()

    asyncio.run(fill())
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG", "ADMIN", "CLIENT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ledger_is_read_by_its_address_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: click.Command
) -> None:
    monkeypatch.setenv("IMAGEGATE_STORE__URL", f"sqlite:///{folder / 'data'}")
    result = CliRunner().invoke(command)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_ledger_is_read_though_no_secret_of_its_gateway_is_set(
    folder: Path, command: click.Command
) -> None:
    config = write(folder, UNSET + f'[store]\nurl = "sqlite:///{folder / "data"}"\n')
    result = CliRunner().invoke(command, ["--config", str(config)])
    assert (result.exit_code, result.stderr) == (0, "")


def test_other_faults_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(folder, UNSET + '[store]\nurl = "ftp://x"\n')
    with pytest.raises(SystemExit) as ended:
        configured(config)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "store.url" in told
