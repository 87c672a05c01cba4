"""Which store an address means, and what is warned of at the start."""

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import stores
from gateway.adapters.clock import SystemClock
from gateway.adapters.redis.cache import RedisCache
from gateway.adapters.redis.flights import RedisFlights
from gateway.adapters.redis.ledger import RedisLedger
from gateway.adapters.sqlite.cache import SqliteCache
from gateway.adapters.sqlite.flights import SqliteFlights
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.entry import EVERYTHING
from gateway.ports import UnfitError
from gateway.settings import Settings
from tests.support.cache import entry, kept, key_of
from tests.support.clock import FakeClock
from tests.support.config import PAID, load_text
from tests.support.redis import TAGS, Server, redis_cluster, redis_server, shared_server

pytestmark = pytest.mark.timeout(120)
MIB = 1 << 20
clock = SystemClock()


def settings_of(folder: Path, store: str, cache: str = "", rest: str = "") -> Settings:
    return load_text(folder, f'{PAID}{rest}[store]\nurl = "{store}"\n[cache]\n{cache}')


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with redis_server(tmp_path_factory.mktemp("server")) as one:
        yield one


@pytest.mark.parametrize(
    ("url", "kind", "told"),
    [
        ("redis://h", "server", "redis://h:6379/0"),
        ("rediss://u:p@h:1/3", "server", "rediss://u:***@h:1/3"),
        ("redis+sentinel://s1,s2/m/2", "sentinel", "redis+sentinel://s1:26379,s2:26379/m/2"),
        ("redis+cluster://h1,h2", "cluster", "redis+cluster://h1:6379,h2:6379"),
        ("rediss+sentinel://s1/m", "sentinel", "rediss+sentinel://s1:26379/m/0"),
        ("rediss+cluster://u:p@h1", "cluster", "rediss+cluster://u:***@h1:6379"),
    ],
)
def test_an_address_is_handed_on_as_it_is(tmp_path: Path, url: str, kind: str, told: str) -> None:
    settings = settings_of(tmp_path, url)
    found = stores.redis_at(settings.store.url, settings)
    assert (found.kind, str(found), found.tls) == (kind, told, url.startswith("rediss"))
    assert found.ca_file is None


def test_who_vouches_for_servers_is_told_of_both(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    settings = load_text(
        tmp_path,
        f'{PAID}[store]\nurl = "rediss://h"\nca_file = "ca.pem"\n[cache]\nurl = "rediss+cluster://c"\n',
    )
    for address in (settings.store.url, stores.cache_at(settings)):
        assert stores.redis_at(address, settings).ca_file == tmp_path / "ca.pem"


def test_a_folder_is_no_redis(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "sqlite:///data")
    with pytest.raises(LookupError, match="is a folder"):
        stores.redis_at(settings.store.url, settings)


def test_what_is_of_this_machine_alone_lies_in_a_folder_of_the_store(tmp_path: Path) -> None:
    local, shared = settings_of(tmp_path, "sqlite:///mine"), settings_of(tmp_path, "redis://h/0")
    assert (stores.folder_of(local), stores.outbox_of(local, None)) == (Path("mine"), Path("mine/outbox"))
    assert stores.folder_of(shared) == Path("data")


async def test_settlements_wait_in_a_folder_of_their_ledger_wherever_that_is_reached(
    tmp_path: Path, server: Server
) -> None:
    """What one was not told is no other one's affair; and nothing is left behind when a password or a name changes."""
    tag = f"org{next(TAGS)}"

    def outbox(url: str, org: str) -> Path:
        settings = settings_of(tmp_path, url, rest=f'[org]\nid = "{org}"\n')
        return stores.outbox_of(settings, stores.Money(settings).name)

    found = await asyncio.to_thread(
        lambda: [
            outbox(f"redis://{host}:{server.port}/0", org)
            for host, org in (("127.0.0.1", tag), ("localhost", tag), ("127.0.0.1", f"{tag}b"))
        ]
    )
    assert found[0] == found[1]
    assert found[0] != found[2]
    settings = settings_of(tmp_path, server.url, rest=f'[org]\nid = "{tag}"\n')
    source = await asyncio.to_thread(stores.source_of, settings)
    assert stores.outbox_of(settings, source.name) == found[0]
    await source.aclose()


async def test_each_port_is_on_the_store_that_is_named(tmp_path: Path, server: Server) -> None:
    for settings, kinds in (
        (settings_of(tmp_path, "sqlite:///data"), (SqliteLedger, SqliteCache, type(None))),
        (
            settings_of(tmp_path, "sqlite:///data", rest="[server]\nworkers = 2\n"),
            (SqliteLedger, SqliteCache, SqliteFlights),
        ),
        (settings_of(tmp_path, server.url), (RedisLedger, RedisCache, RedisFlights)),
        (settings_of(tmp_path, server.url, 'url = "sqlite:///kept"'), (RedisLedger, SqliteCache, type(None))),
        (
            settings_of(tmp_path, "sqlite:///data", f'url = "{server.url}"'),
            (SqliteLedger, RedisCache, RedisFlights),
        ),
    ):
        money, cache = stores.Money(settings), stores.cache_of(settings, clock)
        flights = stores.flights_of(settings, clock)
        assert (type(money.ledger), type(cache), type(flights)) == kinds
        for one in (money.ledger, cache, flights):
            if one is not None:
                await one.aclose()


async def test_two_organisations_on_one_server_are_two(tmp_path: Path, server: Server) -> None:
    one, other = (settings_of(tmp_path, server.url, rest=f'[org]\nid = "{name}"\n') for name in ("a", "b"))
    assert stores.tag_of(one) == "imagegate:a"
    await stores.Money(one).ledger.aclose()
    with pytest.raises(UnfitError, match="There is no ledger at"):
        stores.reader_of(other)
    await stores.reader_of(one).aclose()


async def test_a_worker_that_starts_later_makes_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="has gone"):
        stores.Money(settings_of(tmp_path, "sqlite:///data"), make=False)


async def test_a_cache_that_nobody_has_made_yet_is_none(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "sqlite:///data")
    assert stores.caches_there(settings, clock) == (None, None)
    made = stores.cache_of(settings, clock), stores.answers_of(settings, clock)
    found = stores.caches_there(settings, clock)
    assert None not in found
    for one in (*made, *found):
        if one is not None:
            await one.aclose()


# What is warned of


def warned(caplog: pytest.LogCaptureFixture, settings: Settings) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "imagegate.store"):
        stores.warn_of_memory(settings)
    return [one.getMessage() for one in caplog.records]


def small(number: int) -> str:
    return f"max_bytes = {number}\nmax_entry_bytes = 1000000\n"


def test_a_cache_that_can_fill_the_server_of_its_ledger_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, arguments=("--maxmemory", str(100 * MIB))) as full:
        [told] = warned(caplog, settings_of(tmp_path, full.url, small(81 * MIB)))
        assert f"the cache may take {81 * MIB} bytes" in told
        assert full.url in told
        assert warned(caplog, settings_of(tmp_path, full.url, small(80 * MIB))) == []
        assert warned(caplog, settings_of(tmp_path, full.url, f"enabled = false\n{small(81 * MIB)}")) == []


def test_a_cache_whose_own_server_takes_nothing_more_when_it_is_full_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_server(tmp_path, arguments=("--maxmemory", str(100 * MIB))) as full:
        cache = f'url = "{full.url}"\n'
        [told] = warned(caplog, settings_of(tmp_path, "sqlite:///data", cache + small(101 * MIB)))
        assert "its policy is noeviction" in told
        assert warned(caplog, settings_of(tmp_path, "sqlite:///data", cache + small(100 * MIB))) == []
        full.said("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
        assert warned(caplog, settings_of(tmp_path, "sqlite:///data", cache + small(101 * MIB))) == []


def test_a_cluster_has_the_memory_of_all_its_masters(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with redis_cluster(tmp_path) as cluster:
        for one in cluster.masters:
            one.said("CONFIG", "SET", "maxmemory", 50 * MIB)
        assert warned(caplog, settings_of(tmp_path, cluster.url, small(120 * MIB))) == []
        assert len(warned(caplog, settings_of(tmp_path, cluster.url, small(121 * MIB)))) == 1
        cluster.masters[0].said("CONFIG", "SET", "maxmemory", 0)
        assert warned(caplog, settings_of(tmp_path, cluster.url, small(121 * MIB))) == []


def test_a_server_that_is_not_there_is_told_of_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [told] = warned(caplog, settings_of(tmp_path, "sqlite:///data", 'url = "redis://u:hunter2@127.0.0.1:1"'))
    assert "how much memory the cache's server has is not known" in told
    assert "hunter2" not in told


def test_a_folder_is_not_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert warned(caplog, settings_of(tmp_path, "sqlite:///data")) == []


async def test_what_can_be_moved_is_what_is_there(tmp_path: Path, server: Server) -> None:
    for url in ("sqlite:///none", f"{server.url[:-1]}1"):
        with pytest.raises(UnfitError, match="There is no ledger at"):
            stores.source_of(settings_of(tmp_path, url))
        target = stores.target_of(settings_of(tmp_path, url))
        await target.begin([], anew=False)
        with pytest.raises(UnfitError, match="incomplete"):
            stores.Money(settings_of(tmp_path, url))
        await target.finish()
        await target.aclose()
        made = stores.Money(settings_of(tmp_path, url)).ledger
        await made.aclose()


# Bodies of a cache in a Redis


def shared_settings(folder: Path, cache: str, *, store: str | None = None) -> Settings:
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
    await keep(shared_settings(tmp_path, ""))
    assert folders(tmp_path) == []


@pytest.mark.parametrize(
    ("store", "folder"), [(None, "data/blobs"), ("sqlite:///ledger", "ledger/blobs")], ids=["redis", "folder"]
)
async def test_those_that_are_to_be_files_lie_beside_what_is_of_this_machine(
    tmp_path: Path, store: str | None, folder: str
) -> None:
    wanted = shared_settings(tmp_path, 'bodies = "files"', store=store)
    await keep(wanted)
    assert folders(tmp_path) == [folder]
    whole, _ = stores.caches_there(wanted, FakeClock())
    assert whole is not None
    assert await whole.purge(EVERYTHING) == 1, "whoever looks from outside forgets them too"
    assert await whole.find(key_of(1)) == ()
    await whole.aclose()
