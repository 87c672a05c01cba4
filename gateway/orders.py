"""
What a worker is told from outside while it serves: a new configuration, and that it is about to stop.

Whoever tells it may be any thread, or a handler of signals; the application hears of it in its own event loop. What is
told before anybody listens waits: the last configuration counts.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from gateway.core.catalog import Catalog
from gateway.settings import Settings

Obey = Callable[[Settings, Catalog], None]


class Orders:
    """
    Orders for one worker.

    Attributes:
        is_draining: it stops: no new requests should be sent here. Set once, from anywhere.
    """

    def __init__(self) -> None:
        self.is_draining = False
        self._lock = threading.Lock()
        self._told: tuple[Settings, Catalog] | None = None
        self._obey: Obey | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def attend(self, obey: Obey) -> None:
        """
        Take orders from now on, in the loop that runs.

        Args:
            obey: is given each configuration that is told. Never raises.
        """
        with self._lock:
            self._loop, self._obey = asyncio.get_running_loop(), obey
        self._pass_on()

    def reload(self, settings: Settings, catalog: Catalog) -> None:
        """Work by this configuration from now on."""
        with self._lock:
            self._told, loop = (settings, catalog), self._loop
        if loop is not None:
            # A loop that has ended has nothing left to do by it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        with self._lock:
            told, self._told = self._told, None
        if told is not None and self._obey is not None:
            self._obey(*told)
