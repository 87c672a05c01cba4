"""What the sandbox's mainline model says: a sentence about the picture, always the same for the same prompt."""

import re
from collections.abc import Iterator

_PIECES = re.compile(r"\s*(?:\w{1,6}|[^\w\s])")
_QUOTED = 120


def caption(prompt: str, action: str | None, *, blocked: bool) -> str:
    """
    The message at the end of a response.

    Args:
        prompt: what was asked.
        action: `generate` or `edit` if there was to be a picture.
        blocked: the safety system refused it.
    """
    asked = prompt.strip()[:_QUOTED]
    if action is not None and blocked:
        return "I cannot make this picture: the safety system refused it."
    match action:
        case "generate":
            return f"Here is your picture: {asked}."
        case "edit":
            return f"I have changed the picture as you asked: {asked}."
        case _:
            return f"This is the sandbox; it paints pictures and says little. You said: {asked}."


def revised(prompt: str) -> str:
    """The prompt as the mainline model hands it to the image model."""
    return f"{prompt.strip()}, composed in layers with soft light and fine film grain"


def pieces(text: str, most: int | None = None) -> Iterator[str]:
    """The text in pieces of about one token, at most so many."""
    for number, found in enumerate(_PIECES.finditer(text)):
        if most is not None and number >= most:
            return
        yield found[0]
