"""
`imagegate limits`: how far limits are used, from the store that the configuration names.

The store is read, never written: a gateway may run on it or not.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import stores
from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.clock import SystemClock
from gateway.cli.store import WIDTH, config_option, configured
from gateway.core.directory import Directory, Entry
from gateway.core.limits import Unit, Window
from gateway.core.quota import Reading
from gateway.core.windows import SECOND_US
from gateway.ports import Calendar, StoreFailed, UnfitError
from gateway.settings import Settings
from gateway.settings.directory import directory_of
from gateway.web.admin.limits import amount_text, limits_json

_EXAMPLE: Final = """\b
Example:
  imagegate limits --config imagegate.toml
  imagegate limits team:design
  imagegate limits org --format json"""
BAR: Final = 20
"""Signs of a bar."""
_NEARLY: Final = 80
"""Per cent from which a bar is yellow."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A scope, and how its limits stand."""

    scope: str
    readings: tuple[Reading, ...]
    is_changed: bool
    """Its limits were set while running."""


@click.command(epilog=_EXAMPLE)
@click.argument("scope", required=False)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="Default: table."
)
@config_option
def limits(scope: str | None, form: str, flag: Path | None) -> None:
    """
    How far limits are used.

    SCOPE is org, team:ID or key:ID; without it: every scope that has limits. Limits that were set while running stand
    in place of those configured. Exit code 0: done. 1: the ledger cannot be read. 2: misused.
    """
    settings = configured(flag)
    directory, zone = directory_of(settings), settings.org.timezone
    entries = list(directory) if scope is None else [_entry(directory, scope)]
    try:
        found = asyncio.run(_read(settings, ZoneCalendar(zone), entries))
    except (StoreFailed, UnfitError) as error:
        raise click.ClickException(str(error)) from None
    shown = [one for one in found if one.readings]
    if form == "json":
        told = [limits_json(one.scope, one.readings) for one in (shown if scope is None else found)]
        whole = {"object": "list", "data": told, "next_cursor": None} if scope is None else told[0]
        click.echo(orjson.dumps(whole, option=orjson.OPT_INDENT_2))
    elif shown:
        console = Console()
        if not console.is_terminal:
            console.width = WIDTH
        console.print(table(shown, zone))
    else:
        click.echo("There are no limits." if scope is None else f"{scope} has no limits.")


def _entry(directory: Directory, scope: str) -> Entry:
    entry = directory.find(scope)
    if entry is None:
        known = [one.counted_as for one in directory]
        near = get_close_matches(scope, known, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise click.BadParameter(
            f"'{scope}' is no scope of the configuration.{meant} Write org, team:ID or key:ID.",
            param_hint="SCOPE",
        )
    return entry


async def _read(settings: Settings, calendar: Calendar, entries: Sequence[Entry]) -> list[Shown]:
    now = SystemClock().now()
    ledger = stores.reader_of(settings)
    try:
        changed = await ledger.changed_limits()
        readings = await ledger.limits([entry.claimant for entry in entries], calendar.frames(now), now)
    finally:
        await ledger.aclose()
    by_scope: defaultdict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        by_scope[reading.scope].append(reading)
    names = [entry.counted_as for entry in entries]
    return [Shown(name, tuple(by_scope[name]), name in changed) for name in names]


def table(shown: Sequence[Shown], zone: str) -> Table:
    """A line for each limit, its scope named once. `zone`: of the times."""
    found = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("scope", "limit", ""):
        found.add_column(name, overflow="fold", no_wrap=name == "")
    for name in ("used", "held", "left"):
        found.add_column(name, justify="right")
    found.add_column(f"resets ({zone})")
    found.add_column("")
    for one in shown:
        for number, reading in enumerate(one.readings):
            unit = reading.limit.unit
            notes = [("soft", reading.limit.soft), ("set while running", one.is_changed)]
            found.add_row(
                "" if number else one.scope,
                reading.limit.text,
                bar(reading),
                *(_amount(unit, amount) for amount in (reading.used, reading.held, reading.remaining)),
                _resets(reading, ZoneInfo(zone)),
                ", ".join(note for note, holds in notes if holds),
                end_section=number + 1 == len(one.readings),
            )
    return found


def bar(reading: Reading) -> Text:
    """What is used, what is held, what is left; anything at all is a sign at least, and only nothing left is full."""
    most = reading.limit.amount
    taken = reading.used + reading.held
    used, both = _signs(reading.used, most), _signs(taken, most)
    percent = 100 * taken // most
    colour = "red" if percent >= 100 else "yellow" if percent >= _NEARLY else "green"  # noqa: PLR2004 - per cent
    return Text.assemble(("█" * used, colour), ("▒" * (both - used), colour), ("·" * (BAR - both), "dim"))


def _signs(amount: int, most: int) -> int:
    if amount <= 0:
        return 0
    return BAR if amount >= most else max(1, min(BAR - 1, BAR * amount // most))


def _amount(unit: Unit, amount: int) -> str:
    if unit is Unit.USD:
        return f"${amount_text(unit, amount)}"
    return f"{amount:,}".replace(",", " ")


def _resets(reading: Reading, zone: ZoneInfo) -> str:
    if reading.resets_us is not None:
        at = datetime.fromtimestamp(reading.resets_us // SECOND_US, zone)
        return at.strftime("%Y-%m-%d %H:%M")
    match reading.limit.window:
        case None:
            return "as calls end"
        case Window.TOTAL:
            return "never"
        case window:
            return f"rolls, a {window}".replace("a hour", "an hour")
