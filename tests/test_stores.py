"""Which store an address means, where that is not said by the adapters' own tests: bodies of a cache in a Redis."""

from pathlib import Path

import pytest

from gateway import stores
from gateway.core.entry import EVERYTHING
from gateway.settings import Settings
from tests.support.cache import entry, kept, key_of
from tests.support.clock import FakeClock
from tests.support.config import PAID, load_text
from tests.support.redis import TAGS, shared_server


@pytest.fixture(autouse=True)
def _working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings(folder: Path, cache: str, *, store: str | None = None) -> Settings:
    redis = f"redis://127.0.0.1:{shared_server('redis').port}/0"
    text = f'[org]\nid = "stores-{next(TAGS)}"\n[store]\nurl = "{store or redis}"\n[cache]\nurl = "{redis}"\n'
    return load_text(folder, f"{PAID}{text}{cache}")


async def keep(wanted: Settings) -> None:
    cache = stores.cache_of(wanted, FakeClock())
    assert await kept(cache, b"body", entry(1, 4))
    await cache.aclose()


def folders(below: Path) -> list[str]:
    """In which bodies lie."""
    return [str(path.parents[1].relative_to(below)) for path in below.rglob("blobs/??/*")]


async def test_bodies_of_a_cache_in_a_redis_lie_there(tmp_path: Path) -> None:
    await keep(settings(tmp_path, ""))
    assert folders(tmp_path) == []


@pytest.mark.parametrize(
    ("store", "folder"), [(None, "data/blobs"), ("sqlite:///ledger", "ledger/blobs")], ids=["redis", "folder"]
)
async def test_those_that_are_to_be_files_lie_beside_what_is_of_this_machine(
    tmp_path: Path, store: str | None, folder: str
) -> None:
    wanted = settings(tmp_path, 'bodies = "files"', store=store)
    await keep(wanted)
    assert folders(tmp_path) == [folder]
    whole, _ = stores.caches_there(wanted, FakeClock())
    assert whole is not None
    assert await whole.purge(EVERYTHING) == 1, "whoever looks from outside forgets them too"
    assert await whole.find(key_of(1)) == ()
    await whole.aclose()
