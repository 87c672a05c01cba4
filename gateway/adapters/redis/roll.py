"""The workers of a ledger, as its scripts tell of them."""

from collections.abc import Iterable

import orjson

from gateway.adapters.redis import rows
from gateway.adapters.workers import Worker


def registered(about: Iterable[bytes], beats: Iterable[bytes]) -> dict[str, Worker]:
    """
    All that are registered, by name.

    Args:
        about: each worker, and what it said of itself.
        beats: each worker, and when it was last heard of.
    """
    heard = {name: int(float(beat)) for name, beat in rows.pairs(beats).items()}
    found = {}
    for id_, kept in rows.pairs(about).items():
        host, pid, born = orjson.loads(kept)
        found[id_] = Worker(id_, host, pid, born, heard.get(id_, 0))
    return found
