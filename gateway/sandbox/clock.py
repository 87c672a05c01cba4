"""
The sandbox's one look at a watch.

The sandbox stands in for a foreign service, so it has a clock of its own and does not ask the gateway's: a test
that stops the gateway's time must not stop OpenAI's.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta


def now() -> float:
    """Epoch seconds, for `created_at` and the like."""
    return time.time()  # noqa: TID251 - a stand-in for a foreign service has its own clock


def instant(*, minutes: int = 0) -> str:
    """The RFC 3339 instant so many minutes from now, whole seconds, UTC."""
    return (datetime.fromtimestamp(now(), UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pace:
    """
    How long a call takes, and how its time is spread over its stages.

    Args:
        total_s: seconds from construction to the end of the work; 0 never waits.
        gone: set when the client has left; a wait ends early then.
    """

    __slots__ = ("_gone", "_start", "total_s")

    def __init__(self, total_s: float, gone: asyncio.Event | None = None) -> None:
        self.total_s = total_s
        self._gone = gone
        self._start = asyncio.get_running_loop().time()

    async def until(self, part: float) -> None:
        """Returns when this part (0 to 1) of the total has passed, or the client has left."""
        left = self._start + self.total_s * part - asyncio.get_running_loop().time()
        if left <= 0:
            return
        if self._gone is None:
            await asyncio.sleep(left)
            return
        try:
            async with asyncio.timeout(left):
                await self._gone.wait()
        except TimeoutError:
            return
