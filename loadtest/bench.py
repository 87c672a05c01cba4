"""
What the gateway costs: `make bench`, or `python -m loadtest.bench`.

Upstream, gateway and client run on this machine in one go, so that only the ratios mean anything: absolute figures
are the machine's. Anchors are the bare upstream and, where it is installed, nginx as a plain proxy.
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from loadtest import client

CONFIG = """
[ops]
port = 0
[cache]
enabled = false
[upstream]
base_url = "http://127.0.0.1:{port}/v1"
api_key = "sk-up"
[[team]]
id = "bench"
[[key]]
id = "bench"
team = "bench"
secret = "sk-bench"
"""
NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  keepalive_requests 100000000;
  upstream up {{ server 127.0.0.1:{port}; keepalive 256; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{listen};
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""
ROUNDS = 3
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@contextmanager
def process(*command: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A child, ended with the block."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder, env=_environment())
    try:
        yield child
    finally:
        child.terminate()
        child.wait(20)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


def line_of(child: subprocess.Popen[str]) -> str:
    """The next line that a child prints."""
    if child.stdout is None:
        raise RuntimeError("no output")
    return child.stdout.readline()


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, in user and kernel (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def _free_port() -> int:
    import socket  # noqa: PLC0415 - for this line only

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def measure(port: int, pid: int | None) -> dict[str, float]:
    """All figures of one target, medians over rounds."""
    await client.latencies(port, "models", 50)
    await client.lags(port, 1, 1)
    runs: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        one_at_a_time = await client.latencies(port, "models", 400)
        before = cpu_s(pid) if pid else 0.0
        done, took = await client.throughput(port, "models", 32, 2.0)
        after = cpu_s(pid) if pid else 0.0
        large, large_took = await client.throughput(port, "files", 8, 2.0)
        events = sorted(await client.lags(port, 16, 2))
        runs.append(
            {
                "small p50, ms": statistics.median(one_at_a_time) * 1000,
                "small, requests/s": done / took,
                "small CPU, µs/request": (after - before) / done * 1e6,
                "2 MB, MB/s": large * 2.097 / large_took,
                "SSE lag p50, ms": statistics.median(events) * 1000,
                "SSE lag p99, ms": events[int(len(events) * 0.99)] * 1000,
            }
        )
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def main() -> int:
    """Measure every target and print the table."""
    results: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(process(sys.executable, "-m", "loadtest.upstream", folder=folder))
        up_port = int(line_of(upstream))
        results["direct"] = uvloop.run(measure(up_port, None))
        if nginx := shutil.which("nginx", path=f"{os.defpath}:/usr/sbin"):
            listen = _free_port()
            (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=up_port, listen=listen))
            child = stack.enter_context(process(nginx, "-c", str(folder / "nginx.conf"), folder=folder))
            uvloop.run(_reachable(listen))
            results["nginx"] = uvloop.run(measure(listen, child.pid))
        (folder / "gateway.toml").write_text(CONFIG.format(port=up_port))
        gateway = stack.enter_context(
            process(
                sys.executable,
                "-m",
                "gateway",
                "serve",
                "--config",
                "gateway.toml",
                "--port",
                "0",
                folder=folder,
            )
        )
        port = int(line_of(gateway).partition("http://127.0.0.1:")[2].split()[0])
        results["imagegate"] = uvloop.run(measure(port, gateway.pid))
    _print(results)
    return 0


async def _reachable(port: int) -> None:
    for _ in range(100):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise RuntimeError(f"nothing listens on {port}")


def _print(results: dict[str, dict[str, float]]) -> None:
    table = Table(title=f"medians of {ROUNDS} rounds")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    anchors = [name for name in results if name != "imagegate"]
    for name in anchors:
        table.add_column(f"imagegate / {name}", justify="right")
    for figure, value in results["imagegate"].items():
        ratios = [
            f"{value / results[anchor][figure]:.2f}" if results[anchor][figure] else "–" for anchor in anchors
        ]
        table.add_row(figure, *(f"{row[figure]:.2f}" for row in results.values()), *ratios)
    Console(width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
