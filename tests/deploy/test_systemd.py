"""The unit: systemd understands every line, and it stops and reloads as the gateway does."""

import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
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
    path.write_text(re.sub("/opt/imagegate/bin/(imagegate|python)", "/bin/true", TEXT))
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


def test_its_user_can_read_what_it_is_told_to_read() -> None:
    """Whoever it runs as owns nothing in /etc, and is in no group of anybody's."""
    (line,) = [
        one for one in TEXT.splitlines() if "/etc/imagegate/imagegate.toml" in one and "install" in one
    ]
    assert "-m 0644" in line
    assert setting("DynamicUser") == "yes"
    assert setting("ExecStart").startswith(
        "/opt/imagegate/bin/imagegate serve --config ${CONFIGURATION_DIRECTORY}/"
    )


def test_it_is_started_when_it_answers() -> None:
    """The probe is what it says: it waits for a gateway, and gives up on none."""
    code = re.search(r'ExecStartPost=\S+ -c "(.*)"', TEXT)
    assert code is not None
    program = code[1].encode().decode("unicode_escape")
    with HTTPServer(("127.0.0.1", 0), Alive) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            for port, left in ((server.server_port, 0), (9, 1)):
                asked = program.replace(":8081/", f":{port}/").replace("300", "3")
                assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == left
        finally:
            server.shutdown()


class Alive(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""
