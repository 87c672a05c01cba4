"""`imagegate serve`: the gateway."""

import functools
import logging
import sys
from pathlib import Path

import click

from gateway import __version__, app
from gateway.adapters import log
from gateway.catalog import CatalogError
from gateway.catalog import load as load_catalog
from gateway.cli import server
from gateway.settings import ConfigError, Settings, config_path, load

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
    settings = read(config_path(config), {name: value for name, value in asked.items() if value is not None})
    start(settings)


def read(path: Path | None, overrides: dict[str, object]) -> Settings:
    """
    The settings and, to be sure, the catalogue; faults end the command.

    Args:
        path: the configuration file, None for none.
        overrides: dotted names and values from the command line.
    """
    try:
        settings = load(path, overrides=overrides)
        load_catalog(settings.catalog.path)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except CatalogError as error:
        click.echo("\n".join(["The model catalogue cannot be used:", *error.faults]), err=True)
        sys.exit(2)
    return settings


def start(settings: Settings) -> None:
    """Bind both listeners, say where they are, serve until told to stop."""
    log.configure(settings.log.level, settings.log.format)
    waiting = settings.unbuilt()
    if waiting:
        _log.warning("accepted, but not honoured by this version yet: %s", ", ".join(waiting))
    public = server.bind(settings.server.host, settings.server.port)
    ops = server.bind(settings.ops.host, settings.ops.port)
    click.echo(
        f"imagegate {__version__} listens on {server.address_of(public)} (operators: {server.address_of(ops)})"
    )
    sys.stdout.flush()
    ops_port: int = ops.getsockname()[1]
    server.run(
        server.config(
            functools.partial(app.build, settings, ops_port),
            protocol=app.protocol(settings),
            factory=True,
            workers=settings.server.workers,
            drain_timeout_s=settings.server.drain_timeout_s,
        ),
        [public, ops],
    )
