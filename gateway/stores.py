"""
Which store an address means: the part of app.py that others need too.

Everything that is kept lies in one of two kinds of places, a folder (SQLite and files) or a Redis, and each of the ports
has an adapter for both. What is of one machine alone (settlements that wait for the store, bodies of a cache in a Redis that
are to be files) lies in a folder always.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, Literal

from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.flights import RedisFlights
from gateway.adapters.redis.idempotency import RedisIdempotencyKeys
from gateway.adapters.redis.ledger import RedisLedger, RedisReader
from gateway.adapters.redis.memory import memory_of, spare_bytes
from gateway.adapters.redis.moving import RedisSource, RedisTarget
from gateway.adapters.sqlite.cache import SqliteCache
from gateway.adapters.sqlite.cache_file import FILE
from gateway.adapters.sqlite.connection import guard
from gateway.adapters.sqlite.flights import SqliteFlights
from gateway.adapters.sqlite.idempotency import SqliteIdempotencyKeys
from gateway.adapters.sqlite.ledger import SqliteLedger, SqliteReader
from gateway.adapters.sqlite.moving import SqliteSource, SqliteTarget
from gateway.flow.bounded import Bounded
from gateway.ports import (
    Cache,
    Clock,
    Flights,
    IdempotencyKeys,
    Ledger,
    LedgerReader,
    LedgerSource,
    LedgerTarget,
    StoreFailed,
)
from gateway.settings import Settings, StoreAddress

DATA: Final = Path("data")
"""Where a gateway keeps what is its machine's alone, if its store is no folder."""
_EVERYTHING_BYTES: Final = 1 << 50
_SHARE: Final = 0.8
"""Of a server's memory, what may be taken before the rest is the ledger's alone."""
_log = logging.getLogger("imagegate.store")


def folder_of(settings: Settings) -> Path:
    """Where this gateway keeps what is its machine's alone."""
    return settings.store.url.folder or DATA


def outbox_of(settings: Settings, name: str | None) -> Path:
    """
    Where settlements wait. Of each ledger another folder: what one was not told is no other one's affair.

    Args:
        settings: say where the ledger lies.
        name: of the ledger, as `Money` has it: it stays, though its servers may move and its passwords change.
    """
    where = settings.store.url
    return where.folder / "outbox" if where.folder is not None else DATA / f"outbox-{name}"


def tag_of(settings: Settings) -> str:
    """What the names of all keys in a Redis begin with: two organisations on one server are two."""
    return f"imagegate:{settings.org.id}"


def redis_at(address: StoreAddress, settings: Settings) -> RedisAddress:
    """
    The address, as the adapters have it.

    Args:
        address: the store's or the cache's.
        settings: say who vouches for the servers.

    Raises:
        LookupError: it is a folder.
    """
    if address.folder is not None:
        raise LookupError(f"{address} is a folder")
    kinds: dict[str, Literal["sentinel", "cluster"]] = {
        "redis+sentinel": "sentinel",
        "redis+cluster": "cluster",
    }
    return RedisAddress(
        kinds.get(address.kind, "server"),
        address.hosts,
        user=address.user,
        password=None if address.password is None else address.password.get_secret_value(),
        database=address.database,
        master=address.master,
        tls=address.tls,
        ca_file=settings.store.ca_file,
    )


class Money:
    """
    The ledger, and what lies with it.

    Args:
        settings: what the operator wants.
        make: whether a ledger is made if there is none. A worker that starts later must not.
        name: of the ledger that the gateway has found when it started, and no other one; it may be away just now. None:
            whichever is there.

    Raises:
        UnfitError: the ledger cannot be used; the message says why and what to do.
    """

    def __init__(self, settings: Settings, *, make: bool = True, name: str | None = None) -> None:
        where = settings.store.url
        self.ledger: Ledger
        self.keys: IdempotencyKeys
        self.name: str | None = None
        """Of the ledger, where another one may be begun in its place while gateways run."""
        if where.is_redis:
            strict = settings.store.durability == "strict"
            tag = tag_of(settings)
            shared = RedisLedger.open(redis_at(where, settings), tag=tag, strict=strict, make=make, name=name)
            self.ledger, self.keys, self.name = shared, RedisIdempotencyKeys(shared), shared.name
        else:
            own = SqliteLedger.open(folder_of(settings), make=make)
            self.ledger, self.keys = own, SqliteIdempotencyKeys(own)


def reader_of(settings: Settings) -> LedgerReader:
    """
    A reader of the ledger, whether a gateway runs on it or not.

    Raises:
        UnfitError: there is none, or it cannot be read.
    """
    where = settings.store.url
    if where.is_redis:
        return RedisReader.open(redis_at(where, settings), tag=tag_of(settings))
    return SqliteReader.open(folder_of(settings))


def source_of(settings: Settings) -> LedgerSource:
    """
    The ledger, to be moved from where it lies.

    Raises:
        UnfitError: there is none, or it cannot be read.
    """
    where = settings.store.url
    if where.is_redis:
        return RedisSource.open(redis_at(where, settings), tag=tag_of(settings))
    return SqliteSource.open(folder_of(settings))


def target_of(settings: Settings) -> LedgerTarget:
    """
    A ledger that another one is to be moved to.

    Raises:
        UnfitError: none can be kept there.
    """
    where = settings.store.url
    if where.is_redis:
        strict = settings.store.durability == "strict"
        return RedisTarget.open(redis_at(where, settings), tag=tag_of(settings), strict=strict)
    return SqliteTarget.open(folder_of(settings))


def answers_of(settings: Settings, clock: Clock) -> Cache:
    """
    Where answers lie that were promised to whoever repeats a call: with the ledger, and not evicted.

    They take as much as the cache may, at most, and of a server's memory what the ledger can spare.
    """
    where, most_bytes = settings.store.url, settings.cache.max_bytes
    if where.is_redis:
        address, prefix = redis_at(where, settings), f"{tag_of(settings)}:answers:"
        kept = RedisCache(address, clock, max_bytes=most_bytes, prefix=prefix, stays=True)
        return Bounded(kept, most_bytes, partial(spare_bytes, address, _SHARE))
    own = SqliteCache.at(folder_of(settings) / "answers", clock.now, max_bytes=_EVERYTHING_BYTES)
    return Bounded(own, most_bytes)


def cache_of(settings: Settings, clock: Clock) -> Cache:
    """
    The cache.

    Raises:
        UnfitError: it never can be used there; the message says why and what to do.
    """
    where, cache = cache_at(settings), settings.cache
    stale_s = float(cache.stale_if_error_s)
    if where.is_redis:
        return RedisCache(
            redis_at(where, settings),
            clock,
            max_bytes=cache.max_bytes,
            stale_if_error_s=stale_s,
            folder=folder_of(settings) if cache.bodies == "files" else None,
            prefix=f"{tag_of(settings)}:",
        )
    return SqliteCache.at(
        where.folder or DATA, clock.now, max_bytes=cache.max_bytes, stale_if_error_s=stale_s
    )


def flights_of(settings: Settings, clock: Clock) -> Flights | None:
    """The calls in the air of other processes; None: there are no others."""
    where = cache_at(settings)
    if where.is_redis:
        prefix = f"{tag_of(settings)}:"
        return RedisFlights(
            redis_at(where, settings), clock, most_bytes=settings.cache.max_entry_bytes, prefix=prefix
        )
    return SqliteFlights(where.folder or DATA, clock.now) if settings.server.workers > 1 else None


def warn_of_memory(settings: Settings) -> None:
    """
    Tell the log where a cache can fill the server of its ledger, or stays when its own server is full.

    It waits, and may be called within a loop or without one. A server that does not say is not told of.
    """
    where, cache = settings.store.url, cache_at(settings)
    if not (settings.cache.enabled and cache.is_redis and settings.cache.bodies != "files"):
        return
    try:
        with ThreadPoolExecutor(1) as thread:
            found = thread.submit(asyncio.run, memory_of(redis_at(cache, settings))).result()
    except StoreFailed as failed:
        _log.warning("how much memory the cache's server has is not known: %s", failed)
        return
    most = sum(one.most_bytes for one in found) if all(one.most_bytes for one in found) else 0
    if not most:
        return
    if cache == where and settings.cache.max_bytes > _SHARE * most:
        _log.warning(
            "the cache may take %d bytes (cache.max_bytes) of the %d that %s may hold, where the ledger lies too: when it is "
            "full, nothing can be spent. Make cache.max_bytes smaller, or give the cache a server of its own (cache.url).",
            settings.cache.max_bytes,
            most,
            where,
        )
    elif cache != where and settings.cache.max_bytes > most and not all(one.takes_what_ends for one in found):
        _log.warning(
            "the cache may take %d bytes (cache.max_bytes), more than the %d that %s may hold, and its policy is noeviction: "
            "when it is full, nothing is kept any more. Set maxmemory-policy allkeys-lfu there.",
            settings.cache.max_bytes,
            most,
            cache,
        )


def cache_at(settings: Settings) -> StoreAddress:
    """Where the cache lies."""
    return settings.cache.url or settings.store.url


def caches_there(settings: Settings, clock: Clock) -> tuple[Cache | None, Cache | None]:
    """
    The cache, and what was promised to whoever repeats a call, as they are: None where no gateway has kept anything yet.

    Raises:
        UnfitError: a folder can never be used; the message says why.
    """
    answers = folder_of(settings) / "answers"
    return (
        _there(cache_at(settings), None, settings, clock, f"{tag_of(settings)}:"),
        _there(settings.store.url, answers, settings, clock, f"{tag_of(settings)}:answers:"),
    )


def _there(
    where: StoreAddress, folder: Path | None, settings: Settings, clock: Clock, prefix: str
) -> Cache | None:
    if where.is_redis:
        # Bodies that lie in files are their machine's: its gateways remove those of forgotten entries.
        return RedisCache(redis_at(where, settings), clock, max_bytes=settings.cache.max_bytes, prefix=prefix)
    lies = folder or where.folder or DATA
    if not (lies / FILE).is_file():
        return None
    guard(lies)
    # Not made or brought up to date: one of another version is its gateway's, which may run.
    return SqliteCache(lies, clock.now, max_bytes=settings.cache.max_bytes)
