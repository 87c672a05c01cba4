"""Every kind of Redis is reached alike: within a bound, once, and what a failure means is told apart."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

from gateway.adapters.redis.connection import Client, RedisAddress, close, connect, reason_of, told
from gateway.ports import StoreFailed
from tests.support.ports import free_port
from tests.support.redis import (
    TAGS,
    Cluster,
    Server,
    Watched,
    program,
    redis_cluster,
    redis_sentinel,
    redis_server,
    shared_cluster,
    shared_server,
)
from tests.support.waiting import until

PASSWORD = "pass-word"
Store = Server | Cluster | Watched
MAKERS: dict[str, Callable[[Path], AbstractContextManager[Store]]] = {
    "server": redis_server,
    "cluster": lambda folder: redis_cluster(folder, masters=1),
    "sentinel": redis_sentinel,
}


@pytest.fixture(params=list(MAKERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with MAKERS[request.param](tmp_path) as started:
        yield started


def server_of(store: Store) -> Server:
    """The one that answers."""
    match store:
        case Server():
            return store
        case Cluster():
            return store.masters[0]
        case Watched():
            return store.master


@asynccontextmanager
async def client_of(address: RedisAddress, timeout_s: float = 0.3) -> AsyncIterator[Client]:
    client = connect(address, timeout_s=timeout_s, connect_timeout_s=0.3)
    try:
        yield client
    finally:
        await close(client)


async def failure(client: Client, address: RedisAddress, *command: str) -> StoreFailed:
    with pytest.raises(StoreFailed) as caught, told(address):
        await client.execute_command(*command)
    return caught.value


async def test_what_may_have_been_done_is_told_from_what_was_not(store: Store) -> None:
    server = server_of(store)
    async with client_of(store.address) as client:
        await client.execute_command("SET", "n", 0)
        server.pause()
        began = time.perf_counter()  # noqa: TID251 - a time-out is what is tested
        found = await failure(client, store.address, "INCR", "n")
        assert time.perf_counter() - began < 5  # noqa: TID251 - likewise
        assert found.unknown
        server.resume()
        assert await client.execute_command("GET", "n") == b"1"

        server.kill()
        await failure(client, store.address, "INCR", "n")  # over a connection that has just died
        found = await failure(client, store.address, "INCR", "n")
        assert not found.unknown


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])
@pytest.mark.parametrize("kind", ["server", "cluster"])
def test_a_connection_that_was_closed_unseen_is_a_failure_on_either_loop(
    kind: str, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    """A master of a cluster died so: uvloop raises what is no error of a network."""
    address = shared_cluster().address if kind == "cluster" else shared_server("redis").address
    key = f"closed-{next(TAGS)}"

    async def closed() -> None:
        async with client_of(address) as client:
            await client.execute_command("INCR", key)
            for link in links_of(client):
                link._writer.transport.abort()
            await asyncio.sleep(0)
            with suppress(StoreFailed), told(address):
                await client.execute_command("INCR", key)
            await client.execute_command("INCR", key)

    run(closed())


def links_of(client: Client) -> list[Any]:
    """The connections that nobody uses now."""
    if isinstance(client, RedisCluster):
        return [link for node in client.get_nodes() for link in node._free]
    return list(client.connection_pool._available_connections)


async def test_nobody_there_is_known_not_to_have_done_anything() -> None:
    for kind in ("server", "cluster", "sentinel"):
        address = RedisAddress(kind, (("127.0.0.1", free_port()),), master="main")
        async with client_of(address) as client:
            assert not (await failure(client, address, "INCR", "n")).unknown


@pytest.mark.parametrize(
    ("setting", "begins"),
    [
        (("maxmemory", "1"), "OutOfMemory"),
        (("min-replicas-to-write", "1"), "ResponseError: NOREPLICAS"),
    ],
)
async def test_what_a_server_refuses_it_has_not_done(
    tmp_path: Path, setting: tuple[str, str], begins: str
) -> None:
    with redis_server(tmp_path) as server:
        async with client_of(server.address) as client:
            server.said("CONFIG", "SET", *setting)
            found = await failure(client, server.address, "SET", "n", "1")
            assert not found.unknown
            assert begins in str(found)


async def test_a_replica_has_done_nothing(tmp_path: Path) -> None:
    with redis_server(tmp_path) as master:
        arguments = ("--replicaof", "127.0.0.1", str(master.port))
        with redis_server(tmp_path, arguments=arguments) as replica:
            async with client_of(replica.address) as client:
                assert not (await failure(client, replica.address, "SET", "n", "1")).unknown


async def test_no_password_is_ever_shown(tmp_path: Path) -> None:
    with redis_server(tmp_path, arguments=("--requirepass", PASSWORD)) as server:
        right = replace(server.address, password=PASSWORD)
        async with client_of(right) as client:
            assert await client.execute_command("PING")
        wrong = replace(server.address, password=PASSWORD[:-1])
        async with client_of(wrong) as client:
            found = await failure(client, wrong, "PING")
            assert not found.unknown
            assert PASSWORD[:-1] not in f"{found} {wrong} {wrong!r}"
        assert PASSWORD not in reason_of(OSError(f"cannot reach :{PASSWORD}@host"), right)


@dataclass(frozen=True)
class Secured:
    """Certificates of an authority of our own, and the options of a server that has one."""

    place: Path

    @classmethod
    def made(cls, place: Path) -> "Secured":
        authority = trustme.CA()
        place.mkdir()
        authority.cert_pem.write_to_path(str(place / "ca.pem"))
        own = authority.issue_cert("127.0.0.1", "localhost")
        own.private_key_pem.write_to_path(str(place / "key.pem"))
        own.cert_chain_pems[0].write_to_path(str(place / "cert.pem"))
        return cls(place)

    @property
    def ca_file(self) -> Path:
        return self.place / "ca.pem"

    def options(self, port: int) -> list[str]:
        files = (f"--tls-{name}-file {self.place}/{name}.pem" for name in ("cert", "key"))
        text = f"--tls-port {port} {' '.join(files)} --tls-ca-cert-file {self.ca_file} --tls-auth-clients no"
        return text.split()


async def check_tls(address: RedisAddress) -> None:
    async with client_of(address, 2.0) as client:
        assert await client.execute_command("SET", "here", "1")
        assert await client.execute_command("GET", "here") == b"1"
    stranger = replace(address, ca_file=None)
    async with client_of(stranger, 2.0) as client:
        assert not (await failure(client, stranger, "GET", "here")).unknown


async def test_tls_is_spoken_to_whom_the_authority_vouches_for(tmp_path: Path) -> None:
    secured, port = Secured.made(tmp_path / "tls"), free_port()
    with redis_server(tmp_path, arguments=secured.options(port)):
        await check_tls(RedisAddress("server", (("127.0.0.1", port),), tls=True, ca_file=secured.ca_file))


async def test_tls_is_spoken_to_the_nodes_of_a_cluster(tmp_path: Path) -> None:
    secured, port = Secured.made(tmp_path / "tls"), free_port()
    bus = ("--tls-cluster", "yes", "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    options = [*secured.options(port), *bus]
    with redis_server(tmp_path, arguments=options) as node:
        node.said("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await until(lambda: "cluster_state:ok" in str(node.said("CLUSTER", "INFO")), every_s=0.05)
        await check_tls(RedisAddress("cluster", (("127.0.0.1", port),), tls=True, ca_file=secured.ca_file))


async def test_tls_is_spoken_to_sentinels_and_to_whom_they_name(tmp_path: Path) -> None:
    secured, port, watching = Secured.made(tmp_path / "tls"), free_port(), free_port()
    with redis_server(tmp_path, arguments=[*secured.options(port), "--tls-replication", "yes"]):
        place = tmp_path / "sentinel"
        place.mkdir()
        config = place / "sentinel.conf"
        config.write_text(f"port 0\ntls-replication yes\nsentinel monitor main 127.0.0.1 {port} 1\n")
        command = (program("redis"), str(config), "--sentinel", *secured.options(watching))
        process = await asyncio.create_subprocess_exec(*command, cwd=place, stdout=asyncio.subprocess.DEVNULL)
        try:
            hosts = (("127.0.0.1", watching),)
            address = RedisAddress("sentinel", hosts, master="main", tls=True, ca_file=secured.ca_file)
            async with asyncio.timeout(20), client_of(address, 2.0) as client:
                while True:
                    try:
                        assert await client.execute_command("PING")
                        break
                    except RedisError:
                        await asyncio.sleep(0.1)
            await check_tls(address)
        finally:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("kind", ["redis", "valkey"])
async def test_more_than_there_are_connections_wait_for_one(kind: str) -> None:
    server = shared_server("redis" if kind == "redis" else "valkey")
    client = connect(server.address, connections=2)
    try:
        found = await asyncio.gather(*(client.execute_command("PING") for _ in range(50)))
        assert len(found) == 50
    finally:
        await close(client)


async def test_a_connection_that_was_closed_meanwhile_is_opened_again(tmp_path: Path) -> None:
    """Nothing fails, and of nothing it is unknown whether it was done: it is seen before anything is sent."""
    with redis_server(tmp_path) as server:
        async with client_of(server.address, 2.0) as client:
            for number in range(1, 6):
                assert await client.execute_command("INCR", "n") == number
                server.said("CLIENT", "KILL", "TYPE", "normal")
                await asyncio.sleep(0.02)  # the end is on its way


async def test_a_cluster_is_found_by_any_of_its_nodes() -> None:
    cluster = shared_cluster()
    for host in cluster.address.hosts:
        async with client_of(replace(cluster.address, hosts=(host,)), 2.0) as client:
            await client.execute_command("SET", "{here}", "1")
            assert await client.execute_command("GET", "{here}") == b"1"


def test_an_address_is_told_as_its_url_without_the_password() -> None:
    one = RedisAddress("server", (("h", 1),), "u", PASSWORD, 3, tls=True)
    assert str(one) == "rediss://u:***@h:1/3"
    assert str(shared_cluster().address) == shared_cluster().url
    assert (
        str(RedisAddress("sentinel", (("::1", 1), ("b", 2)), master="m"))
        == "redis+sentinel://[::1]:1,b:2/m/0"
    )
