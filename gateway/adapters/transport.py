"""
The upstream over a transport of our own: asyncio and llhttp, nothing between them.

General clients pay for each request with work for every open connection, or with layers this gateway has no use
for; here a request costs the same whether two or two thousand streams are open (`python -m loadtest.pools`). It
speaks HTTP/1.1, plain or over TLS, to one origin. Egress proxies and HTTP/2 are for the other transport
(upstream.py).

Nothing is retried here but what was never begun: an idle connection that turns out to be closed before a byte was
written is left for another one.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gateway.adapters.connection import READ_BUFFER_BYTES, Connection
from gateway.adapters.dial import dial
from gateway.adapters.pool import Pool, Watch
from gateway.adapters.wire import Head
from gateway.core import framing
from gateway.core.credentials import Account
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.headers import Header
from gateway.ports import Timeouts, UpstreamRequest

KEEPALIVE_EXPIRY_S = 30.0
"""Idle connections are closed before edges in front of APIs do it (60 s and more): fewer races with their FIN."""
DEFAULT_PORTS = {"http": 80, "https": 443}


class FastUpstream:
    """
    The `Upstream` port over connections of our own.

    Args:
        base_url: such as `https://api.openai.com/v1`.
        accounts: credentials by name.
        timeouts: by phase.
        max_connections: of the pool; all of them may idle.
        ca_file: a PEM bundle to trust instead of the system's.

    Raises:
        ValueError: a credential or the URL holds what cannot stand in a request.
    """

    def __init__(
        self,
        base_url: str,
        accounts: Mapping[str, Account],
        *,
        timeouts: Timeouts,
        max_connections: int,
        ca_file: Path | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or DEFAULT_PORTS[parts.scheme]
        self._base_path = parts.path.rstrip("/").encode("ascii")
        self._tls = _context(ca_file) if parts.scheme == "https" else None
        authority = _authority(self._host, self._port, parts.scheme)
        self._fields = {
            name: framing.fields(
                [(b"host", authority), (b"accept-encoding", b"identity"), *account.headers()]
            )
            for name, account in accounts.items()
        }
        self._timeouts = timeouts
        self._buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self._pool = Pool(
            self._connect, size=max_connections, patience_s=timeouts.pool_s, idle_s=KEEPALIVE_EXPIRY_S
        )

    async def open(self, request: UpstreamRequest) -> "FastReply":
        """
        Send the request, wait for the head of the answer.

        Raises:
            ValueError: a header, path or query holds what would not be one in the request. Nothing was sent.
        """
        head = self._head(request)
        connection = await self._pool.take()
        try:
            answer = await connection.ask(head, request.body)
        except BaseException:
            self._pool.give(connection)
            raise
        return FastReply(answer, connection, self._pool)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    def _head(self, request: UpstreamRequest) -> bytes:
        target = self._base_path + request.path.encode("ascii")
        if request.query:
            target += b"?" + request.query
        framing.check_not_ours(request.headers)
        length = b""
        if request.body is not None:
            length = b"content-length: %d\r\n" % request.body.size
        return b"".join(
            (
                framing.request_line(request.method, target),
                self._fields[request.credential],
                framing.fields(request.headers),
                length,
                b"\r\n",
            )
        )

    async def _connect(self, died: Watch, lost: Watch) -> Connection:
        """A new connection, TLS included, within the time for that."""
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(self._timeouts.connect_s)
        try:
            async with limit:
                sock = await dial(self._host, self._port)
                try:
                    _, connection = await loop.create_connection(
                        lambda: Connection(self._buffer, self._timeouts, died=died, lost=lost),
                        sock=sock,
                        ssl=self._tls,
                        server_hostname=None if self._tls is None else self._host,
                    )
                except BaseException:
                    sock.close()
                    raise
        except (OSError, UnicodeError) as error:
            # The system's own time-out is a TimeoutError, too, and an UnicodeError a name no resolver takes.
            failure = Failure.TIMED_OUT if limit.expired() else Failure.UNREACHABLE
            raise UpstreamFailed(failure, phase="connect", sent=False) from error
        return connection


class FastReply:
    """The `UpstreamReply` port over one exchange of a connection."""

    status: int
    headers: Sequence[Header]

    def __init__(self, head: Head, connection: Connection, pool: Pool) -> None:
        self.status = head.status
        self.headers = head.headers
        self._connection: Connection | None = connection
        self._pool = pool
        self._ended = False

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes off the connection."""
        return self

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        connection = self._connection
        if connection is None:
            if self._ended:
                raise StopAsyncIteration
            raise UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
        try:
            piece = await connection.piece()
        except BaseException:
            self._free()
            raise
        if piece is None:
            self._ended = True
            self._free()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Free the connection: back to the pool if the answer was read to its end, closed otherwise."""
        self._free()

    def _free(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(connection)


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    context.set_alpn_protocols(["http/1.1"])
    return context


def _authority(host: str, port: int, scheme: str) -> bytes:
    """What the Host field says."""
    name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    return (name if port == DEFAULT_PORTS[scheme] else f"{name}:{port}").encode("ascii")
