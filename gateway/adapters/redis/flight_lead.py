"""
The leader's end of a flight: what it receives goes into a stream, entry by entry, each with its number.

One that was taken for dead is told so with its next word, and tells no more; it still does not lead, and lands nowhere.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from gateway.adapters.redis.flight_tower import Tower
from gateway.core.flight import Landing, Stored, marker_s
from gateway.core.headers import Header
from gateway.core.tidings import head_dumps
from gateway.ports import LEASE_S, StoreFailed

BLOCK_BYTES: Final = 256 * 1024 - 512
"""In one entry: with what is around it, it fits into 256 KiB of memory."""
LINGER_S: Final = 30.0
"""For so long it is known that an answer was kept: for those who had looked just before."""


class RedisLead:
    """
    The `LeadingFlight` port.

    Args:
        tower: where it is told.
        name: of the flight.
        token: by which it is led.
        worker: this process; what it follows by itself does not count.
        hit_for_miss_s: see `core.flight.enter`.
        over: told the token when its lease is to be renewed no more.
        doubt: told token and name, if the server may take it to be led on.
    """

    def __init__(
        self,
        tower: Tower,
        name: str,
        token: str,
        worker: str,
        hit_for_miss_s: float,
        *,
        over: Callable[[str], None],
        doubt: Callable[[str, str], None],
    ) -> None:
        self._tower = tower
        self._name = name
        self._token = token
        self._worker = worker
        self._hit_for_miss_s = hit_for_miss_s
        self._over = over
        self._doubt = doubt
        self._number = 0
        """Of what was told last."""
        self._size = 0
        """Bytes of the body."""
        self._is_over = False
        self._is_deposed = False

    async def began(self, status: int, headers: Sequence[Header]) -> None:
        """The head has come."""
        await self._tell("head", head_dumps(status, headers))

    async def write(self, piece: bytes) -> None:
        """The next bytes have come."""
        for at in range(0, len(piece), BLOCK_BYTES):
            await self._tell("piece", piece[at : at + BLOCK_BYTES])
        self._size += len(piece)

    async def leads(self) -> bool:
        """Whether the name is still ours."""
        return not self._is_deposed and await self._tower.leads(self._name, self._token)

    async def followed(self) -> bool:
        """Whether another process follows that lives."""
        found = await self._tower.followers(self._name, self._token)
        return any(not one.startswith(self._worker) for one in found)

    async def land(self, landing: Landing) -> bool:
        """Tell how it ended."""
        if self._is_over:
            return False
        useful_s = LINGER_S if isinstance(landing, Stored) else marker_s(landing, self._hit_for_miss_s)
        has_landed = await self._tower.land(
            # Followers whose stream is lost look at the row, some of them later.
            self._name,
            self._token,
            self._number + 1,
            landing,
            self._size,
            max(useful_s, LEASE_S),
        )
        self._end()
        return has_landed

    async def release(self) -> None:
        """Lead no more."""
        if not self._is_over:
            self._end()
            try:
                await self._tower.release(self._name, self._token)
            except StoreFailed:
                self._doubt(self._token, self._name)

    async def renew(self) -> None:
        """This process lives. Never raises."""
        with suppress(StoreFailed):
            await self._tower.renew(self._name, self._token)

    async def _tell(self, kind: str, content: bytes) -> None:
        if self._is_over or self._is_deposed:
            return
        told = await self._tower.tell(self._name, self._token, self._number + 1, kind, content)
        if told < 0:
            raise StoreFailed("the server has lost what it was told of a flight", unknown=False)
        self._number += told
        self._is_deposed = not told

    def _end(self) -> None:
        self._is_over = True
        self._over(self._token)
