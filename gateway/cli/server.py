"""Running an ASGI application under uvicorn, as this project does it everywhere."""

import errno
import functools
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, cast

import click
import uvicorn
from uvicorn.server import ServerState

from gateway.orders import Orders

BACKLOG = 8192
KEEP_ALIVE_S = 75
"""An idle connection is kept for so long: longer than the SDKs keep theirs, so that they close first."""


def bind(host: str, port: int, *, host_from: str = "--host", port_from: str = "--port") -> socket.socket:
    """
    A listening address, taken before anything starts.

    Args:
        host: an address or name.
        port: 0 takes any free one.
        host_from: the option or setting that says the host, for whoever has to change it.
        port_from: the same for the port.

    Raises:
        click.ClickException: it cannot be bound; the message says why and what to change.
    """
    sock = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        # Listening from now on: who connects before the workers are up waits in the backlog instead of failing.
        sock.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        if sock is not None:
            sock.close()
        reason, advice = _refusal(error, host_from, port_from)
        raise click.ClickException(f"cannot listen on {_place(host, port)}: {reason}. {advice}") from None
    sock.set_inheritable(True)
    return sock


def _refusal(error: OSError | UnicodeError, host_from: str, port_from: str) -> tuple[str, str]:
    """Why an address cannot be had, and what to do."""
    elsewhere = f"Name an address of this machine with {host_from}."
    match error:
        case UnicodeError():
            return "that is no host name", elsewhere
        case socket.gaierror() | OSError(errno=errno.EADDRNOTAVAIL):
            advice = elsewhere
        case OSError(errno=errno.EADDRINUSE):
            advice = f"Stop what listens there, or choose another port with {port_from}."
        case _:
            advice = f"Choose another port with {port_from}, or another address with {host_from}."
    return error.strerror or str(error), advice


def address_of(sock: socket.socket) -> str:
    """`http://host:port` of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://{_place(host, port)}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def config(
    app: Callable[..., Any] | str,
    *,
    protocol: Callable[..., Any] | str = "httptools",
    factory: bool = False,
    drain_timeout_s: float | None = None,
) -> uvicorn.Config:
    """
    How uvicorn runs an application of ours.

    Args:
        app: an ASGI application, or what makes one.
        protocol: what makes the protocol of a connection; uvicorn's own over httptools by default.
        factory: whether `app` makes one.
        drain_timeout_s: how long requests under way may go on when the process is told to stop.
    """
    return uvicorn.Config(
        app,
        factory=factory,
        # Typed as a class, used as what makes one.
        http=cast("str", protocol),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=None if drain_timeout_s is None else int(drain_timeout_s),
    )


class State(ServerState):
    """
    What uvicorn's connections share.

    Attributes:
        is_draining: the process takes no more connections; what is open is served to its end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_draining = False


class Server(uvicorn.Server):
    """
    uvicorn's server, which says when it is about to stop.

    Args:
        config: uvicorn's.
        orders: the application is made with them, and they say so; None: it takes none.
    """

    def __init__(self, config: uvicorn.Config, orders: Orders | None = None) -> None:
        if orders is not None:
            config.app = functools.partial(cast("Callable[..., Any]", config.app), orders=orders)
        super().__init__(config)
        self.server_state: State = State()
        self._orders = orders or Orders()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Told to stop, by a signal."""
        self._orders.is_draining = True
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and serve what is open to its end."""
        self.server_state.is_draining = True
        await super().shutdown(sockets)


def run(settings: uvicorn.Config, sockets: list[socket.socket], orders: Orders | None = None) -> None:
    """
    Serve in this process until told to stop.

    Ctrl-C is how a person ends it and no failure: after the drain this returns. SIGTERM ends the process by that
    signal, as supervisors expect it.
    """
    # uvicorn raises SIGINT once more when it has drained.
    with suppress(KeyboardInterrupt):
        Server(settings, orders).run(sockets)
    click.echo("stopped")
