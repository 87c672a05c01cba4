"""
`imagegate usage`: what was used and what it cost, from the store that the configuration names.

The store is read, never written: a gateway may run on it or not.
"""

import asyncio
import csv
import io
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import stores
from gateway.adapters.calendar import ZoneCalendar
from gateway.cli.store import WIDTH, config_option, configured
from gateway.core.ledger import COUNTS, TOLD, LedgerFilter, UsageRow, grouping
from gateway.flow.usage import usage as usage_rows
from gateway.ports import Calendar, LedgerReader, StoreFailed, UnfitError
from gateway.settings import Settings
from gateway.web.admin.lists import pieces
from gateway.web.admin.shapes import RECORD, record_json

T = TypeVar("T")
_EXAMPLE: Final = """\b
Example:
  imagegate usage --by team,day --since 2026-11-01
  imagegate usage --by tag:campaign --format csv > campaigns.csv
  imagegate usage --records --since 2026-11-01 --format csv > requests.csv"""
_HEADS: Final = {
    "requests": "requests",
    "hits": "hits",
    "images": "images",
    "partial_images": "partials",
    "output_image_tokens": "image tokens out",
    "partial_image_tokens": "of them partials",
    "input_text_tokens": "text tokens in",
    "input_image_tokens": "image tokens in",
    "output_text_tokens": "text tokens out",
    "cost_usd": "cost $",
    "saved_usd": "saved $",
}
_MONEY: Final = ("cost_nusd", "saved_nusd")
_PIECE: Final = 64 << 10
"""Characters of CSV written at once."""


@click.command(epilog=_EXAMPLE)
@click.option(
    "--by",
    default="",
    metavar="NAMES",
    help="Group by any of team, key, model, day, tag:NAME, parted by commas.",
)
@click.option("--since", metavar="D", help="From this day (2026-11-01) or instant (2026-11-01T12:00:00Z) on.")
@click.option("--until", metavar="D", help="Up to this day or instant, not including it.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", help="Default: table."
)
@click.option("--records", is_flag=True, help="Every request by itself, newest first, as json or csv.")
@config_option
def usage(
    by: str, since: str | None, until: str | None, form: str, flag: Path | None, *, records: bool
) -> None:
    """
    What was used, and what it cost.

    Sums over the ledger of the store that the configuration names, whether a gateway runs or not. Days are those of
    org.timezone; money is in USD. Exit code 0: done. 1: the ledger cannot be read. 2: misused.
    """
    settings = configured(flag)
    calendar = ZoneCalendar(settings.org.timezone)
    names = _read(by, grouping, "--by")
    first = None if since is None else _read(since, calendar.instant, "--since")
    last = None if until is None else _read(until, calendar.instant, "--until")
    if records and (form == "table" or names):
        raise click.UsageError("--records goes with --format json or csv, and without --by.")
    try:
        asyncio.run(_looked_up(settings, calendar, names, first, last, form, records=records))
    except (StoreFailed, UnfitError) as error:
        raise click.ClickException(str(error)) from None


def _read(text: str, reader: Callable[[str], T], option: str) -> T:
    try:
        return reader(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from None


async def _looked_up(
    settings: Settings,
    calendar: Calendar,
    by: Sequence[str],
    since: float | None,
    until: float | None,
    form: str,
    *,
    records: bool,
) -> None:
    ledger = stores.reader_of(settings)
    try:
        await _show(ledger, calendar, by, since, until, form, records=records)
    finally:
        await ledger.aclose()


async def _show(
    ledger: LedgerReader,
    calendar: Calendar,
    by: Sequence[str],
    since: float | None,
    until: float | None,
    form: str,
    *,
    records: bool,
) -> None:
    if records:
        names: Sequence[str] = RECORD
        items = (
            record_json(record) async for record in ledger.export(LedgerFilter(since=since, until=until))
        )
    else:
        rows = usage_rows(ledger, calendar, by, since, until)
        if form == "table":
            console = Console()
            if not console.is_terminal:
                console.width = WIDTH
            console.print(table([row async for row in rows], by))
            return
        names = (*by, *TOLD)
        items = (row.told(by) async for row in rows)
    written = _json(items) if form == "json" else _csv(items, names)
    async for text in written:
        sys.stdout.write(text)


async def _json(items: AsyncIterator[dict[str, object]]) -> AsyncIterator[str]:
    async for piece in pieces(items, None):
        yield piece.decode("utf-8")


async def _csv(items: AsyncIterator[dict[str, object]], names: Sequence[str]) -> AsyncIterator[str]:
    """RFC 4180, but with a line feed alone, as programs on a terminal write; objects and lists as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    async for item in items:
        writer.writerow([_cell(item[name]) for name in names])
        if out.tell() >= _PIECE:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool | dict | list):
        return orjson.dumps(value).decode("utf-8")
    return value


def table(rows: Sequence[UsageRow], by: Sequence[str]) -> Table:
    """The rows, a line each, and what they come to in the last line if there are several."""
    several = len(rows) > 1
    found = Table(
        box=SIMPLE_HEAD, show_footer=several, header_style="bold", footer_style="bold", padding=(0, 1, 0, 0)
    )
    total = UsageRow(**{name: sum(getattr(row, name) for row in rows) for name in (*COUNTS, *_MONEY)})
    footer = total.told(())
    for number, name in enumerate(by):
        found.add_column(name, footer="" if number else "total", overflow="fold")
    for name in TOLD:
        found.add_column(_HEADS[name], footer=_figure(footer[name]), justify="right")
    for row in rows:
        told = row.told(by)
        groups = [Text("–", "dim") if value is None else Text(_printable(value)) for value in row.group]
        found.add_row(*groups, *(_figure(told[name]) for name in TOLD))
    return found


def _printable(text: str) -> str:
    """Tags and models come from clients: none of them may steer the operator's terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _figure(value: object) -> str:
    """Counts with a space between thousands; money as it is, a decimal text."""
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)
