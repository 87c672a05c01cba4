"""Waiting for what has no event."""

import asyncio
from collections.abc import Callable

from tests.support.raw import PATIENCE_S, Wire


async def until(condition: Callable[[], bool], *, every_s: float = 0) -> None:
    """
    Returns once the condition holds; fails when patience is at its end.

    Args:
        condition: to hold.
        every_s: between two looks; 0 is one turn of the loop.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(every_s)


async def write_for_ever(wire: Wire, piece: bytes) -> None:
    """Writes until the other side has cut the connection: raises ConnectionError then."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await wire.write(piece)
            await asyncio.sleep(0)
