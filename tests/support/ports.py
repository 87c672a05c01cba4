"""Ports for servers that cannot be told to take any that is free."""

import random
import socket
from contextlib import suppress

_OWN_PORTS = 10_000, 32_768
"""Below those that Linux gives out by itself."""
_ports = random.SystemRandom()
_given: set[int] = set()


def free_port() -> int:
    """
    A port that nobody listens on now, and that nothing of these tests asks for again.

    Ports that the kernel gives out are not among them: it would give one to whoever connects or listens
    next, before the server that it is meant for has started.
    """
    while True:
        port = _ports.randrange(*_OWN_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in _given:
                probe.bind(("127.0.0.1", port))
                _given.add(port)
                return port
