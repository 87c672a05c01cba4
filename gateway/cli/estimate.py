"""
`imagegate estimate`: what an images call will cost, before anybody makes it.

Decided here: what the options are, and how a quote is shown to people and to machines. What it comes to: quote.py.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import catalog as catalogue
from gateway.adapters.clock import SystemClock
from gateway.cli.configuration import read
from gateway.cli.quote import AUTO, Quote, cost_of, quote
from gateway.core.catalog import Catalog
from gateway.core.errors import Refusal
from gateway.core.estimate import MOST_IMAGES, MOST_PARTIALS
from gateway.core.pricing import AccountingRules
from gateway.core.tokens import PARTIAL_IMAGE_TOKENS, parse_size
from gateway.core.units import NanoUSD, rounded_up, usd_text
from gateway.settings import ConfigError, config_path, report_faults

_EXAMPLE: Final = """\b
Example:
  imagegate estimate --model gpt-image-2 --size 1024x1024 --quality low -n 2 --partial-images 2
  imagegate estimate --model gpt-image-2 --size 1536x1024 --quality high --edit fox.png --prompt "at night"
  imagegate estimate --model gpt-image-2.5-flare --size auto --quality auto --format json"""
_WIDTH: Final = 100
"""Of a table that goes into a file or a pipe, where no terminal says how wide it is."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to edit: its size in bytes, and WIDTHxHEIGHT if it is a picture that Pillow knows."""

    name: str
    size_bytes: int
    dimensions: str | None


@click.command(epilog=_EXAMPLE)
@click.option("--model", required=True, metavar="M", help="The image model, as a request names it.")
@click.option("--size", default=AUTO, show_default=True, metavar="WxH", help="Such as 1024x1536, or auto.")
@click.option("--quality", default=AUTO, show_default=True, metavar="Q", help="Such as low, or auto.")
@click.option("-n", "n", type=click.IntRange(1, MOST_IMAGES), default=1, show_default=True, help="Pictures.")
@click.option(
    "--partial-images",
    type=click.IntRange(0, MOST_PARTIALS),
    default=0,
    show_default=True,
    metavar="K",
    help="Partial images of a streamed picture.",
)
@click.option(
    "--edit",
    "edits",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    metavar="FILE",
    help="A picture that is edited; may be there several times. Only its head is read.",
)
@click.option("--prompt", metavar="TEXT", help="The prompt. It has at most as many tokens as bytes.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="Default: table."
)
@click.option(
    "--config",
    "flag",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration whose [catalog] counts. Default: the one that IMAGEGATE_CONFIG names, else our catalogue.",
)
def estimate(
    model: str,
    size: str,
    quality: str,
    n: int,
    partial_images: int,
    edits: tuple[Path, ...],
    prompt: str | None,
    form: str,
    flag: Path | None,
) -> None:
    """
    What an images call will cost.

    Tells what is known before the call, its output by the model's token rule at the catalogue's prices, and the most
    that it can cost: what the gateway reserves before it goes up. Nothing is sent anywhere. Exit code 0: done. 1: the
    model has no price, and the gateway refuses it. 2: misused.
    """
    if size != AUTO and parse_size(size) is None:
        raise click.BadParameter(f"{size!r} is no size. Write 1024x1536, or auto.", param_hint="--size")
    for option, value in (("--model", model), ("--quality", quality)):
        if not value:
            raise click.BadParameter("it is empty.", param_hint=option)
    body: dict[str, object] = {"model": model, "size": size, "quality": quality, "n": n}
    body["partial_images"] = partial_images
    if prompt is not None:
        body["prompt"] = prompt
    if edits:
        body["images"] = [{"image_url": path.name} for path in edits]
    catalog, rules = _catalog(flag)
    found = quote(body, catalog, rules, at_s=SystemClock().now())
    if isinstance(found, Refusal):
        raise click.ClickException(found.message)
    sources = [_source(path) for path in edits]
    if form == "json":
        click.echo(orjson.dumps(told(found, sources), option=orjson.OPT_INDENT_2))
    else:
        _show(found, sources)


def told(found: Quote, sources: Sequence[Source]) -> dict[str, object]:
    """The quote for machines: tokens as integers, money as decimal texts of USD, null for what is not known."""
    use, ask = found.use, found.ask
    return {
        "object": "estimate",
        "route": found.route,
        "model": use.name,
        "priced_as": use.priced_as,
        "size": ask.size,
        "quality": ask.quality,
        "n": found.reserved.images,
        "partial_images": ask.partial_images,
        "input_images": [
            {"file": one.name, "bytes": one.size_bytes, "size": one.dimensions} for one in sources
        ],
        "output_image_tokens": found.output_tokens,
        "partial_image_tokens": found.partial_tokens,
        "output_cost_usd": None if found.output_cost is None else usd_text(found.output_cost),
        "reserved": {
            "output_image_tokens": use.output_image,
            "input_text_tokens": use.input_text,
            "input_image_tokens": use.input_image,
            "tokens": found.reserved.tokens,
            "cost_usd": usd_text(found.reserved.cost_nusd),
        },
        "notes": list(found.notes),
    }


def table(found: Quote) -> Table:
    """A line for each part, and the sum that is reserved."""
    made = Table(
        box=SIMPLE_HEAD, show_footer=True, header_style="bold", footer_style="bold", padding=(0, 1, 0, 0)
    )
    total = "" if found.by_picture else _grouped(found.reserved.tokens)
    made.add_column("", footer="reserved, the most that it can cost")
    made.add_column("tokens", footer=total, justify="right", no_wrap=True)
    made.add_column("cost $", footer=usd_text(found.reserved.cost_nusd), justify="right", no_wrap=True)
    for words, tokens, cost in _parts(found):
        made.add_row(words, "per image" if tokens is None else _grouped(tokens), usd_text(cost))
    return made


def _parts(found: Quote) -> Iterator[tuple[str, int | None, NanoUSD]]:
    use, at_s, partials = found.use, found.at_s, found.partial_tokens
    if found.by_picture:
        how = "at most" if found.output_cost is None else "by the price list"
        yield f"output: pictures, {how}", None, rounded_up([use.fixed])
        return
    pictures = use.output_image - partials
    how = "at most" if found.picture_tokens is None else "by the token rule"
    yield f"output: pictures, {how}", pictures, cost_of(use, at_s, output_image=pictures)
    if partials:
        words = f"output: partial images, {PARTIAL_IMAGE_TOKENS} each"
        yield words, partials, cost_of(use, at_s, output_image=partials)
    yield "input: text, at most", use.input_text, cost_of(use, at_s, input_text=use.input_text)
    if use.input_image:
        yield "input: pictures, at most", use.input_image, cost_of(use, at_s, input_image=use.input_image)


def _show(found: Quote, sources: Sequence[Source]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH
    ask = found.ask
    facts = [found.use.name, f"{ask.size}", f"{ask.quality}", f"n = {found.reserved.images}"]
    if ask.partial_images:
        facts.append(f"{ask.partial_images} partial images each")
    console.print(Text(f"{found.route}: {', '.join(facts)}", "bold"))
    for one in sources:
        what = one.dimensions or "no picture that we know"
        console.print(Text(f"  {_printable(one.name)}: {what}, {_grouped(one.size_bytes)} bytes"))
    console.print(table(found))
    console.print(_known(found))
    for note in found.notes:
        console.print(Text(f"Note: {_printable(note)}"))


def _known(found: Quote) -> str:
    if found.output_cost is None:
        return "Known before the call: nothing; what it puts out is open."
    output = (
        "the pictures"
        if found.output_tokens is None
        else f"{_grouped(found.output_tokens)} output image tokens"
    )
    condition = ", if all partial images come" if found.partial_tokens else ""
    return f"Known before the call: {output} for ${usd_text(found.output_cost)}{condition}."


def _catalog(flag: Path | None) -> tuple[Catalog, AccountingRules]:
    path = config_path(flag)
    if path is None:
        return catalogue.load(), AccountingRules()
    try:
        found = read(path)
    except ConfigError as error:
        click.echo(report_faults(error), err=True)
        raise SystemExit(2) from None
    # The other rules are about Responses and SVGs, which are not estimated here.
    return found.catalog, AccountingRules(unpriced=found.settings.catalog.unpriced)


def _source(path: Path) -> Source:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - slow to load, and wanted for edits only

    dimensions = None
    try:
        # A picture that Pillow warns of as too large does no harm: it is not decoded.
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            dimensions = f"{image.width}x{image.height}"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        pass
    return Source(path.name, path.stat().st_size, dimensions)


def _printable(text: str) -> str:
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")
