"""Running an ASGI application under uvicorn, as this project does it everywhere."""

import errno
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from typing import Any, TypeVar, cast

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

T = TypeVar("T")
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


def with_parent(build: Callable[..., T], *values: object) -> T:
    """
    What `build` makes of the values; in a worker process, one that ends when its parent has gone.

    A supervisor that is killed tells nobody: its workers would serve on, and hold the port, with nobody to end them.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), name="parent watch", daemon=True).start()
    return build(*values)


def _end_after(sentinel: int) -> None:
    connection.wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def run(settings: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """
    Serve until told to stop, in as many processes as configured.

    Ctrl-C is how a person ends it and no failure: after the drain this returns. SIGTERM ends the process by that
    signal, as supervisors expect it.
    """
    try:
        if settings.workers > 1:
            _Workers(settings, sockets=sockets).run()
        else:
            uvicorn.Server(settings).run(sockets)
    except KeyboardInterrupt:  # uvicorn raises SIGINT once more when it has drained
        pass
    click.echo("stopped")


class _Workers(Multiprocess):
    """
    Worker processes on shared sockets.

    A terminal's Ctrl-C goes to every process; the workers are started deaf to it, for this one tells them when to end.
    """

    def init_processes(self) -> None:
        """Start the workers."""
        with _interrupts_held_back():
            super().init_processes()

    def keep_subprocess_alive(self) -> None:
        """Start a worker again that has died."""
        with _interrupts_held_back():
            super().keep_subprocess_alive()

    def terminate_all(self) -> None:
        """
        Stop listening, then let the workers end.

        The sockets are this process's too: left open, they would take connections that nobody serves any more.
        """
        for sock in self.sockets:
            sock.close()
        super().terminate_all()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """While inside, SIGINT waits; a process that is started here never sees it, since it inherits that."""
    if sys.platform == "win32":
        yield
        return
    # Started by the first worker otherwise, and it leaves SIGINT let through again.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
