"""Calls of the guide that are made a second time, to the letter: the gateway has kept what they brought."""

from collections.abc import Sequence
from typing import Final

from gateway.cli.guide.images import generate, streamed
from gateway.cli.guide.step import Step, Want
from gateway.cli.guide.table import Row

NAME: Final = ", asked again"
_SQUARE: Final = "1024x1024"

STEPS: Final = (
    Step(f"generate{NAME}", "gpt-image-2", generate, Want(_SQUARE, "medium", "gpt-image-2")),
    Step(f"streamed{NAME}", "gpt-image-1", streamed, Want(_SQUARE, "low", "gpt-image-1", partials=2)),
)
"""Last: what they ask for has been asked for before."""


def faults(rows: Sequence[Row]) -> dict[int, str]:
    """What is wrong with a second time, by the place of its row: it was made anew, or it cost something."""
    return {
        place: "it was made anew: the first answer was not kept, or not found"
        for place, row in enumerate(rows)
        if row.name.endswith(NAME) and not row.faults and (row.cost != 0 or not row.is_given)
    }
