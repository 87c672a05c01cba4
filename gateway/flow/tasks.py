"""
Tasks that live as long as they need to.

asyncio keeps only a weak reference to a task: one that nobody holds may vanish half-way. `spawn` holds it, names
it and reports what it raises.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Self

_log = logging.getLogger("imagegate.tasks")
_running: set[asyncio.Task[object]] = set()


def spawn(name: str, work: Coroutine[object, object, object]) -> asyncio.Task[object]:
    """
    Run `work` in a task of its own.

    Args:
        name: for logs and debuggers.
        work: what to run. An exception that leaves it is logged: nobody else is there to see it.
    """
    task = asyncio.create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[object]) -> None:
    _running.discard(task)
    if not task.cancelled() and task.exception() is not None:
        _log.error("task %s failed", task.get_name(), exc_info=task.exception())


class ClientGoneError(Exception):
    """The client closed its connection before it had its answer."""


class WhilePresent:
    """
    Runs a block only as long as the client is there.

    When `gone` returns, the block is cancelled and `ClientGoneError` raised in its stead, in the manner of
    `asyncio.timeout`.

    Args:
        gone: returns once the client has left; cancelled when the block ends.
    """

    def __init__(self, gone: Callable[[], Awaitable[object]]) -> None:
        self._gone = gone
        self._left = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None, "runs inside a task"  # noqa: S101 - asyncio's own guarantee, for the type checker
        self._block = task
        self._cancelling = task.cancelling()
        self._watcher = spawn("client watch", self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        if (
            self._left
            and self._block.uncancel() <= self._cancelling
            and kind is not None
            and issubclass(kind, asyncio.CancelledError)
        ):
            raise ClientGoneError from error

    async def _watch(self) -> None:
        await self._gone()
        self._left = True
        self._block.cancel("the client left")
