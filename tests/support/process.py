"""The real thing: `imagegate` in a process of its own."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDRESS = re.compile(r"http://[0-9.\[\]:]+")
KEY = "sk-test"
Process = subprocess.Popen[str]
SETTINGS = """\
[ops]
port = 0

[cache]
enabled = {cached}
{cache}

[upstream]
base_url = "{base_url}"
api_key = "{api_key}"
sandbox = true
{upstream}

[[team]]
id = "team"

[[key]]
id = "key"
team = "team"
secret = "{key}"
{rest}
"""


@dataclass
class Running:
    """A process of ours that listens."""

    process: subprocess.Popen[str]
    addresses: list[str]
    log: Path

    @property
    def url(self) -> str:
        """The first address it told: `http://127.0.0.1:PORT`."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def logged(self, logger: str) -> list[dict[str, Any]]:
        """Its log's whole lines of this logger: what is being written just now is left for the next look."""
        whole = self.log.read_bytes().rpartition(b"\n")[0].splitlines()
        return [line for line in map(json.loads, whole) if line["logger"] == logger]


@contextmanager
def running(
    *arguments: str,
    folder: Path,
    env: Mapping[str, str] | None = None,
    python: str = sys.executable,
    begun: Callable[[Process], None] = lambda _: None,
) -> Iterator[Running]:
    """
    Run `imagegate …` until the block ends; it has listened by then.

    Args:
        arguments: such as `serve`, `--port`, `0`.
        folder: its working directory; its log goes there.
        env: variables besides the test's own.
        python: runs it.
        begun: called as soon as the process is there.
    """
    log = folder / f"{arguments[0]}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [python, "-m", "gateway", *arguments],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        begun(process)
        yield Running(process, _addresses(process, log), log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        with contextlib.suppress(OSError):
            assert process.stdout is not None
            process.stdout.close()


def _addresses(process: subprocess.Popen[str], log: Path) -> list[str]:
    """From the line that tells where it listens."""
    assert process.stdout is not None
    for line in process.stdout:
        found = ADDRESS.findall(line)
        if found and "listens" in line:
            return found
    process.wait()
    raise AssertionError(f"it ended with {process.returncode}:\n{log.read_text()}")


@contextmanager
def gateway_process(
    base_url: str,
    folder: Path,
    *,
    upstream: str = "",
    api_key: str = "sk-up",
    key: str = KEY,
    rest: str = "",
    arguments: tuple[str, ...] = (),
    cached: bool = False,
    cache: str = "",
    begun: Callable[[Process], None] = lambda _: None,
) -> Iterator[Running]:
    """
    `imagegate serve` in front of `base_url`, with the key `sk-test`.

    Args:
        upstream: further lines of the [upstream] section.
        rest: further lines of the key, and of the file.
        cached: whether answers are kept and calls shared. Most tests ask the same thing again and again.
        cache: further lines of the [cache] section.
        begun: as of `running`.
    """
    config = folder / "gateway.toml"
    settings = SETTINGS.format(
        base_url=base_url,
        api_key=api_key,
        key=key,
        upstream=upstream,
        rest=rest,
        cached="true" if cached else "false",
        cache=cache,
    )
    config.write_text(settings)
    asked = ("serve", "--config", str(config), "--port", "0", *arguments)
    with running(*asked, folder=folder, begun=begun) as process:
        yield process


@contextmanager
def sandbox_process(folder: Path, *, speed: str = "0") -> Iterator[Running]:
    """`imagegate sandbox`, as fast as it can."""
    with running("sandbox", "--port", "0", "--speed", speed, folder=folder) as process:
        yield process
