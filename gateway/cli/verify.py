"""
`imagegate verify`: whether the ledger adds up, and mending what does not.

Works on the store that the configuration names, whether gateways run on it or not.
"""

import asyncio
from pathlib import Path
from typing import Final

import click

from gateway import stores
from gateway.cli.store import config_option, configured
from gateway.core.verify import Broken
from gateway.ports import StoreFailed, UnfitError
from gateway.settings import Settings

_EXAMPLE: Final = """\b
Example:
  imagegate verify --config imagegate.toml
  imagegate verify --repair"""


@click.command(epilog=_EXAMPLE)
@click.option("--repair", is_flag=True, help="Mend what does not add up, in one act.")
@config_option
def verify(flag: Path | None, *, repair: bool) -> None:
    """
    Whether the ledger adds up.

    Compares what limits count with the records and the open calls, and looks for places and holds that belong to
    nobody. One state of the store is looked at, so that gateways may go on meanwhile; a repair makes their writes wait
    until it is done. Exit code 0: all is well, or was mended. 1: something is not, or the ledger cannot be read.
    2: misused.
    """
    settings = configured(flag)
    try:
        left = asyncio.run(_mended(settings) if repair else _found(settings))
    except (StoreFailed, UnfitError) as error:
        raise click.ClickException(str(error)) from None
    if not left:
        click.echo("The ledger adds up.")
        return
    for one in left:
        click.echo(str(one))
    does = "thing does" if len(left) == 1 else "things do"
    advice = "was not mended" if repair else "imagegate verify --repair mends it"
    click.echo(f"{len(left)} {does} not add up; {advice}.", err=True)
    raise SystemExit(1)


async def _found(settings: Settings) -> tuple[Broken, ...]:
    reader = stores.reader_of(settings)
    try:
        return await reader.verify()
    finally:
        await reader.aclose()


async def _mended(settings: Settings) -> tuple[Broken, ...]:
    """What is left broken; the store is only written to where there is something to mend."""
    if not await _found(settings):
        return ()
    ledger = stores.Money(settings, make=False).ledger
    try:
        for one in await ledger.repair():
            click.echo(f"Mended: {one}")
        return await ledger.verify()
    finally:
        await ledger.aclose()
