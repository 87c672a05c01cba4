"""What a gateway is told by signals while it starts: it waits until somebody listens, and would end the process otherwise."""

import signal
from typing import Final

TOLD: Final = tuple(getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""What it is told while it serves."""


def hold() -> None:
    """From now on they wait, for whoever takes them (`sigwait`) or lets them through."""
    if TOLD:
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)


def let_through() -> None:
    """There are handlers for them now; what has waited comes at once."""
    if TOLD:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
