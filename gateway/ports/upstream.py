"""The image API behind us."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.headers import Header


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds for each phase of a call. A read limits the silence between two chunks, not the whole answer."""

    connect_s: float
    read_s: float
    write_s: float = 60.0
    pool_s: float = 5.0


class RequestBody(Protocol):
    """A body that can be sent more than once."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def pieces(self) -> AsyncIterator[bytes]:
        """All of it, from the beginning, in pieces of a megabyte at most; any number of times."""
        ...


class Spool(RequestBody, Protocol):
    """Takes a body as it comes and keeps it, in bounded memory, until it is closed."""

    async def write(self, piece: bytes) -> None:
        """Take the next piece. Not to be called once `pieces` has been."""
        ...

    def close(self) -> None:
        """Forget it; at any time, more than once."""
        ...


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One request to the upstream. The adapter adds Host, framing, credentials and `accept-encoding: identity`."""

    method: str
    path: str
    """Below the base URL, with a leading slash: `/responses/resp_1`."""
    query: bytes
    """As received, without the question mark; percent-encoded ASCII."""
    headers: tuple[Header, ...]
    body: RequestBody | None
    """None: no body, and none announced."""
    credential: str
    """The name of the credential to use."""


class UpstreamReply(Protocol):
    """An answer whose head has arrived."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Sequence[Header]:
        """As received, in order."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """
        The body as it comes: no chunk waits for another, none is decoded or cut anew. To be iterated once.

        Raises:
            UpstreamFailed: BROKEN_OFF, when the body ends before its framing says so; TIMED_OUT, when a read does.
        """
        ...

    async def aclose(self) -> None:
        """Free the connection; at any time, more than once, under cancellation too."""
        ...


class Upstream(Protocol):
    """
    The image API behind us.

    One call makes one attempt: nothing is retried, redirected or decompressed, no cookie is kept. Cancelling
    `open` or a read frees the connection.
    """

    async def open(self, request: UpstreamRequest) -> UpstreamReply:
        """
        Send the request and wait for the head of its answer, which may be an error: that is an answer too.

        Raises:
            UpstreamFailed: no answer. Its `sent` is False only if no byte of the request was written.
            LookupError: there is no such credential. Nothing was sent.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
