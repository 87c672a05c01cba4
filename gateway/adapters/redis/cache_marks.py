"""
Whose an entry is, where bodies lie in folders: of the machine that has the file.

Gateways on all machines share the index and the records, but a file is there for those of one machine only. So an entry
whose body lies in a folder carries the folder's mark in its name, and so does its body: `plain@1f0c9a…`. An entry whose
body lies in the Redis has none.

A gateway finds and keeps entries of its own mark. What another machine has is a miss to it, and its own answer takes its
place beside the other one. It never judges a file that it cannot see: entries of other marks are counted, bounded and
purged like its own, and forgotten for no other reason.
"""

_SIGN = "@"


def marked(name: str, mark: str) -> str:
    """A name with this mark; with none, where that is empty."""
    return f"{name}{_SIGN}{mark}" if mark else name


def mark_of(name: str) -> str:
    """The mark in a name; empty: there is none."""
    return name.partition(_SIGN)[2]


def unmarked(name: str) -> str:
    """A name without its mark."""
    return name.partition(_SIGN)[0]
