"""
What many streams cost in memory: `python -m loadtest.streams`.

Two proofs on one gateway process: 2 000 streams that are open and silent, and 200 clients that read 6 MB streams
slowly. Printed is the growth of the process's memory (proportional set size) per stream, and how long a healthy
request takes meanwhile.
"""

import asyncio
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from loadtest import client
from loadtest.bench import CONFIG, line_of, process

IDLE = 2000
SLOW = 200
EVENT = b"data: " + b"x" * (1 << 20) + b"\n\n"
EVENTS = 6
QUIET = '[log]\nlevel = "error"\n'
REQUEST = (
    b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-bench\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def memory_kb(pid: int) -> int:
    """Proportional set size of a process (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("no Pss")


class Upstream:
    """Streams that stay silent, or that send 6 MB as fast as they are taken."""

    def __init__(self) -> None:
        self.silent = True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: one request after the other."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                    )
                    continue
                await reader.readexactly(2)
                writer.write(HEAD)
                if self.silent:
                    await reader.read()
                    return
                for _ in range(EVENTS):
                    writer.write(f"{len(EVENT):x}\r\n".encode() + EVENT + b"\r\n")
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def idle(port: int, pid: int) -> None:
    """Open silent streams, look at the memory, close them."""
    before = memory_kb(pid)
    connections = []
    for _ in range(IDLE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        connections.append((reader, writer))
    for reader, _ in connections:
        await reader.readuntil(b"\r\n\r\n")
    healthy = sorted(await client.latencies(port, "models", 100))
    after = memory_kb(pid)
    print(
        f"{IDLE} idle streams: {(after - before) / IDLE:.1f} KB each; "
        f"a healthy request meanwhile: {healthy[50] * 1000:.1f} ms (median)"
    )
    for _, writer in connections:
        writer.transport.abort()
    await asyncio.sleep(1)


async def slow(port: int, pid: int) -> None:
    """Read 6 MB streams at 100 KB/s for a while, and look at the peak."""
    before = peak = memory_kb(pid)
    readers = []
    for _ in range(SLOW):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=65_536)
        writer.write(REQUEST)
        readers.append((reader, writer))
    for _ in range(50):
        for reader, _ in readers:
            await reader.read(10_000)
        await asyncio.sleep(0.05)
        peak = max(peak, memory_kb(pid))
    healthy = sorted(await client.latencies(port, "models", 100))
    print(
        f"{SLOW} slow readers of {EVENTS} MB: {(peak - before) / SLOW:.0f} KB each at the peak; "
        f"a healthy request meanwhile: {healthy[50] * 1000:.1f} ms (median)"
    )
    for _, writer in readers:
        writer.transport.abort()


async def measure(folder: Path, stack: ExitStack) -> None:
    """Run both proofs against one gateway."""
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, backlog=4096)
    (folder / "gateway.toml").write_text(QUIET + CONFIG.format(port=server.sockets[0].getsockname()[1]))
    gateway = stack.enter_context(
        process(
            sys.executable, "-m", "gateway", "serve", "--config", "gateway.toml", "--port", "0", folder=folder
        )
    )
    line = await asyncio.to_thread(line_of, gateway)
    port = int(line.partition("http://127.0.0.1:")[2].split()[0])
    await client.latencies(port, "models", 50)
    print(f"idle process: {memory_kb(gateway.pid) / 1024:.0f} MB")
    await idle(port, gateway.pid)
    upstream.silent = False
    await slow(port, gateway.pid)


def main() -> int:
    """Measure and print."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        uvloop.run(measure(folder, stack))
    return 0


if __name__ == "__main__":
    sys.exit(main())
