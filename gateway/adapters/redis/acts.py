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
_SHARED: Final = {
    "enter": ("ledger", "quota"),
    "standing": ("ledger", "quota"),
    "once": ("ledger", "settlement"),
    "settle": ("ledger", "settlement"),
    "lose": ("ledger", "settlement"),
    "prune": ("ledger", "settlement"),
    "response": ("ledger", "settlement"),
    "page": ("ledger", "settlement"),
    "mend": ("ledger", "settlement"),
    "books": ("ledger", "settlement"),
    "take": ("ledger", "settlement"),
}
"""Which files go before a script's own; where nothing is said, `ledger`."""
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
        self.keys = tuple(found[1].split())
        names = ", ".join(f"{one} = KEYS[{number}]" for number, one in enumerate(self.keys, 1))
        shared = ((folder / f"{one}.lua").read_text("utf-8") for one in _SHARED.get(name, ("ledger",)))
        self.script = Script("\n".join((f"local key = {{{names}}}", *shared, own)))


@cache
def act(name: str) -> Act:
    """The act of this name."""
    return Act(name)


def key(tag: str, name: str) -> str:
    """The key of this name."""
    return f"{{{tag}}}:ledger:{name}"
