"""A real Prometheus, as Debian packages it, that scrapes real gateways."""

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from tests.support.tools import missing

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
SCRAPES_S = 0.5
_PATIENCE_S = 60.0


def program(name: str) -> str:
    """Where `prometheus` or `promtool` is; without it the test is skipped."""
    found = shutil.which(name)
    if found is None:
        missing(name, "apt-get install prometheus")
    return found


def check(*arguments: str, text: str | None = None, folder: Path | None = None) -> str:
    """What promtool says; it has to be content, and to have nothing to say by the way."""
    done = subprocess.run(
        [program("promtool"), *arguments], input=text, capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    async def ask(self, query: str) -> list[Mapping[str, Any]]:
        """The series of an instant query, now."""
        found = await self._get("/api/v1/query", {"query": query})
        result: list[Mapping[str, Any]] = found["data"]["result"]
        return result

    async def value(self, query: str) -> float:
        """The only value of it; 0: there is none."""
        found = await self.ask(query)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else 0.0

    async def rules(self) -> list[Mapping[str, Any]]:
        """Every rule, with how it does."""
        found = await self._get("/api/v1/rules", {})
        return [rule for group in found["data"]["groups"] for rule in group["rules"]]

    async def has_scraped(self, since: float) -> None:
        """Returns once every target has been scraped whole after an instant, epoch seconds."""
        async with asyncio.timeout(_PATIENCE_S):
            # The first that begins later, and its neighbour, which has ended.
            while (
                await self.value("min(timestamp(up))") < since + SCRAPES_S or await self.value("min(up)") < 1
            ):
                await asyncio.sleep(SCRAPES_S)

    async def _get(self, path: str, params: Mapping[str, str]) -> Any:
        async with httpx2.AsyncClient() as http:
            answer = await http.get(f"{self.url}{path}", params=dict(params))
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def prometheus(folder: Path, targets: Sequence[str]) -> Iterator[Prometheus]:
    """
    One that scrapes twice a second, with the rules of this repository.

    Args:
        folder: where it keeps things.
        targets: `host:port` of operators' listeners.
    """
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(RULES / "recording.yml"), str(RULES / "alerts.yml")],
        "scrape_configs": [{"job_name": "imagegate", "static_configs": [{"targets": list(targets)}]}],
    }
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(config))  # JSON is YAML.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, folder / "prometheus.log")
        yield Prometheus(url)
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if httpx2.get(f"{url}/-/ready").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(f"Prometheus does not get ready:\n{log.read_text()}")
        time.sleep(0.05)
