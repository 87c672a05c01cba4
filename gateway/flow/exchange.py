"""The values handed from stage to stage: what arrived, and what is sent back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gateway.core.headers import Header


class Client(Protocol):
    """The connection a request came on."""

    def body(self) -> AsyncIterator[bytes]:
        """
        The request's body as it comes. To be iterated once, to its end.

        Raises:
            ClientGoneError: the client left before the end.
        """
        ...

    async def gone(self) -> None:
        """Return once the client has left; to be awaited only after the body has been read."""
        ...

    async def start(self, status: int, headers: list[Header]) -> None:
        """Send the head of the answer, at once."""
        ...

    async def send(self, chunk: bytes) -> None:
        """Send a piece of the answer's body; returns when there is room for more."""
        ...

    async def end(self) -> None:
        """The answer is complete. Without this call the connection is cut, so that the client notices."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request whose head has been read."""

    id: str
    method: str
    path: str
    """Percent-decoded."""
    query: bytes
    """Percent-encoded ASCII."""
    headers: tuple[Header, ...]
    """Names in lower case."""
    at: float
    """Ticks of its arrival."""
