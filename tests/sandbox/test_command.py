"""`imagegate sandbox` as a process."""

import re
import subprocess
import sys

import httpx2
import pytest
from click.testing import CliRunner

from gateway.cli.sandbox import sandbox


@pytest.mark.system
def test_the_command_says_where_it_listens_and_serves_there() -> None:
    code = "from gateway.cli.sandbox import sandbox; sandbox()"
    command = [sys.executable, "-c", code, "--port", "0", "--speed", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None
            assert httpx2.get(f"{address[0]}/_sandbox/invoice", timeout=20).json()["requests"] == 0
        finally:
            process.terminate()
        process.communicate(timeout=20)


def test_a_speed_below_zero_is_misuse() -> None:
    result = CliRunner().invoke(sandbox, ["--speed", "-1"])

    assert result.exit_code == 2
    assert "--speed" in result.output


def test_the_help_has_an_example() -> None:
    assert "imagegate sandbox --port 8090 --speed 0" in CliRunner().invoke(sandbox, ["--help"]).output
