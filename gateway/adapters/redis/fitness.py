"""
Whether a server is fit to keep a ledger: found out at the start, and of a server that takes another one's place.

Refused: what is too old, what only copies another server, what may throw away counters when it is full, and a ledger that a
newer program has written, or a migration left incomplete. Warned of: what forgets everything when it is restarted, and that
no ledger was there yet.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import uuid4

from redis.asyncio import RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.adapters.redis.acts import begun, key
from gateway.adapters.redis.connection import FAILURES, Client, RedisAddress, close, connect, reason_of
from gateway.ports import UnfitError

OLDEST: Final = (7, 0)
VERSION: Final = 1
"""Of what is kept, and how."""
_PATIENCE_S: Final = 5.0

_log = logging.getLogger("imagegate.store")
_Info = dict[str, Any]
"""Any: redis-py makes numbers of some values."""


def examine(
    address: RedisAddress,
    tag: str,
    *,
    only_looks: bool = False,
    strict: bool = False,
    make: bool = True,
    may_be_incomplete: bool = False,
) -> str | None:
    """
    See that the ledger's server is fit, and mark the ledger as one of this version.

    It waits, and may be called within a loop or without one.

    Args:
        address: of the server.
        tag: of the ledger's keys.
        only_looks: nothing will be written.
        strict: whether writes are to wait for a replica.
        make: whether a ledger is made if there is none.
        may_be_incomplete: it may have been left so by a migration, which is to begin again.

    Returns:
        Which ledger it is: another one that is begun in its place one day is called something else. None: it has no name,
        and will be given none.

    Raises:
        UnfitError: it is not; the message says why and what to do.
    """
    work = _examined(
        address, tag, only_looks=only_looks, strict=strict, make=make, may_be_incomplete=may_be_incomplete
    )
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _examined(
    address: RedisAddress, tag: str, *, only_looks: bool, strict: bool, make: bool, may_be_incomplete: bool
) -> str | None:
    client = connect(address, timeout_s=_PATIENCE_S, connect_timeout_s=_PATIENCE_S)
    try:
        for info in () if only_looks else await _informed(client, tag):
            _check(address, info, strict=strict)
        mark = key(tag, "mark")
        found, moving = await client.execute_command("HMGET", mark, "version", "moving")
        if found is None and not make:
            raise UnfitError(
                f"There is no ledger at {address}: no gateway has kept one there yet, or it has gone. store.url names the "
                "place; a gateway that starts anew makes a new one."
            )
        if found is None:
            is_new = await client.execute_command("HSETNX", mark, "version", VERSION)
            if is_new and not may_be_incomplete:  # a migration is told to begin one
                _log.warning(
                    "there was no ledger at %s: a new one was begun. If there was one before, it has gone, and every "
                    "budget begins anew.",
                    address,
                )
        elif int(found) > VERSION:
            raise UnfitError(
                f"The ledger at {address} is of version {int(found)}, this program knows up to {VERSION}: a newer "
                "imagegate wrote it. Install that version again, or name another place in store.url."
            )
        elif moving is not None and not may_be_incomplete:
            raise UnfitError(
                f"The ledger at {address} is incomplete: a migration to it was not finished. Run imagegate migrate again, "
                "with --resume."
            )
        return await (_name_of(client, tag) if only_looks else _named(client, tag))
    except FAILURES as error:
        raise UnfitError(f"The store at {address} cannot be used: {reason_of(error, address)}.") from error
    finally:
        await close(client)


async def _named(client: Client, tag: str) -> str | None:
    """Give the ledger its name if it has none."""
    await client.execute_command("SET", key(tag, "id"), uuid4().hex, "NX")
    name = await _name_of(client, tag)
    await client.execute_command("SET", key(tag, begun(name or "")), "1")
    return name


async def _name_of(client: Client, tag: str) -> str | None:
    found: bytes | None = await client.execute_command("GET", key(tag, "id"))
    return None if found is None else found.decode()


async def _informed(client: Client, tag: str) -> list[_Info]:
    """What each server that may have the ledger one day says of itself; the one that has it now has to."""
    if not isinstance(client, RedisCluster):
        return [await client.info()]
    await client.initialize()
    owner, found = client.get_node_from_key(key(tag, "mark")), []
    for node in client.get_primaries():
        try:
            found.append(await client.execute_command("INFO", target_nodes=node))
        except (RedisConnectionError, RedisTimeoutError):
            if owner is None or node.name == owner.name:
                raise
    return found


def _check(address: RedisAddress, info: _Info, *, strict: bool) -> None:
    version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if version < OLDEST:
        raise UnfitError(
            f"The server at {address} is Redis {info['redis_version']}; at least "
            f"{'.'.join(map(str, OLDEST))} is needed, or any Valkey."
        )
    if info.get("role") != "master":
        raise UnfitError(
            f"The server at {address} is a replica, which cannot be written to. Name its master in store.url, or the "
            "sentinels that know it: redis+sentinel://HOST:PORT/MASTER."
        )
    see_that_it_keeps(address, info)
    if strict and not info.get("connected_slaves"):
        raise UnfitError(
            f"The server at {address} has no replica, and store.durability is strict: nothing could ever be confirmed. "
            "Add a replica, or choose another durability."
        )


def see_that_it_keeps(address: RedisAddress, info: Mapping[str, Any]) -> None:
    """
    See that a server does not throw the ledger away; warn if it forgets it when it is restarted.

    Args:
        address: of it.
        info: what it says of itself. Any: redis-py makes numbers of some values.

    Raises:
        UnfitError: it may throw it away when it is full.
    """
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):  # the others throw away what has an end, and nothing here has
        raise UnfitError(
            f"The server at {address} may throw away what it holds when it is full (maxmemory-policy {policy}), and with it "
            "what was spent. Set maxmemory-policy noeviction there, and keep the cache on another server (cache.url)."
        )
    if not info.get("aof_enabled"):
        _log.warning(
            "the store at %s keeps no append-only file: what was spent is forgotten if it is restarted. Set appendonly yes.",
            address,
        )
