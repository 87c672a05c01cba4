"""The values handed from stage to stage: what arrived, and what is sent back."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from gateway.core.errors import Refusal
from gateway.core.headers import Header


class Client(Protocol):
    """The connection a request came on."""

    def body(self) -> AsyncIterator[bytes]:
        """
        The request's body as it comes. To be iterated once, to its end.

        Raises:
            ClientGoneError: the client left before the end.
            Refused: 408, it paused for too long.
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
        """The answer is complete."""
        ...

    def cut(self) -> None:
        """End the connection in the middle of the answer, so that the client notices."""
        ...

    async def refuse(self, refusal: Refusal, request_id: str) -> None:
        """Answer with an error of ours; only where nothing was sent yet."""
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
