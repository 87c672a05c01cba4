"""What commands that act on the store share: the configuration that names it, and a way to read it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gateway.settings import ConfigError, Settings, config_path, load, report_faults

F = TypeVar("F", bound=Callable[..., Any])
WIDTH: Final = 200
"""Of a table that goes into a file or a pipe, where no terminal says how wide it is."""


def config_option(command: F) -> F:
    """The option `--config`, whose value goes to `configured`, as `flag`."""
    return click.option(
        "--config",
        "flag",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The configuration file. Default: the one that IMAGEGATE_CONFIG names, else the environment only.",
    )(command)


def configured(flag: Path | None) -> Settings:
    """
    The configuration that the flag names. No secret has to be there: to look at a ledger takes none.

    Raises:
        SystemExit: it has faults; all of them have been told. 2.
    """
    path = config_path(flag)
    try:
        return load(path, serves=False)
    except ConfigError as error:
        click.echo(report_faults(error), err=True)
        raise SystemExit(2) from None
