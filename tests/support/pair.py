"""
A sandbox and the whole gateway before it, in threads beside the test, each on a real port.

The gateway is put together as the program does it, from a configuration file, its ledger in a folder. Being in this
process it can be hurried: it looks after background responses at once, and a test knows when nobody works any more.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import app
from gateway.cli.server import config
from gateway.flow import background
from gateway.sandbox import tasks
from gateway.sandbox.app import create
from gateway.settings import load
from tests.support.books import MARK, Books
from tests.support.process import KEY, SETTINGS
from tests.support.sandbox import serve

HURRY_S = 0.2
"""How long the hurried gateway waits for an upstream that says nothing."""
PAUSE_S = 0.05
"""Between two looks at a background response."""
_NOBODYS_PORT = -1


class Watched:
    """An application, who came to it, and whether it still works for somebody."""

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._inside = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.came: Counter[str] = Counter()
        """Calls with this mark, as soon as they have been read."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._loop = asyncio.get_running_loop()
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        mark = dict(scope["headers"]).get(MARK.encode(), b"").decode("latin-1")
        self._inside += 1
        self.came[mark] += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._inside -= 1

    @property
    def is_idle(self) -> bool:
        """Whether no call is being answered, and no response is made in the background."""
        return self._inside == 0 and not any(task.get_loop() is self._loop for task in list(tasks._held))


@dataclass(frozen=True)
class LivePair:
    """
    Both, and both books.

    Args:
        base_url: of the gateway, as an SDK is told.
        hurried_url: of another worker of it, which gives an upstream that is silent up after HURRY_S.
    """

    base_url: str
    hurried_url: str
    sandbox: Watched
    books: Books = field(repr=False)


@contextmanager
def live_pair(folder: Path, keys: str) -> Iterator[LivePair]:
    """
    A pair, as long as the block lasts.

    Args:
        folder: where the ledger lies.
        keys: `[[key]]` sections, of the team `team`.
    """
    sandbox = Watched(create(0))
    with (
        pytest.MonkeyPatch.context() as patch,
        _quiet_log(),
        serve(sandbox) as sandbox_url,
    ):
        patch.setattr(background, "ROUND_S", PAUSE_S)
        patch.setattr(background, "PAUSES_S", (PAUSE_S,))
        with (
            _gateway(folder, sandbox_url, "", keys) as patient,
            _gateway(folder, sandbox_url, f"read_timeout_s = {HURRY_S}", keys) as hurried,
        ):
            yield LivePair(f"{patient}/v1", f"{hurried}/v1", sandbox, Books(folder, sandbox_url))


@contextmanager
def _gateway(folder: Path, sandbox_url: str, upstream: str, keys: str) -> Iterator[str]:
    file = folder / "gateway.toml"
    rest = f'{keys}\n[store]\nurl = "sqlite:///{folder}/data"\n[log]\nlevel = "error"\nformat = "text"\n'
    file.write_text(
        SETTINGS.format(
            base_url=f"{sandbox_url}/v1",
            api_key="sk-up",
            key=KEY,
            upstream=upstream,
            rest=rest,
            cached="false",
            cache="",
        )
    )
    settings = load(file, {})
    built = app.build(settings, _NOBODYS_PORT)
    with serve(built, config(built, protocol=app.protocol(settings), drain_timeout_s=1)) as url:
        yield url


@contextmanager
def _quiet_log() -> Iterator[None]:
    """The program's log is this process's: afterwards it is as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
