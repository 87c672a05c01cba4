"""
The acts of the ledger: scripts of `lua/`, with the keys that they say they touch.

All keys have one tag in their names, so that a cluster keeps them in one slot and a script reaches all of them.
"""

import re
from functools import cache
from importlib.resources import files
from typing import Final

from gateway.adapters.redis.scripts import Script

TAG: Final = "imagegate"
"""What keys have in braces, unless the operator's deployment says otherwise."""
_LOOKS: Final = frozenset(
    {"books", "census", "count", "estate", "page", "response", "roll", "span", "standing"}
)
"""Acts that write nothing, and that may find nothing."""
_MOVES: Final = frozenset({"begin", "take", "whole"})
"""Acts that fill a ledger: no other one writes to it meanwhile."""
_QUOTA: Final = frozenset({"enter", "standing"})
_SETTLEMENT: Final = frozenset(
    {"once", "settle", "lose", "prune", "response", "page", "mend", "books", "take", "known"}
)
"""Acts with `quota`, and with `settlement`, before their own text; `ledger` goes before all."""
_KEYS: Final = re.compile(r"^-- keys: (.+)$", re.MULTILINE)


class Act:
    """
    One script, and what it touches.

    Args:
        name: of its file in `lua/`.
    """

    def __init__(self, name: str) -> None:
        folder = files(__package__) / "lua"
        own = (folder / f"{name}.lua").read_text("utf-8")
        found = _KEYS.search(own)
        assert found is not None, "every act says which keys it touches"  # noqa: S101 - our own files
        self.name = name
        self.does_write = name not in _LOOKS
        """It is given one key more, after its own, and one argument before: see lua/guard.lua."""
        self.keys = tuple(found[1].split())
        names = ", ".join(f"{one} = KEYS[{number}]" for number, one in enumerate(self.keys, 1))
        parts = {
            "ledger": True,
            "guard": self.does_write,
            "quota": name in _QUOTA,
            "settlement": name in _SETTLEMENT,
        }
        shared = ((folder / f"{one}.lua").read_text("utf-8") for one, is_part in parts.items() if is_part)
        known = f"local key, MOVES = {{{names}}}, {'true' if name in _MOVES else 'false'}"
        self.script = Script("\n".join((known, *shared, own)))


@cache
def act(name: str) -> Act:
    """The act of this name."""
    return Act(name)


def key(tag: str, name: str) -> str:
    """The key of this name."""
    return f"{{{tag}}}:ledger:{name}"


def begun(ledger: str) -> str:
    """What the key is called that says that this ledger, and no other one in its place, is there."""
    return f"begun:{ledger}"
