"""
Lua that runs in the server: each script is one atomic act.

A script is a file in `lua/`, with what it shares with others (`shared.lua` files named by it) before it. It is known to
the server by the hash of its text, so that two versions of the gateway side by side each run their own. A server that
does not know it yet, or has forgotten it, is sent the text.
"""

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any, Final, Protocol

from redis.exceptions import NoScriptError

_FOLDER: Final = files(__package__) / "lua"

Value = str | bytes | int
Reply = Any
"""As Redis answers: integers, bytes, None, and lists of them. Who asks knows what: the script's head says so."""


class Asked(Protocol):
    """What can be sent a command: a client, or a connection of one."""

    async def execute_command(self, *args: Value) -> Reply:
        """Send a command and return what it answers."""
        ...


class Script:
    """
    One script.

    Args:
        text: Lua.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Asked, keys: tuple[str, ...], *arguments: Value) -> Reply:
        """
        Run it once, atomically.

        Args:
            client: of the server.
            keys: all that it touches, all in one slot.
            arguments: as the script's head says.
        """
        try:
            return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self.text, len(keys), *keys, *arguments)


@cache
def script(name: str, *shared: str) -> Script:
    """The script `lua/NAME.lua`, with the shared files before it."""
    return Script("\n".join((_FOLDER / f"{one}.lua").read_text("utf-8") for one in (*shared, name)))
