"""
What one call of the guide is: a function that makes it, and what has to come back.

The functions are written as the guide writes them, literals and all; what is expected of them stands beside them in
`Want`, in words of its own, so that a wrong call cannot make its own answer right.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openai
    from openai.types.responses import Response


class NotPossibleError(Exception):
    """The call needs what an earlier one did not leave. The message says what."""


@dataclass(frozen=True, slots=True)
class Want:
    """
    What has to come back.

    Args:
        size: `WIDTHxHEIGHT` of every picture.
        quality: as the answer names it; None where the answer does not say (DALL·E).
        counted_as: the image model by whose token rule the output is counted; None: billed by picture, no tokens.
        images: how many finished pictures.
        partials: how many partial images before the finished one.
        file_format: as Pillow names it: `PNG`, `WEBP`.
        transparent: whether a part of every picture has to be fully transparent.
    """

    size: str
    quality: str | None
    counted_as: str | None
    images: int = 1
    partials: int = 0
    file_format: str = "PNG"
    transparent: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What came back.

    Args:
        pictures: the finished pictures, encoded.
        tokens: output image tokens reported, partial images included; None where none were.
        partials: index and encoded picture, in the order in which they came.
        size: as the answer names it, if it does.
        quality: likewise.
        faults: what this call alone can judge and found wrong, one sentence each.
    """

    pictures: tuple[bytes, ...]
    tokens: int | None
    partials: tuple[tuple[int, bytes], ...] = ()
    size: str | None = None
    quality: str | None = None
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Desk:
    """
    What the calls work with.

    Args:
        client: the official SDK, told to talk to the gateway.
        sandbox: the sandbox's address, without a path, for pictures by URL.
        folder: where the pictures are kept.
        arrived: hears of each partial image at once: its index, its bytes.
        finished: files of the finished pictures, in order.
        first_turn: the response that the follow-ups refer to.
    """

    client: "openai.OpenAI"
    sandbox: str
    folder: Path
    arrived: Callable[[int, bytes], None]
    finished: list[Path] = field(default_factory=list)
    first_turn: "Response | None" = None

    def earlier(self, count: int) -> list[Path]:
        """
        The first pictures that earlier calls made.

        Raises:
            NotPossibleError: there are fewer.
        """
        if len(self.finished) < count:
            raise NotPossibleError(f"it needs {count} pictures; earlier calls left {len(self.finished)}")
        return self.finished[:count]

    def turn(self) -> "Response":
        """
        The response to follow up.

        Raises:
            NotPossibleError: there is none.
        """
        if self.first_turn is None:
            raise NotPossibleError("it follows up a response that an earlier call did not get")
        return self.first_turn


@dataclass(frozen=True, slots=True)
class Step:
    """One call: what the table names it, the model it asks, how it is made, what has to come back."""

    name: str
    model: str
    run: Callable[[Desk], Answer]
    want: Want
