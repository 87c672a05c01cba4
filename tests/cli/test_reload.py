"""The configuration is read again: taken over as far as it can be, or refused as a whole, and the log says which."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.reload import Reader
from gateway.settings import ConfigError

CONFIG = """
[upstream]
api_key = "sk-up"
{upstream}
[server]
port = {port}
[[team]]
id = "t"
[[key]]
id = "k"
team = "t"
secret = "{secret}"
{rest}
"""


class File:
    """A configuration file that changes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, *, secret: str = "sk-one", port: int = 1, rest: str = "", upstream: str = "") -> None:
        self.path.write_text(CONFIG.format(secret=secret, port=port, rest=rest, upstream=upstream))


@pytest.fixture
def file(tmp_path: Path) -> File:
    made = File(tmp_path / "imagegate.toml")
    made.has()
    return made


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == level]


def test_what_was_changed_is_in_force_and_named(file: File, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reader = Reader(file.path, {})
    file.has(secret="sk-two")
    read = reader.again()
    assert read is not None
    assert read is reader.current
    secret = read.settings.keys[0].secret
    assert secret is not None
    assert secret.get_secret_value() == "sk-two"
    assert said(caplog, logging.INFO) == ["the configuration was read again; changed: key"]
    assert "sk-" not in caplog.text


def test_a_faulty_one_is_refused_with_every_fault_and_the_old_one_stays(
    file: File, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader(file.path, {})
    before = reader.current
    file.has(port=-1, rest="colour = 3")
    assert reader.again() is None
    assert reader.current is before
    first, *faults = said(caplog, logging.ERROR)
    assert first == "the configuration was read again and is refused; the old one stays. Faults: 2"
    assert ["server.port" in fault for fault in faults].count(True) == 1
    assert ["colour" in fault for fault in faults].count(True) == 1
    file.has(secret="sk-two")
    assert reader.again() is not None


def test_one_without_keys_is_refused(file: File, caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader(file.path, {})
    file.path.write_text('[upstream]\napi_key = "sk-up"\n')
    assert reader.again() is None
    assert "every call would be answered 401" in caplog.text


def test_certificates_that_cannot_be_read_are_refused(file: File, caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader(file.path, {})
    (file.path.parent / "ca.pem").write_text("no certificate")
    file.has(upstream='ca_file = "ca.pem"')
    assert reader.again() is None
    assert "the upstream's settings: cannot be used: " in caplog.text


def test_what_waits_for_a_restart_is_named_each_time(file: File, caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader(file.path, {})
    file.has(port=2)
    for _ in range(2):
        caplog.clear()
        read = reader.again()
        assert read is not None
        assert read.settings.server.port == 1
        assert said(caplog, logging.WARNING) == ["server.port: in force only after a restart"]


@pytest.mark.parametrize(("workers", "how"), [(1, "a restart"), (2, "new workers (SIGUSR1) or a restart")])
def test_what_waits_for_new_workers_is_named(
    file: File, caplog: pytest.LogCaptureFixture, workers: int, how: str
) -> None:
    reader = Reader(file.path, {"server.workers": workers})
    file.has(rest="[cache]\nmax_bytes = 5000000000")
    assert reader.again() is not None
    assert said(caplog, logging.WARNING) == [f"cache.max_bytes: in force only after {how}"]


def test_what_the_command_line_says_stays_so(file: File) -> None:
    reader = Reader(file.path, {"server.port": 7})
    file.has(port=2)
    read = reader.again()
    assert read is not None
    assert read.settings.server.port == 7


def test_an_overlay_of_the_catalogue_is_read_again(
    file: File, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    overlay = tmp_path / "models.toml"
    overlay.write_text("")
    file.has(rest=f'[catalog]\npath = "{overlay}"')
    reader = Reader(file.path, {})
    overlay.write_text('[defaults]\n"images.generations" = "gpt-image-2"\n')
    read = reader.again()
    assert read is not None
    assert read.catalog.default_model("images.generations") == "gpt-image-2"
    assert said(caplog, logging.INFO) == ["the configuration was read again; changed: the catalogue"]
    overlay.write_text("[nonsense]\n")
    assert reader.again() is None


def test_the_first_reading_fails_as_a_start_does(file: File) -> None:
    file.path.write_text("[server]\nport = -1\n")
    with pytest.raises(ConfigError):
        Reader(file.path, {})


@pytest.mark.system
def test_one_process_waits_for_signals_in_a_thread_of_its_own(tmp_path: Path) -> None:
    file = File(tmp_path / "imagegate.toml")
    file.has()
    code = (
        "import sys, pathlib, logging; logging.basicConfig()\n"
        "from gateway.cli.reload import Reader, on_signals\n"
        "reader = Reader(pathlib.Path(sys.argv[1]), {})\n"
        "on_signals(reader, lambda read: print('told', flush=True))\n"
        "print('waits', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(file.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        assert process.stderr is not None
        os.kill(process.pid, signal.SIGUSR1)
        assert "there is only one (server.workers = 1)" in process.stderr.readline()
        os.kill(process.pid, signal.SIGHUP)
        assert process.stdout.readline() == "told\n"
        process.communicate("", timeout=30)
    assert process.returncode == 0
