"""Running an ASGI application under uvicorn, as this project does it everywhere."""

import socket
from collections.abc import Callable
from typing import Any, cast

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

BACKLOG = 8192
KEEP_ALIVE_S = 75
"""An idle connection is kept for so long: longer than the SDKs keep theirs, so that they close first."""


def bind(host: str, port: int) -> socket.socket:
    """
    A listening address, taken before anything starts.

    Args:
        host: an address or name.
        port: 0 takes any free one.

    Raises:
        click.ClickException: it cannot be bound; the message says why.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        reason = error.strerror or str(error)
        raise click.ClickException(
            f"cannot listen on {host}:{port}: {reason}. Is another one running?"
        ) from None
    # Listening from now on: who connects before the workers are up waits in the backlog instead of failing.
    sock.listen(BACKLOG)
    sock.set_inheritable(True)
    return sock


def address_of(sock: socket.socket) -> str:
    """`http://host:port` of a bound socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def config(
    app: Callable[..., Any] | str,
    *,
    protocol: Callable[..., Any] | str = "httptools",
    factory: bool = False,
    workers: int = 1,
    drain_timeout_s: float | None = None,
) -> uvicorn.Config:
    """
    How uvicorn runs an application of ours.

    Args:
        app: an ASGI application, or what makes one.
        protocol: what makes the protocol of a connection; uvicorn's own over httptools by default.
        factory: whether `app` makes one.
        workers: processes.
        drain_timeout_s: how long requests under way may go on when the process is told to stop.
    """
    return uvicorn.Config(
        app,
        factory=factory,
        workers=workers,
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


def run(settings: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """Serve until told to stop, in as many processes as configured."""
    if settings.workers > 1:
        _Workers(settings, sockets=sockets).run()
    else:
        uvicorn.Server(settings).run(sockets)


class _Workers(Multiprocess):
    """Worker processes on shared sockets."""

    def terminate_all(self) -> None:
        """
        Stop listening, then let the workers end.

        The sockets are this process's too: left open, they would take connections that nobody serves any more.
        """
        for sock in self.sockets:
            sock.close()
        super().terminate_all()
