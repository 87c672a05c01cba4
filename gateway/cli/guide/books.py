"""The sandbox's own books against the table: both have to come to the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from gateway.cli.guide.table import Row, total_tokens
from gateway.core.units import NANO_PER_USD


@dataclass(frozen=True, slots=True)
class Invoice:
    """What OpenAI would have billed: finished pictures, output image tokens, nano-dollars."""

    images: int
    tokens: int
    nano_dollars: int

    def agreement(self) -> str:
        """That the table agrees, in a line."""
        return ""


def of(sandbox: str) -> Invoice:
    """
    The sandbox's invoice.

    Args:
        sandbox: its address, without a path.

    Raises:
        httpx2.HTTPError: it cannot be had.
    """
    answer: dict[str, Any] = httpx2.get(f"{sandbox}/_sandbox/invoice", trust_env=False).raise_for_status().json()
    return Invoice(
        images=sum(line["images"] for line in answer["lines"]),
        tokens=sum(line["tokens"]["output_image"] for line in answer["lines"]),
        nano_dollars=answer["nano_dollars"],
    )
