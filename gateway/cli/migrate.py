"""
`imagegate migrate`: the ledger of one store into another one, of the same kind or of the other.

Works where no gateway runs; the source is left as it is.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import click

from gateway import stores
from gateway.adapters.clock import SystemClock
from gateway.adapters.outbox import FileOutbox
from gateway.cli.store import config_option, configured
from gateway.core.moving import Moved
from gateway.flow.migrate import migrate as move
from gateway.ports import StoreFailed, UnfitError
from gateway.settings import Settings, StoreAddress
from gateway.settings.addresses import parse_store_url

_EXAMPLE: Final = """\b
Example:
  imagegate migrate --config imagegate.toml --from sqlite:///data --to redis://redis.internal:6379/0
  imagegate migrate --from redis://redis.internal --to redis+cluster://r1:6379,r2:6379"""
_WORKER: Final = "migrate"


@click.command(epilog=_EXAMPLE)
@click.option(
    "--from",
    "source",
    metavar="URL",
    envvar="IMAGEGATE_MIGRATE_FROM",
    help="Where the ledger lies. Default: store.url of the configuration.",
)
@click.option(
    "--to",
    "target",
    metavar="URL",
    envvar="IMAGEGATE_MIGRATE_TO",
    required=True,
    help="Where it is to lie. Both can be given as IMAGEGATE_MIGRATE_FROM and IMAGEGATE_MIGRATE_TO, unseen by others.",
)
@click.option(
    "--force", is_flag=True, help="Though a gateway runs on the source, or settlements wait for it."
)
@click.option("--resume", is_flag=True, help="Empty what an interrupted migration has left, and begin again.")
@config_option
def migrate(source: str | None, target: str, flag: Path | None, *, force: bool, resume: bool) -> None:
    """
    Move the ledger to another store.

    Records, calls under way, what limits have counted and hold, limits set while running, and Idempotency-Keys with their
    answers: every budget goes on where it was. The cache is not moved, it fills again. Stop the gateways first; afterwards
    name the new place in store.url, and start none on the old one again. Nothing is written to the source, and a target
    that holds anything is not overwritten. Of the configuration org.id counts, which is part of a ledger's name in a Redis,
    and store.durability. Exit code 0: moved. 1: not moved, or not all of it: the target is then marked as incomplete, no
    gateway starts on it, and --resume begins again. 2: misused.
    """
    settings = configured(flag)
    here = settings if source is None else _at(settings, source, "--from")
    there = _at(settings, target, "--to")
    if here.store.url == there.store.url:
        raise click.UsageError("--from and --to are the same place.")
    try:
        moved = asyncio.run(_moved(here, there, force=force, resume=resume))
    except (StoreFailed, UnfitError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException(
            "Interrupted: the target is incomplete if anything was moved. --resume begins again."
        ) from None
    click.echo(f"Moved from {here.store.url} to {there.store.url}: {moved}.")
    if moved.answers_left:
        what = "answer" if moved.answers_left == 1 else "answers"
        click.echo(
            f"{moved.answers_left} {what} of Idempotency-Keys could not be moved: whoever asks again with such a key is "
            "told that the outcome is unknown (409), and pays nothing.",
            err=True,
        )


def _at(settings: Settings, url: str, option: str) -> Settings:
    """The settings, with the store at another place."""
    try:
        address: StoreAddress = parse_store_url(url)
    except ValueError as error:
        raise click.BadParameter(f"It {error}", param_hint=option) from None
    return settings.model_copy(update={"store": settings.store.model_copy(update={"url": address})})


async def _moved(here: Settings, there: Settings, *, force: bool, resume: bool) -> Moved:
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        source = stores.source_of(here)
        stack.push_async_callback(source.aclose)
        target = stores.target_of(there)
        stack.push_async_callback(target.aclose)
        _, kept = stores.caches_there(here, clock)
        if kept is not None:
            stack.push_async_callback(kept.aclose)
        answers = stores.answers_of(there, clock)
        stack.push_async_callback(answers.aclose)
        outbox = FileOutbox(stores.outbox_of(here, source.name), _WORKER)
        stack.push_async_callback(outbox.aclose)
        return await move(source, target, (kept, answers), outbox, force=force, anew=resume)
