"""The command with its subcommands."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from gateway import __version__
from gateway.cli.main import COMMANDS, main


def test_the_help_lists_every_command_with_what_it_does() -> None:
    result = CliRunner().invoke(main, ["--help"])

    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.output.partition("Commands:\n")[2].splitlines()]
    assert {words[0] for words in lines if words} >= set(COMMANDS)
    assert all(len(words) == 2 for words in lines if words and words[0] in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])

    assert result.exit_code == 0
    assert f"Example:\n    imagegate {command} " in result.output


def test_it_says_its_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"imagegate, version {__version__}\n"


def test_an_unknown_command_is_misuse() -> None:
    result = CliRunner().invoke(main, ["srve"])

    assert result.exit_code == 2
    assert "No such command 'srve'" in result.output


def test_a_command_is_not_loaded_before_it_is_called() -> None:
    code = "import sys, gateway.cli.main; print(sorted({'uvicorn', 'PIL', 'httpx2', 'pydantic'} & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"
