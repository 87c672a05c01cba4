"""Telling a server what this process did, as far as it does not know. What that is: recall.py."""

import asyncio
import logging
from typing import Final

from gateway.adapters.redis import rows
from gateway.adapters.redis.acts import act
from gateway.adapters.redis.connection import is_broken
from gateway.adapters.redis.ledger_store import Store
from gateway.adapters.redis.recall import Did, Recall

ASKED_AT_ONCE: Final = 500
"""Subjects of which a server is asked at once whether it knows them."""
TOLD_AT_ONCE: Final = 16
"""Those of which it is told at once."""
_log = logging.getLogger("imagegate.store")


async def tell_again(store: Store, recall: Recall, run: str) -> None:
    """
    Do again what the server does not know of.

    Args:
        store: the way to the server.
        recall: what is kept in mind.
        run: the server's name.

    Raises:
        RedisError: not all of it was done.
    """
    kept = list(recall.all(asyncio.get_running_loop().time()).items())
    turns = asyncio.Semaphore(TOLD_AT_ONCE)

    async def again(did: tuple[Did, ...]) -> None:
        async with turns:
            for one in did:
                await store.told(run, act(one.act), *one.arguments)

    for first in range(0, len(kept), ASKED_AT_ONCE):
        some = kept[first : first + ASKED_AT_ONCE]
        asked = [one for subject, did in some for one in (subject, _token_of(did))]
        known = await store.told(run, act("known"), *asked)
        lacking = (_lacking(did, what) for (_, did), what in zip(some, known, strict=True))
        for failed in await asyncio.gather(*map(again, lacking), return_exceptions=True):
            if failed is None:
                continue
            if not is_broken(failed):
                raise failed
            _log.error(
                "what the store holds of a call is damaged, and it is not told of it again: %s", failed
            )


def _token_of(did: tuple[Did, ...]) -> str:
    """Of the record that the last settlement wrote; empty: there was none."""
    heads = [one.arguments[1] for one in did if one.act == "settle"]
    return rows.token_of(heads[-1]) if heads else ""


def _lacking(did: tuple[Did, ...], known: int) -> tuple[Did, ...]:
    """What is done again, by what lua/known.lua says of the call; of another subject all of it."""
    match known:
        case 2:
            return ()
        case 1:
            return tuple(one for one in did if one.act != "enter")
        case _:
            return did
