"""
Where a store lies, read from its URL.

Decided here: the URL forms of `store.url` and `cache.url`, and that a password in one is never shown.
Not here: whether anything answers there.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast, get_args
from urllib.parse import unquote

from pydantic import SecretStr

from gateway.settings.faults import WrongError

Scheme = Literal[
    "sqlite", "redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"
]


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """
    A store's address, taken apart.

    Attributes:
        scheme: which kind of store, and with `rediss…` that it is reached by TLS.
        folder: for sqlite the folder, relative to the working directory unless absolute; else None.
        hosts: for Redis the (host, port) pairs, one unless it is Sentinel or Cluster.
        user: the ACL user, None for Redis' default user.
        password: None where there is none.
        database: Redis' database number.
        master: the name by which Sentinel knows the master; None elsewhere.
    """

    scheme: Scheme
    folder: Path | None = None
    hosts: tuple[tuple[str, int], ...] = ()
    user: str | None = None
    password: SecretStr | None = field(default=None, repr=False)
    database: int = 0
    master: str | None = None

    @property
    def is_redis(self) -> bool:
        """Whether it is a Redis of any form."""
        return self.scheme != "sqlite"

    @property
    def kind(self) -> str:
        """`sqlite`, `redis`, `redis+sentinel` or `redis+cluster`, with TLS or without it."""
        return self.scheme.replace("rediss", "redis")

    @property
    def tls(self) -> bool:
        """Whether it is reached by TLS; the sentinels too."""
        return self.scheme.startswith("rediss")

    def __str__(self) -> str:
        """The URL, with `***` for the password."""
        if self.folder is not None:
            return f"sqlite:///{self.folder}"
        login = f"{self.user or ''}:***@" if self.password is not None else ""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        master = f"/{self.master}" if self.master is not None else ""
        database = f"/{self.database}" if self.kind != "redis+cluster" else ""
        return f"{self.scheme}://{login}{hosts}{master}{database}"


def parse_store_url(text: str) -> StoreAddress:
    """
    The address that a URL names.

    Args:
        text: `sqlite:///FOLDER` (four slashes: absolute), `redis://[user:password@]host[:port][/database]`,
            `redis+sentinel://[user:password@]h1[:port],h2[:port]/MASTER[/database]`,
            `redis+cluster://[user:password@]h1[:port],h2[:port]`; by TLS with `rediss` in the place of `redis`. User and password
            may be percent-encoded.

    Raises:
        WrongError: it is none of these; the message does not show the URL.
    """
    scheme, separator, rest = text.partition("://")
    match scheme:
        case _ if not separator:
            raise WrongError("is not a store's URL.", FORMS)
        case "sqlite":
            return _sqlite(rest)
        case _ if scheme in _REDIS:
            return _redis(cast("Scheme", scheme), rest)
        case _:
            raise WrongError("names a kind of store that there is none of.", FORMS)


_REDIS: Final = frozenset(get_args(Scheme)) - {"sqlite"}
FORMS: Final = (
    "Write sqlite:///FOLDER (sqlite:////FOLDER if it is absolute), redis://HOST:PORT, rediss://HOST:PORT, "
    "redis+sentinel://HOST:PORT,HOST:PORT/MASTER, or redis+cluster://HOST:PORT,HOST:PORT; rediss+… for TLS."
)
_HOST: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
)
_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_LAST_PORT: Final = 65535


def _sqlite(rest: str) -> StoreAddress:
    if not rest.startswith("/") or not rest[1:]:
        fix = "Write sqlite:///data for the folder data here, or sqlite:////var/lib/imagegate for an absolute one."
        raise WrongError("names no folder after three slashes.", fix)
    if set(rest) & set("?#\0"):
        raise WrongError(
            "carries options or signs that a folder's name cannot have.", "Write sqlite:///FOLDER only."
        )
    return StoreAddress("sqlite", folder=Path(rest[1:]))


def _redis(scheme: Scheme, rest: str) -> StoreAddress:
    login, at, place = rest.rpartition("@")
    user, password = _login(login) if at else (None, None)
    if "?" in place or "#" in place:
        raise WrongError(
            "carries options after ? or #, which are not read.",
            "Remove them; time-outs and retries are ours.",
        )
    hosts_text, _, path = place.partition("/")
    kind = scheme.replace("rediss", "redis")
    hosts = tuple(
        _host(one, _SENTINEL_PORT if kind == "redis+sentinel" else _PORT) for one in hosts_text.split(",")
    )
    match kind:
        case "redis+sentinel":
            master, _, number = path.partition("/")
            if not master:
                fix = "Write redis+sentinel://HOST:PORT,HOST:PORT/MASTER, with the name the sentinels know it by."
                raise WrongError("does not name the master.", fix)
            return StoreAddress(scheme, None, hosts, user, password, _database(number), unquote(master))
        case "redis+cluster":
            if path:
                fix = "Remove what follows the hosts; for one server with databases write redis://HOST:PORT/NUMBER."
                raise WrongError("names a database, but a Redis Cluster has only one.", fix)
            return StoreAddress(scheme, None, hosts, user, password)
        case _:
            if len(hosts) > 1:
                raise WrongError(
                    "names several hosts for one server.",
                    "For several write redis+cluster:// or redis+sentinel://.",
                )
            return StoreAddress(scheme, None, hosts, user, password, _database(path))


def _login(text: str) -> tuple[str | None, SecretStr]:
    user, colon, password = text.partition(":")
    if not colon or not password:
        raise WrongError(
            "names a user without a password.", "Write redis://USER:PASSWORD@HOST or redis://:PASSWORD@HOST."
        )
    return unquote(user) or None, SecretStr(unquote(password))


def _host(text: str, default_port: int) -> tuple[str, int]:
    found = _HOST.fullmatch(text)
    port = int(found["port"] or default_port) if found is not None else 0
    if found is None or not 0 < port <= _LAST_PORT:
        fix = "Write HOST or HOST:PORT after ://, several parted by commas; percent-encode signs such as / in a password."
        raise WrongError("has a host or port that cannot be read.", fix)
    return found["v6"] or found["name"], port


def _database(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,5}", text):
        raise WrongError("has a database that is not a number.", "Write redis://HOST:PORT/0.")
    return int(text or 0)
