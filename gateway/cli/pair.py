"""
A sandbox and a gateway in front of it, as processes of their own on free ports of the loopback.

Rules of this file:
- Whatever ends the block (its end, an error, Ctrl-C, SIGTERM), both are stopped, by their process id, and waited for.
- They listen to nobody else's settings: a shell with IMAGEGATE_UPSTREAM__BASE_URL set would spend real money.
- What they need and leave lies in a temporary folder, gone with them.
"""

import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final, NoReturn

import click
import httpx2

from gateway.cli import trial
from gateway.settings import environment

# Importing everything takes 2 seconds where it is slow; 30 mean that something is wrong.
_START_S: Final = 30.0
_STOP_S: Final = 10.0
_SHOWN_LINES: Final = 30
_HEAD: Final = """\
[server]
drain_timeout_s = 1

[ops]
port = 0

[auth]
admin_token = "{token}"

[log]
format = "text"
"""


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours. `url` is where it listens, `operators` where it listens to operators; without a path."""

    name: str
    url: str
    operators: str
    log: Path
    process: "subprocess.Popen[str]"

    def last_words(self) -> str:
        """Whether it runs, and the end of what it wrote to stderr."""
        code = self.process.poll()
        state = "still runs" if code is None else f"ended with code {code}"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = "\n".join(lines[-_SHOWN_LINES:])
        return f"`imagegate {self.name}` {state}; " + (
            f"its last words:\n{said}" if said else "it wrote nothing."
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Both processes, ready."""

    sandbox: Child
    gateway: Child
    admin_token: str

    @property
    def base_url(self) -> str:
        """What an SDK is told."""
        return f"{self.gateway.url}/v1"


@contextmanager
def running(speed: float) -> Iterator[Pair]:
    """
    Both of them, until the block ends.

    Args:
        speed: the sandbox's: how many times faster than a real generation, 0 never waits.

    Raises:
        click.ClickException: one of them did not start; the message has what it wrote.
    """
    with TemporaryDirectory(prefix="imagegate-demo-") as name, _ending_by_signal():
        folder = Path(name)
        with _child("sandbox", "--speed", str(speed), folder=folder) as sandbox:
            config = folder / "demo.toml"
            token = secrets.token_hex()
            head = _HEAD.format(token=token)
            text = trial.configuration(upstream=trial.sandbox_at(sandbox.url), head=head)
            config.write_text(text, encoding="utf-8")
            with _child("serve", "--config", str(config), folder=folder) as gateway:
                _ready(gateway, "/readyz")
                _ready(sandbox, "/_sandbox/invoice")
                yield Pair(sandbox, gateway, token)


@contextmanager
def _child(command: str, *arguments: str, folder: Path) -> Iterator[Child]:
    log = folder / f"{command}.log"
    clean = {name: value for name, value in environment().items() if not name.startswith("IMAGEGATE_")}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "gateway", command, "--port", "0", *arguments],
            cwd=folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            url, operators = _addresses(command, process, log)
            yield Child(command, url, operators, log, process)
        finally:
            _stop(process)


def _addresses(command: str, process: "subprocess.Popen[str]", log: Path) -> tuple[str, str]:
    """The addresses on the first line that tells where it listens: the public one, and that of operators if any."""
    # A process that neither speaks nor ends is ended, and that ends the reading below.
    too_late = threading.Timer(_START_S, process.kill)
    too_late.start()
    try:
        for line in process.stdout or ():
            words = line.split()
            if "listens" in words:
                url, *others = (word.rstrip(")") for word in words if word.startswith("http://"))
                return url, next(iter(others), "")
    finally:
        too_late.cancel()
    process.wait()
    raise _not_started(Child(command, "", "", log, process))


def _ready(child: Child, path: str) -> None:
    try:
        httpx2.get(f"{child.url}{path}", trust_env=False, timeout=_START_S).raise_for_status()
    except httpx2.HTTPError:
        raise _not_started(child) from None


def _not_started(child: Child) -> click.ClickException:
    return click.ClickException(f"`imagegate {child.name}` did not start. {child.last_words()}")


def _stop(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _ending_by_signal() -> Iterator[None]:
    """While inside, SIGTERM ends the block as Ctrl-C does, instead of leaving the processes behind."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del frame
    # 128 + the signal's number: how shells tell such an end.
    raise SystemExit(128 + number)
