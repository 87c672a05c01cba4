"""
`imagegate cache`: how full the cache is, and forgetting what it keeps.

Works on the store that the configuration names, whether gateways run on it or not. Nothing is made here: where no gateway
has kept anything, that is said.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import stores
from gateway.adapters.clock import SystemClock
from gateway.cli.store import WIDTH, config_option, configured
from gateway.core.entry import CacheFilter, CacheStats
from gateway.ports import Cache, StoreFailed, UnfitError
from gateway.settings import Settings
from gateway.web.admin.cache import stats_json

T = TypeVar("T")
_EXAMPLE: Final = """\b
Example:
  imagegate cache stats --config imagegate.toml
  imagegate cache purge --team design --model gpt-image-2"""
_STATS_EXAMPLE: Final = """\b
Example:
  imagegate cache stats
  imagegate cache stats --format json"""
_PURGE_EXAMPLE: Final = """\b
Example:
  imagegate cache purge --team design --model gpt-image-2
  imagegate cache purge --response resp_68d6
  imagegate cache purge --all --yes"""
BAR: Final = 20
"""Signs of a bar."""
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
"""1024 of each are the next one."""


@click.group(epilog=_EXAMPLE)
def cache() -> None:
    """How full the cache is, and forgetting what it keeps."""


@cache.command(epilog=_STATS_EXAMPLE)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="Default: table."
)
@config_option
def stats(form: str, flag: Path | None) -> None:
    """
    How full the cache is, and whose calls filled it.

    Exit code 0: done; a cache that is not there yet is an empty one. 1: it cannot be read. 2: misused.
    """
    settings = configured(flag)
    found = _run(settings, _stats)
    if found is None:
        click.echo(_nothing_yet(settings), err=form == "json")
        found = CacheStats(max_bytes=settings.cache.max_bytes)
        if form == "table":
            return
    if form == "json":
        click.echo(orjson.dumps(stats_json(found), option=orjson.OPT_INDENT_2))
        return
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table(found))


@cache.command(epilog=_PURGE_EXAMPLE)
@click.option("--key", metavar="ID", help="Answers to calls that came with this key.")
@click.option("--team", metavar="ID", help="Answers to calls of this team.")
@click.option(
    "--model", metavar="M", help="Answers that this model gave or drew, named as the call named it."
)
@click.option("--response", metavar="ID", help="The answer with this id (resp_…).")
@click.option("--all", "everything", is_flag=True, help="Every answer.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
def purge(
    key: str | None,
    team: str | None,
    model: str | None,
    response: str | None,
    flag: Path | None,
    *,
    everything: bool,
    yes: bool,
) -> None:
    """
    Forget kept answers: their calls go up again.

    Several options narrow: --team design --model gpt-image-2 is what that model made for that team. Whoever is being given
    an answer meanwhile gets all of it. Exit code 0: done, be it that there was none. 1: not done. 2: misused.
    """
    named = {"--key": key, "--team": team, "--model": model, "--response": response}
    given = {option: value for option, value in named.items() if value is not None}
    _check(given, everything=everything)
    settings = configured(flag)
    if not any(_caches(settings)):
        click.echo(_nothing_yet(settings))
        return
    what = " ".join(f"{option} {value}" for option, value in given.items()) or "everything"
    if not yes:
        _ask(f"Forget what is kept in {place(settings)} ({what})?")
    which = CacheFilter(key_id=key, team=team, model=model, response_id=response)
    purged = _run(settings, lambda caches: _purged(caches, which)) or 0
    click.echo(f"{purged} {'entry' if purged == 1 else 'entries'} purged ({what}).")


def place(settings: Settings) -> str:
    """Where the cache lies, in a person's words."""
    where = stores.cache_at(settings)
    return str(where) if where.folder is None else str(where.folder)


def table(found: CacheStats) -> Table:
    """A line for all of it, and one for each team, whose calls take most first."""
    shown = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0))
    shown.add_column("team", overflow="fold")
    for name in ("entries", "bodies", "size"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column(f"of {size_text(found.max_bytes)}", no_wrap=True)
    most = found.max_bytes
    shown.add_row(
        Text("all", style="bold"),
        _count(found.entries),
        _count(found.blobs),
        size_text(found.bytes),
        bar(found.bytes, most),
    )
    for team, share in sorted(found.teams.items(), key=lambda one: (-one[1].bytes, one[0])):
        shown.add_row(Text(team), _count(share.entries), "", size_text(share.bytes), bar(share.bytes, most))
    return shown


def bar(taken: int, most: int) -> Text:
    """What is taken of it; anything at all is a sign at least, and only what is full looks so."""
    signs = 0
    if taken > 0:
        signs = BAR if taken >= most else max(1, min(BAR - 1, BAR * taken // most))
    # A full cache is as it should be: no colour warns of it.
    return Text.assemble(("█" * signs, "green"), ("·" * (BAR - signs), "dim"))


def size_text(size: int) -> str:
    """Bytes as people read them: `512 B`, `1.5 MiB`, `2.0 GiB`."""
    power = max(0, size.bit_length() - 1) // 10
    if power == 0:
        return f"{size} B"
    tenths = size * 10 >> 10 * power
    return f"{tenths // 10}.{tenths % 10} {_UNITS[power - 1]}"


def _check(given: dict[str, str], *, everything: bool) -> None:
    if everything and given:
        raise click.UsageError(f"--all is everything: leave out {', '.join(given)}, or --all.")
    if not everything and not given:
        raise click.UsageError("Say what to forget: --key, --team, --model, --response, or --all.")
    for option, value in given.items():
        if not value:
            raise click.UsageError(f"{option} is empty. Everything is --all.")


def _ask(question: str) -> None:
    try:
        click.confirm(question, abort=True, err=True)
    except click.Abort:
        raise click.ClickException("Nothing was forgotten. --yes is a yes beforehand.") from None


_Caches = tuple[Cache | None, Cache | None]
"""The cache, and what was promised to whoever repeats a call."""


def _caches(settings: Settings) -> _Caches:
    try:
        return stores.caches_there(settings, SystemClock())
    except UnfitError as error:
        raise click.ClickException(f"The cache in {place(settings)} cannot be used: {error}") from None


def _run(settings: Settings, act: Callable[[_Caches], Awaitable[T]]) -> T:
    async def acted() -> T:
        caches = _caches(settings)
        try:
            return await act(caches)
        finally:
            for one in caches:
                if one is not None:
                    await one.aclose()

    try:
        return asyncio.run(acted())
    except StoreFailed as error:
        raise click.ClickException(f"The cache in {place(settings)} cannot be used: {error}") from None


async def _stats(caches: _Caches) -> CacheStats | None:
    kept, _ = caches
    return None if kept is None else await kept.stats()


async def _purged(caches: _Caches, which: CacheFilter) -> int:
    return sum([await one.purge(which) for one in caches if one is not None])


def _nothing_yet(settings: Settings) -> str:
    return f"There is no cache in {place(settings)}: no gateway has kept an answer there yet."


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")
