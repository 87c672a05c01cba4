"""
Names that others gave: a model, a size, an id, as a client or the upstream wrote it.

They go into logs and ledgers, where a line break, an escape sequence or a secret has no business.
"""

import re
from typing import overload

CLIPPED = 128
"""Characters kept of a name."""
_STRANGE = re.compile(r"[^A-Za-z0-9._:/+-]")


@overload
def plain(name: str) -> str: ...
@overload
def plain(name: str | None) -> str | None: ...
def plain(name: str | None) -> str | None:
    """Short, and made of the signs that names are made of; what looks like a key is not repeated."""
    if name is None:
        return None
    return "…" if "sk-" in name else _STRANGE.sub("?", name[:CLIPPED])
