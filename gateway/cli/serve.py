"""`imagegate serve`: the gateway."""

import functools
import logging
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click
import uvicorn

from gateway import __version__, app
from gateway.adapters import log
from gateway.cli import configuration, server
from gateway.cli.configuration import Configuration
from gateway.cli.reload import Reader, on_signals
from gateway.cli.workers import Supervisor
from gateway.orders import Orders
from gateway.ports import UnfitError
from gateway.settings import ConfigError, Settings, config_path, report_faults

_log = logging.getLogger("imagegate.serve")


@click.command(
    epilog="""\b
Example:
  imagegate serve --config imagegate.toml --port 9000"""
)
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    help="Configuration file. Default: $IMAGEGATE_CONFIG.",
)
@click.option("--host", help="Address to listen on. Default: server.host.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on, 0 for any. Default: server.port."
)
@click.option("--workers", type=click.IntRange(1), help="Processes. Default: server.workers.")
def serve(config: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Start the gateway."""
    asked = {"server.host": host, "server.port": port, "server.workers": workers}
    given = {name: value for name, value in asked.items() if value is not None}
    try:
        reader = Reader(config_path(config), given)
    except ConfigError as error:
        refuse(error)
    start(reader.current, listen(reader.current.settings), reader)


def read(path: Path | None, overrides: dict[str, object]) -> Configuration:
    """
    The configuration, good as a whole; faults end the command.

    Args:
        path: the configuration file, None for none.
        overrides: dotted names and values from the command line.
    """
    try:
        return configuration.read(path, overrides)
    except ConfigError as error:
        refuse(error)


def refuse(error: ConfigError) -> NoReturn:
    """Say what is wrong and end the command."""
    click.echo(report_faults(error), err=True)
    sys.exit(2)


@dataclass(frozen=True, slots=True)
class Bound:
    """The two listening sockets."""

    public: socket.socket
    ops: socket.socket


def listen(
    settings: Settings, *, port_from: str = "--port or server.port", ops_port_from: str = "ops.port"
) -> Bound:
    """
    Both listeners, taken before anything is said or started.

    Args:
        settings: where they are to be.
        port_from: what the operator changes for another public port.
        ops_port_from: the same for the operators' port.

    Raises:
        click.ClickException: one of them cannot be had.
    """
    public = server.bind(
        settings.server.host, settings.server.port, host_from="--host or server.host", port_from=port_from
    )
    try:
        ops = server.bind(settings.ops.host, settings.ops.port, host_from="ops.host", port_from=ops_port_from)
    except click.ClickException:
        public.close()
        raise
    return Bound(public, ops)


def start(configured: Configuration, bound: Bound, reader: Reader | None = None) -> None:
    """
    Say where the listeners are, serve until told to stop.

    Args:
        configured: the configuration to begin with.
        bound: the listeners.
        reader: reads it again at SIGHUP; None: SIGHUP ends the gateway.
    """
    settings = configured.settings
    log.configure(settings.log.level, settings.log.format)
    waiting = settings.unbuilt()
    if waiting:
        _log.warning("accepted, but not honoured by this version yet: %s", ", ".join(waiting))
    try:
        scratch, common = app.prepare(settings)
    except UnfitError as error:
        raise click.ClickException(str(error)) from None
    serving = _prepared(configured, bound, reader, common)
    addresses = f"{server.address_of(bound.public)} (operators: {server.address_of(bound.ops)})"
    click.echo(f"imagegate {__version__} listens on {addresses}")
    sys.stdout.flush()
    try:
        serving()
    finally:
        if scratch is not None:
            scratch.remove()


def _prepared(
    configured: Configuration, bound: Bound, reader: Reader | None, common: app.Common
) -> Callable[[], None]:
    """What serves until told to stop. It hears signals already."""
    sockets = [bound.public, bound.ops]
    configure = functools.partial(_configure, bound.ops.getsockname()[1], common)
    if configured.settings.server.workers > 1:
        return Supervisor(configure, configured, sockets, reader).run
    orders = Orders()
    if reader is not None:
        on_signals(reader, lambda read: orders.reload(read.settings, read.catalog))
    return functools.partial(server.run, configure(configured), sockets, orders)


def _configure(ops_port: int, common: app.Common, configured: Configuration) -> uvicorn.Config:
    """How uvicorn runs a worker. It goes to the worker's process as it is."""
    settings = configured.settings
    return server.config(
        functools.partial(app.build, settings, ops_port, configured.catalog, common=common),
        protocol=app.protocol(settings),
        factory=True,
        drain_timeout_s=settings.server.drain_timeout_s,
    )
