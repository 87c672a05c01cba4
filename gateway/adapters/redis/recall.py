"""
What this process has done of late, to be done again on a server that may not know of it.

A replica that takes its master's place has all acts up to some moment and none after, as it is told of them in the order in
which they were done; so has a server that comes back with a file that was not written to its end. So whoever serves keeps
in mind what its calls have under way, and what has ended a moment ago, and does it again there before anything else.

Pure: what is kept in mind, and for how long. Which of it the server knows, and doing it again: ledger.py.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from gateway.adapters.redis.scripts import Value

KEPT_S: Final = 60.0
"""How long what has ended is kept in mind: a replica that is further behind is of no use."""
BEGINS: Final = frozenset({"enter", "once"})
"""Acts after which something is under way that had ended before."""
MOST: Final = 10_000
"""Subjects that are kept in mind at most: those that ended first go first."""


@dataclass(frozen=True, slots=True)
class Did:
    """An act that the server has done for this process."""

    act: str
    arguments: tuple[Value, ...]
    """That have the same effect whenever it is done again."""


@dataclass(slots=True)
class Recall:
    """
    One process'.

    Args:
        kept_s: seconds; what ended earlier is forgotten.
        most: subjects; those beyond are forgotten.
    """

    kept_s: float = KEPT_S
    most: int = MOST
    _acts: OrderedDict[str, list[Did]] = field(default_factory=OrderedDict)
    _ended: OrderedDict[str, float] = field(default_factory=OrderedDict)
    """When each ended of which nothing has been heard since, in that order."""

    def did(self, subject: str, act: str, *arguments: Value) -> None:
        """
        Keep an act in mind.

        Args:
            subject: what it was about: acts on one are done again in their order, others in any.
            act: its name.
            arguments: its own.
        """
        if act in BEGINS:
            self._ended.pop(subject, None)
        self._acts.setdefault(subject, []).append(Did(act, arguments))
        while len(self._acts) > self.most:
            self.forget(next(iter(self._ended), None) or next(iter(self._acts)))

    def of(self, subject: str) -> tuple[Did, ...]:
        """What is kept in mind about it."""
        return tuple(self._acts.get(subject, ()))

    def knows(self, subject: str) -> bool:
        """Whether anything about it is kept in mind."""
        return subject in self._acts

    def forget(self, subject: str) -> None:
        """It has come to nothing that anybody counts on."""
        self._acts.pop(subject, None)
        self._ended.pop(subject, None)

    def ended(self, subject: str, now: float) -> None:
        """Nothing more is done about it, as it seems. `now`: seconds of any clock that only goes forward."""
        if subject in self._acts:
            self._ended[subject] = now
            self._ended.move_to_end(subject)
        self._tidy(now)

    def all(self, now: float) -> dict[str, tuple[Did, ...]]:
        """All that is kept in mind, by subject, the oldest first. `now`: as of `ended`."""
        self._tidy(now)
        return {subject: tuple(acts) for subject, acts in self._acts.items()}

    def _tidy(self, now: float) -> None:
        while self._ended:
            subject, at = next(iter(self._ended.items()))
            if at > now - self.kept_s:
                break
            self.forget(subject)
