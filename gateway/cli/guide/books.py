"""The sandbox's own books against the table: both have to come to the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from gateway.cli.guide.table import Row, grouped, total_tokens
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
    """Whether table and invoice name the same numbers of pictures and of output image tokens, and a line that says so."""
    images, tokens = sum(row.images for row in rows), total_tokens(rows)
    agrees = (images, tokens) == (invoice.images, invoice.tokens)
    verdict = "equal" if agrees else "NOT EQUAL"
    return agrees, (
        f"Table {images} images, {grouped(tokens)} output image tokens; sandbox's invoice {invoice.images} and "
        f"{grouped(invoice.tokens)}: {verdict}."
    )


def price(invoice: Invoice) -> str:
    """What all of it would have cost."""
    return f"At OpenAI's prices this would have cost ${usd_text(invoice.cost)}; here it was free."
