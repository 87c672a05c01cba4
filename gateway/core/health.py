"""
Whether requests should be sent here.

Only the ledger is needed: without it calls are refused, unless the operator wants them to pass uncounted. Without the
cache, or without knowing what flies in other processes, calls cost more and are answered all the same. Either is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

OK: Final = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What was found about one part.

    Attributes:
        part: its name.
        fault: what is wrong; None: it answers.
        is_needed: calls are refused without it.
    """

    part: str
    fault: str | None = None
    is_needed: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """
    The sum of what was found.

    Attributes:
        status: `ready`; `degraded`, ready all the same; `draining`; `unavailable`.
        parts: `ok` or what is wrong, by name.
    """

    status: Literal["ready", "degraded", "draining", "unavailable"] = "ready"
    parts: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_ready(self) -> bool:
        """Whether requests should be sent here."""
        return self.status in {"ready", "degraded"}


def health_of(findings: Sequence[Finding], *, draining: bool = False) -> Health:
    """
    The sum.

    Args:
        findings: one of each part.
        draining: the process is about to stop.
    """
    parts = {one.part: one.fault or OK for one in findings}
    faulty = [one for one in findings if one.fault is not None]
    if draining:
        return Health("draining", parts)
    if any(one.is_needed for one in faulty):
        return Health("unavailable", parts)
    return Health("degraded" if faulty else "ready", parts)
