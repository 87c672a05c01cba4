"""The sandbox's own books against the table: both have to come to the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from gateway.cli.guide.table import Row, grouped, total_cost, total_tokens
from gateway.core.units import NanoUSD, usd_text


@dataclass(frozen=True, slots=True)
class Invoice:
    """What OpenAI would have billed: finished pictures, output image tokens, money."""

    images: int
    tokens: int
    cost: NanoUSD


def of(sandbox: str) -> Invoice:
    """
    The sandbox's invoice.

    Args:
        sandbox: its address, without a path.

    Raises:
        httpx2.HTTPError: it cannot be had.
    """
    answer = httpx2.get(f"{sandbox}/_sandbox/invoice", trust_env=False).raise_for_status().json()
    return Invoice(
        images=sum(line["images"] for line in answer["lines"]),
        tokens=sum(line["tokens"]["output_image"] for line in answer["lines"]),
        cost=NanoUSD(answer["nano_dollars"]),
    )


def compared(rows: Sequence[Row], invoice: Invoice) -> tuple[bool, str]:
    """
    Whether table and invoice have the same pictures, output image tokens and nano-dollars, and a line that says so.

    Of calls that were given what an earlier one had brought the upstream knows nothing.
    """
    made = [row for row in rows if not row.is_given]
    ours = Invoice(sum(row.images for row in made), total_tokens(made), total_cost(rows))
    if ours == invoice:
        return True, f"Table and sandbox's invoice: {_words(ours)}: equal."
    return False, f"Table: {_words(ours)}; sandbox's invoice: {_words(invoice)}: NOT EQUAL."


def price(invoice: Invoice) -> str:
    """What all of it would have cost."""
    return f"At OpenAI's prices this would have cost ${usd_text(invoice.cost)}; here it was free."


def _words(sums: Invoice) -> str:
    return f"{sums.images} images, {grouped(sums.tokens)} output image tokens, ${usd_text(sums.cost)}"
