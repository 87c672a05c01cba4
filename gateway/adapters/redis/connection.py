"""
Reaching a Redis or Valkey: one server, one behind Sentinel, or a Cluster.

Decided here, alike in every mode: nothing waits without a bound, nothing is sent twice unless we say so (redis-py by
itself repeats ten times, with which a money counter was seen to move twice), and what a failure means. Replies are bytes
as they came (RESP2, not decoded), so that nothing depends on a version of the library.

Not here: what is kept there, and what is asked again.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from redis import exceptions
from redis._parsers import AsyncCommandsParser
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool, Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY

from gateway.ports import StoreFailed

CONNECT_S: Final = 0.5
COMMAND_S: Final = 0.5
"""What money waits for an answer; a client's call waits a second for all of it."""
CONNECTIONS: Final = 64
"""To each server, of one process."""

Client = Redis | RedisCluster


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where it is, and how to get in."""

    kind: Literal["server", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    """Of `server` one, of `sentinel` the sentinels, of `cluster` some of its nodes."""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    database: int = 0
    """0 in a cluster."""
    master: str | None = None
    """As the sentinels call it; None elsewhere."""
    tls: bool = False
    ca_file: Path | None = None
    """Who vouches for the servers; None: whom the system trusts."""

    def __str__(self) -> str:
        """The URL, without the password."""
        scheme = {"server": "redis", "sentinel": "redis+sentinel", "cluster": "redis+cluster"}[self.kind]
        login = f"{self.user or ''}:***@" if self.password is not None else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        place = "" if self.kind == "cluster" else f"/{self.database}"
        return f"{scheme.replace('redis', 'rediss') if self.tls else scheme}://{login}{hosts}{f'/{self.master}' if self.master else ''}{place}"


def connect(
    address: RedisAddress,
    *,
    timeout_s: float | None = COMMAND_S,
    connect_timeout_s: float = CONNECT_S,
    connections: int = CONNECTIONS,
) -> Client:
    """
    A client; nothing is sent yet, and nothing is ever sent again by itself.

    Args:
        address: of the store.
        timeout_s: for each command; for a place in the pool too. None: for ever, for reads that block.
        connect_timeout_s: for a connection.
        connections: at once, to each server. Who comes later waits, but in a cluster is refused: there
            whoever uses the client bounds it.
    """
    common: dict[str, Any] = {  # Any: redis-py's keyword arguments, which are of every type
        "username": address.user,
        "password": address.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": connect_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 0,
        "decode_responses": False,
        "protocol": 2,  # also means: no maintenance notifications, which only RESP3 has
        "driver_info": None,
    }
    if address.tls:
        trust = None if address.ca_file is None else str(address.ca_file)
        common |= {"ssl_ca_certs": trust, "ssl_cert_reqs": "required", "ssl_check_hostname": True}
    match address.kind:
        case "cluster":
            return _cluster(address, common, connections)
        case "sentinel":
            return _behind_sentinel(address, common, connections)
        case "server":
            ((host, port),) = address.hosts
            pool = _Pool(
                host=host,
                port=port,
                db=address.database,
                max_connections=connections,
                timeout=timeout_s,
                connection_class=_TlsLink if address.tls else _Link,
                retry=_once(),
                **common,
            )
            return Redis.from_pool(pool)


class NotConnectedError(exceptions.ConnectionError):
    """There was no connection: nothing was sent."""


class NotDoneError(exceptions.ResponseError):
    """A script did nothing, and says so."""


class _Candid(AbstractConnection):
    """A connection that tells a failure to connect, after which nothing was sent, from one to read an answer."""

    async def connect_check_health(
        self,
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's own
        retry_socket_connect: bool = True,  # noqa: FBT001, FBT002 - likewise
    ) -> None:
        try:
            await super().connect_check_health(check_health, retry_socket_connect)
        except exceptions.ResponseError:  # a refusal in words, such as a wrong password
            raise
        except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
            raise NotConnectedError(str(error)) from error

    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - likewise
    ) -> None:
        try:
            await super().send_packed_command(command, check_health)
        except (
            RuntimeError
        ) as error:  # so uvloop says, before it writes anything, that it has been closed meanwhile
            raise NotConnectedError(str(error)) from error


class _Link(_Candid, Connection):
    pass


class _TlsLink(_Candid, SSLConnection):
    pass


class _SentinelLink(_Candid, SentinelManagedConnection):
    pass


class _SentinelTlsLink(_Candid, SentinelManagedSSLConnection):
    pass


class _Pool(BlockingConnectionPool):
    """
    Makes who comes later wait.

    Before each command redis-py tries to read from the connection, for no time at all, which costs more than the command
    (twice as many of them a second without it: 2 cores, 32 at once). What has come unasked, or the end, is seen at a glance.
    """

    async def ensure_connection(self, connection: AbstractConnection) -> None:
        reader = connection._reader  # noqa: SLF001 - it tells nobody
        if reader is not None and (reader.at_eof() or not connection._socket_is_empty()):  # type: ignore[no-untyped-call]  # noqa: SLF001 - likewise
            await connection.disconnect()
        await connection.connect()  # type: ignore[no-untyped-call]


class _SentinelPool(SentinelConnectionPool, _Pool):
    """Asks the sentinels for the master."""


class _Cluster(RedisCluster):
    """One that knows who has which slots before it asks: else the first commands go to anybody, and are sent on."""

    async def execute_command(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - redis-py's own
        await self.initialize()
        return await super().execute_command(*args, **kwargs)


class _Commands(AsyncCommandsParser):
    """Asks any node what commands there are: redis-py asks the first, and gives up for good while that one is dead."""

    def __init__(self, nodes: NodesManager) -> None:
        super().__init__()
        self._nodes = nodes

    async def initialize(self, node: ClusterNode | None = None) -> None:
        *others, last = [
            one for one in (node, *self._nodes.get_nodes_by_server_type(PRIMARY)) if one is not None
        ]
        for one in others:
            with suppress(exceptions.ConnectionError, exceptions.TimeoutError):
                await super().initialize(one)
                return
        await super().initialize(last)


def _once() -> Retry:
    return Retry(NoBackoff(), 0)


def _cluster(address: RedisAddress, common: dict[str, Any], connections: int) -> RedisCluster:
    client = _Cluster(
        startup_nodes=[ClusterNode(host, port) for host, port in address.hosts],
        max_connections=connections,
        retry=_once(),
        require_full_coverage=False,  # the slots of others are not ours
        reinitialize_steps=0,  # else every fifth MOVED cuts what is under way to all nodes
        ssl=address.tls,
        **common,
    )
    # It takes no class of connections, but hands these on to every node that it finds later.
    link = _TlsLink if address.tls else _Link
    client.connection_kwargs["connection_class"] = link
    for node in client.startup_nodes:
        node.connection_class = link
    client.commands_parser = _Commands(client.nodes_manager)
    return client


def _behind_sentinel(address: RedisAddress, common: dict[str, Any], connections: int) -> Redis:
    # The sentinels' own passwords are another matter; most have none.
    spoken = {name: value for name, value in common.items() if name not in {"username", "password"}}
    spoken |= {"ssl": address.tls, "retry": _once(), "max_connections": 4}
    sentinel = Sentinel(address.hosts, sentinel_kwargs=spoken)  # type: ignore[no-untyped-call]  # redis-py's
    pool = _SentinelPool(  # type: ignore[no-untyped-call]  # likewise
        address.master,
        sentinel,
        max_connections=connections,
        timeout=common["socket_timeout"],
        db=address.database,
        connection_class=_SentinelTlsLink if address.tls else _SentinelLink,
        retry=_once(),
        **common,
    )
    return Redis.from_pool(pool)


async def close(client: Client) -> None:
    """Close every connection, those to the sentinels too. At any time, more than once."""
    await client.aclose()
    if isinstance(client, RedisCluster):
        # After an error it takes itself for closed (redis-py 8.1), whatever is open.
        for nodes in ("nodes_cache", "startup_nodes"):
            await client.nodes_manager.aclose(nodes)
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        await pool.sentinel_manager.aclose()


# What a failure means

_REFUSED: Final = (
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,  # and MASTERDOWN
    exceptions.TryAgainError,
    exceptions.MaxConnectionsError,
    exceptions.AuthenticationError,
    exceptions.NoPermissionError,
    exceptions.NoScriptError,
    MasterNotFoundError,
    exceptions.AskError,  # and MOVED
    NotConnectedError,
    NotDoneError,
)
"""Of these it is certain that nothing was done."""
_REFUSALS: Final = (
    "READONLY",
    "OOM",
    "LOADING",
    "NOREPLICAS",
    "MISCONF",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "DENIED",
    "GONE",
    "ANOTHER",
    "RECALLING",
)
"""Likewise: how answers begin that redis-py has no class for, or that a script hands on."""
_SAID: Final = ("The previous master is now a slave", "No connection available.")
"""Likewise: of a master behind Sentinel that answered READONLY, and of the pool."""


FAILURES: Final = (exceptions.RedisError, exceptions.RedisClusterException, OSError)
"""All that redis-py raises, and what a TimeoutError around it is."""


def is_refused(error: BaseException) -> bool:
    """Whether it is certain that nothing was done."""
    if isinstance(error, _REFUSED):
        return True
    if isinstance(error, exceptions.ResponseError):
        return str(error).removeprefix("-").startswith(_REFUSALS)
    if isinstance(error, exceptions.RedisClusterException):
        return True  # of the client itself: it found no node, or no slot
    return isinstance(error, exceptions.ConnectionError) and str(error) in _SAID


def is_broken(error: BaseException) -> bool:
    """
    Whether a script broke off over what it found, which is not what was written there.

    What a command within it was refused (a right, a key of another kind) is said in other words, and concerns everybody.
    """
    return isinstance(error, exceptions.ResponseError) and str(error).removeprefix("ERR ").startswith(
        "user_script:"
    )


def reason_of(error: BaseException, address: RedisAddress) -> str:
    """What happened, in words, without a password."""
    said = str(error)
    if address.password:
        said = said.replace(address.password, "***")
    return f"{type(error).__name__}: {said}".rstrip(": ")


@contextmanager
def told(address: RedisAddress, *, only_looks: bool = False) -> Iterator[None]:
    """
    What redis-py raises within is raised as StoreFailed.

    Args:
        address: whose password must not be shown.
        only_looks: nothing is written, whatever happens.

    Raises:
        StoreFailed: `unknown`, unless it is certain that nothing was done.
    """
    try:
        yield
    except FAILURES as error:
        unknown = not (only_looks or is_refused(error))
        raise StoreFailed(reason_of(error, address), unknown=unknown) from error
