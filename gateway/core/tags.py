"""
`X-Imagegate-Tags: campaign=spring,env=prod`: names that a client gives its call, for the ledger to count by.

A list as HTTP has it (RFC 9110 §5.6.1): several lines are one, spaces around an element and empty elements mean
nothing. Values are UTF-8 and stand for themselves: nothing is unquoted or percent-decoded. Unlike what OpenAI judges,
a tag that we cannot read is refused: money that is counted under no name is found out too late.

Not here: grouping by tags (ledger.py).
"""

import re
from typing import Final

from gateway.core.errors import Code, Refusal, Refused, quoted

HEADER: Final = "X-Imagegate-Tags"
FIELD: Final = HEADER.lower().encode("ascii")
MOST_TAGS: Final = 8
VALUE_CHARACTERS: Final = 128

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(rb"(?<![A-Za-z0-9])sk-")
"""How API keys begin, ours and OpenAI's; `task-force` is none."""
_GOOD = "campaign=spring,env=prod"


def read_tags(value: bytes | None) -> tuple[tuple[str, str], ...]:
    """
    Names and values, in the order given.

    Args:
        value: of the header, its lines joined by commas; None: it is absent.

    Raises:
        Refused: 400 `invalid_header`: it cannot be read, a name is there twice, there are too many, or one looks like
            an API key, which must not get into a ledger.
    """
    if not value:
        return ()
    if _KEY.search(value):
        raise _refused("Something in it looks like an API key, and tags are kept in the ledger: take it out")
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise _refused("This one is not UTF-8") from None
    tags: dict[str, str] = {}
    for element in text.split(","):
        tag = element.strip(" \t")
        if not tag:
            continue
        name, _, said = tag.partition("=")
        if not _NAME.fullmatch(name) or not _is_value(said):
            raise _refused(
                f"{quoted(tag)} is none: a name is up to 64 letters, digits, '_', '.' and '-', a value up to "
                f"{VALUE_CHARACTERS} printable characters"
            )
        if name in tags:
            raise _refused(f"{quoted(name)} is there more than once: give each name one value")
        tags[name] = said
    if len(tags) > MOST_TAGS:
        raise _refused(f"There are {len(tags)}")
    return tuple(tags.items())


def _is_value(text: str) -> bool:
    return 0 < len(text) <= VALUE_CHARACTERS and text.isprintable() and not text.startswith(" ")


def _refused(fault: str) -> Refused:
    message = f"The header {HEADER} takes up to {MOST_TAGS} tags, such as '{_GOOD}'. {fault}."
    return Refused(Refusal(Code.INVALID_HEADER, message, HEADER))
