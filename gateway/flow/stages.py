"""When a request is in which stage, where somebody wants to know."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Final

from gateway.core.errors import Refused
from gateway.core.spans import Stage, Stay
from gateway.flow.tasks import ClientGoneError

UNSEEN: Final[AbstractContextManager[None]] = nullcontext()
"""Nobody wants to know."""


class Stages:
    """
    One request's stays. A stage that goes on after a pause, with no other in between, is one stay.

    Args:
        ticks: of the clock.
    """

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self.stays: list[Stay] = []

    def during(self, stage: Stage) -> AbstractContextManager[None]:
        """A block of it."""
        return _Within(self, stage)

    def begin(self, stage: Stage) -> None:
        """It is in this stage."""
        now = self._ticks()
        if not self.stays or self.stays[-1].stage is not stage:
            self.stays.append(Stay(stage, now, now))

    def end(self, stage: Stage, at: float | None = None, fault: str | None = None) -> None:
        """It leaves this stage, which it may not have been in. `at`: ticks; None: now."""
        for stay in reversed(self.stays):
            if stay.stage is stage:
                stay.ended = self._ticks() if at is None else at
                stay.fault = fault
                return


class _Within:
    def __init__(self, stages: Stages, stage: Stage) -> None:
        self._stages = stages
        self._stage = stage

    def __enter__(self) -> None:
        self._stages.begin(self._stage)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stages.end(self._stage, fault=_fault(error))


def _fault(error: BaseException | None) -> str | None:
    """None: it is none, or no failure, as of a client that leaves."""
    if isinstance(error, Refused):
        return error.refusal.code.code
    if isinstance(error, ClientGoneError):
        return None
    return type(error).__name__ if isinstance(error, Exception) else None
