"""The unit: systemd understands every line, and it stops and reloads as the gateway does."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.tools import missing

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "imagegate.service"
TEXT = UNIT.read_text(encoding="utf-8")
DRAIN_S = 150


def setting(name: str) -> str:
    (value,) = [line.partition("=")[2] for line in TEXT.splitlines() if line.startswith(f"{name}=")]
    return value


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """With a program that is there."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze", "apt-get install systemd (the unit is looked at with it)")
    path = tmp_path / UNIT.name
    path.write_text(TEXT.replace("/opt/imagegate/bin/imagegate", "/bin/true"))
    return path


def test_systemd_understands_every_line(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_calls_it_well_protected(unit: Path) -> None:
    """`systemd-analyze security` counts what a service could still do, from 0 to 10."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:]


def test_it_is_reloaded_in_place_and_has_the_time_that_its_drains_take() -> None:
    assert setting("ExecReload") == "/bin/kill -HUP $MAINPID"
    assert setting("KillMode") == "mixed"
    assert int(setting("TimeoutStopSec")) > 2 * DRAIN_S
