"""
A real uvicorn around any ASGI application, in a thread beside the test, on a free port of the loopback.

In-process transports hold an answer back until it is complete and prove nothing about streams or broken lines.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from gateway.sandbox.app import create


class _Server(uvicorn.Server):
    """Says when it listens, so that nobody has to wait and try."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@contextmanager
def serve(app: ASGIApp, config: uvicorn.Config | None = None) -> Iterator[str]:
    """
    The application's base URL, without a trailing slash, as long as the block lasts.

    Open connections are dropped at the end, and what still works is given a second.

    Args:
        app: what is served.
        config: how, where it is not to be as the sandbox is.
    """
    config = config or uvicorn.Config(
        app,
        http="httptools",
        loop="asyncio",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = _Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        if not server.listening.wait(timeout=20):
            raise TimeoutError("uvicorn did not start within 20 seconds")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        listener.close()
        if thread.is_alive():
            raise TimeoutError("uvicorn did not stop within 20 seconds")


@contextmanager
def sandbox(speed: float = 0) -> Iterator[str]:
    """A fresh sandbox's base URL, without `/v1`; by default it never waits."""
    with serve(create(speed)) as url:
        yield url
