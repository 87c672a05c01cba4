"""
The tasks that outlive the call that started them: background responses, and the look-out for a client that leaves.

Each is held until it is done, so none is collected half-way.
"""

import asyncio
from collections.abc import Coroutine

_held: set[asyncio.Task[None]] = set()


def spawn(work: Coroutine[None, None, None]) -> asyncio.Task[None]:
    """Starts this work and holds it until it ends."""
    task = asyncio.create_task(work)  # noqa: TID251 - the sandbox imports nothing of the gateway; the set holds it
    _held.add(task)
    task.add_done_callback(_held.discard)
    return task
