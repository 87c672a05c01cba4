"""The table that tells what happened, a row for each call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gateway.core.units import NanoUSD

# Wide enough for the table and for a file's name and time, narrow enough for half a screen.
WIDTH: Final = 104
HIT: Final = "hit"
_NANOS_SHOWN: Final = 10_000
_SHOWN_PER_USD: Final = 100_000
_SOON_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Row:
    """
    One call as it went.

    Args:
        tokens: output image tokens; None where the model is billed by picture, or no answer came.
        seconds: from the call to its last byte.
        ids: of its answers that can have cost something, as the ledger names them.
        cost: as the gateway's ledger has it; None: not known.
        cache: what the cache had to do with it, in the ledger's word; None: not known.
        faults: what was wrong with it, one sentence each; nothing if it worked.
    """

    name: str
    model: str
    images: int
    partials: int
    tokens: int | None
    seconds: float
    faults: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    cost: NanoUSD | None = None
    cache: str | None = None

    @property
    def is_given(self) -> bool:
        """Whether it was given what an earlier call had brought: nothing was made for it."""
        return self.cache == HIT


def table(rows: Sequence[Row]) -> Table:
    """The calls, and their totals in the last line."""
    found = Table(
        box=SIMPLE_HEAD, show_footer=True, header_style="bold", footer_style="bold", padding=(0, 1, 0, 0)
    )
    worked = sum(not row.faults for row in rows)
    found.add_column("")
    found.add_column("", justify="right")
    found.add_column("call", footer=f"{worked} of {len(rows)} worked")
    found.add_column("model")
    for title, total in (
        ("images", str(sum(row.images for row in rows))),
        ("partial\nimages", str(sum(row.partials for row in rows))),
        ("output\nimage\ntokens", grouped(total_tokens(rows))),
        ("cache", _hits(rows)),
        ("cost $", _dollars(total_cost(rows))),
        ("time", _time(sum(row.seconds for row in rows))),
    ):
        found.add_column(title, footer=total, justify="right", no_wrap=True)
    for number, row in enumerate(rows, start=1):
        found.add_row(
            Text("✗", "bold red") if row.faults else Text("✓", "green"),
            Text(f"{number:02}", "dim"),
            Text(row.name),
            Text(row.model, "cyan"),
            str(row.images),
            str(row.partials) if row.partials else Text("–", "dim"),
            _tokens(row),
            Text(HIT, "green") if row.is_given else Text("–", "dim"),
            Text("–", "dim") if row.cost is None else _dollars(row.cost),
            _time(row.seconds),
        )
    return found


def total_tokens(rows: Sequence[Row]) -> int:
    """Output image tokens of all calls, also of those that were given again."""
    return sum(row.tokens or 0 for row in rows)


def total_cost(rows: Sequence[Row]) -> NanoUSD:
    """What all calls cost whose cost is known."""
    return NanoUSD(sum(row.cost or 0 for row in rows))


def grouped(number: int) -> str:
    """With a space between thousands."""
    return f"{number:,}".replace(",", " ")


def _tokens(row: Row) -> str | Text:
    if row.tokens is not None:
        return grouped(row.tokens)
    return Text("–" if row.faults else "per image", "dim")


def _hits(rows: Sequence[Row]) -> str:
    found = sum(row.is_given for row in rows)
    return f"{found} hits" if found != 1 else "1 hit"


def _dollars(cost: NanoUSD) -> str:
    """To a thousandth of a cent, a half upwards: enough for people. What has to be equal is compared in nano-dollars."""
    thousandths = (cost + _NANOS_SHOWN // 2) // _NANOS_SHOWN
    return f"{thousandths // _SHOWN_PER_USD}.{thousandths % _SHOWN_PER_USD:05d}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= _SOON_S else f"{seconds * 1000:.0f} ms"
