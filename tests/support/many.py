"""Several gateways, each in a process and a folder of its own, on one Redis: what a house has that outgrew a machine."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.ledger import RedisReader
from gateway.adapters.redis.ledger_store import Store
from tests.support.books import Books
from tests.support.process import Running, gateway_process

TAG = "imagegate:default"
"""Of the keys of a gateway whose configuration names no organisation."""


def on(url: str) -> str:
    """The section of a configuration that puts a gateway on this store."""
    return f'\n[store]\nurl = "{url}"\n'


@contextmanager
def gateways(
    folder: Path, sandbox_url: str, store: str, *, count: int = 3, rest: str = "", cached: bool = False
) -> Iterator[list[Running]]:
    """
    Gateways in front of one sandbox.

    Args:
        folder: each has a folder of its own in it.
        sandbox_url: without `/v1`.
        store: the URL of all of them.
        count: how many.
        rest: further lines of their configuration.
        cached: as of `gateway_process`.
    """
    with ExitStack() as stack:
        yield [
            stack.enter_context(one_gateway(folder, sandbox_url, store, number, rest=rest, cached=cached))
            for number in range(count)
        ]


@contextmanager
def one_gateway(
    folder: Path,
    sandbox_url: str,
    store: str,
    number: int = 0,
    *,
    rest: str = "",
    cached: bool = False,
    cache: str = "",
) -> Iterator[Running]:
    """
    One of them; once more under its number it finds what it had left in its folder.

    Args:
        cache: further lines of its [cache] section.
    """
    own = folder / f"gateway-{number}"
    own.mkdir(exist_ok=True)
    with gateway_process(
        f"{sandbox_url}/v1", own, rest=rest + on(store), cached=cached, cache=cache
    ) as gateway:
        yield gateway


@asynccontextmanager
async def books_of(folder: Path, sandbox_url: str, address: RedisAddress) -> AsyncIterator[Books]:
    """Both sets of books; the ledger's reader is patient."""
    reader = RedisReader(Store(address, TAG, attempt_s=10))
    try:
        yield Books(folder, sandbox_url, reader)
    finally:
        await reader.aclose()
