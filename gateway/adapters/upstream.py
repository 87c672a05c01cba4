"""
The upstream over httpx2, the maintained line of httpx.

Only its transport is used: no client, and so no redirects, cookies, default headers, environment or decoding.
httpx 0.28 is not an alternative: under cancellation it loses pool slots for good (encode/httpcore#1093), and a
streaming gateway cancels all day.
"""

import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2

from gateway.core.credentials import Account
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.headers import Header
from gateway.ports import RequestBody, Timeouts, UpstreamRequest

KEEPALIVE_EXPIRY_S = 30.0
"""Idle connections are closed before edges in front of APIs do it (60 s and more): fewer races with their FIN."""

_FAILURES: tuple[tuple[type[httpx2.TransportError], Failure, str], ...] = (
    (httpx2.PoolTimeout, Failure.SATURATED, "pool"),
    (httpx2.ConnectTimeout, Failure.TIMED_OUT, "connect"),
    (httpx2.WriteTimeout, Failure.TIMED_OUT, "write"),
    (httpx2.ReadTimeout, Failure.TIMED_OUT, "read"),
    (httpx2.ProxyError, Failure.UNREACHABLE, "proxy"),
    (httpx2.ConnectError, Failure.UNREACHABLE, "connect"),
    (httpx2.WriteError, Failure.UNREACHABLE, "write"),
    (httpx2.TransportError, Failure.UNREACHABLE, "read"),
)
"""Most specific first."""


class Httpx2Upstream:
    """
    The `Upstream` port over an httpx2 transport.

    Args:
        base_url: such as `https://api.openai.com/v1`.
        accounts: credentials by name.
        timeouts: by phase.
        max_connections: of the pool; all of them may idle.
        proxy: URL of an egress proxy.
        ca_file: a PEM bundle to trust instead of the system's.
    """

    def __init__(
        self,
        base_url: str,
        accounts: Mapping[str, Account],
        *,
        timeouts: Timeouts,
        max_connections: int,
        proxy: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self._base = httpx2.URL(base_url)
        self._base_path = self._base.raw_path.rstrip(b"/")
        self._headers = {name: account.headers() for name, account in accounts.items()}
        self._timeout = {
            "connect": timeouts.connect_s,
            "read": timeouts.read_s,
            "write": timeouts.write_s,
            "pool": timeouts.pool_s,
        }
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._transport = httpx2.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=max_connections,
                max_keepalive_connections=max_connections,
                keepalive_expiry=KEEPALIVE_EXPIRY_S,
            ),
            proxy=None if proxy is None else _proxy(proxy, context),
        )

    async def open(self, request: UpstreamRequest) -> "Httpx2Reply":
        """Send the request, wait for the head of the answer."""
        target = self._base_path + request.path.encode("ascii")
        if request.query:
            target += b"?" + request.query
        sent = _Sent()
        headers = [
            (b"host", self._base.netloc),
            *request.headers,
            (b"accept-encoding", b"identity"),
            *self._headers[request.credential],
        ]
        if request.body is not None:
            headers.append((b"content-length", str(request.body.size).encode("ascii")))
        outgoing = httpx2.Request(
            request.method,
            self._base,
            headers=headers,
            stream=_Pieces(request.body),
            # `target` goes on the request line as it is: no second thoughts about escaping.
            extensions={"timeout": self._timeout, "target": target, "trace": sent.trace},
        )
        with _mapped(sent):
            response = await self._transport.handle_async_request(outgoing)
        reply = Httpx2Reply(response)
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in reply.headers}:
            # Two framings: whoever reads by the other one sees another answer (RFC 9112 §6.3).
            await reply.aclose()
            raise UpstreamFailed(Failure.UNREACHABLE, phase="read", sent=True)
        return reply

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()


def _proxy(url: str, context: ssl.SSLContext) -> httpx2.Proxy:
    """An egress proxy; one that is reached over TLS is checked like the upstream itself."""
    return httpx2.Proxy(url, ssl_context=context if url.startswith("https:") else None)


class Httpx2Reply:
    """The `UpstreamReply` port over an httpx2 response."""

    status: int
    headers: Sequence[Header]

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = tuple((name.lower(), value) for name, value in response.headers.raw)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes off the connection."""
        stream = self._response.stream
        if not isinstance(stream, httpx2.AsyncByteStream):
            raise TypeError("an asynchronous transport gives asynchronous streams")
        with _mapped(None):
            async for chunk in stream:
                yield chunk

    async def aclose(self) -> None:
        """Free the connection: back to the pool if the body was read to its end, closed otherwise."""
        await self._response.aclose()


class _Pieces(httpx2.AsyncByteStream):
    """A request body, as the transport asks for it."""

    def __init__(self, body: RequestBody | None) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._body is not None:
            async for piece in self._body.pieces():
                yield piece


class _Sent:
    """Whether the request's first byte may have been written: told by the transport's trace events."""

    def __init__(self) -> None:
        self.yes = False

    async def trace(self, event: str, info: Mapping[str, object]) -> None:
        if event.endswith("send_request_headers.started"):
            request = info.get("request")
            # A tunnel's CONNECT goes to the proxy, not to the upstream.
            self.yes = self.yes or getattr(request, "method", b"") != b"CONNECT"


@contextmanager
def _mapped(sent: _Sent | None) -> Iterator[None]:
    """
    Turn the library's exceptions into ours.

    Args:
        sent: for the time before the head; None afterwards, when a failure other than a time-out breaks the answer off.
    """
    try:
        yield
    except httpx2.TransportError as error:
        for kind, failure, phase in _FAILURES:
            if isinstance(error, kind):
                if sent is None:
                    after = failure if failure is Failure.TIMED_OUT else Failure.BROKEN_OFF
                    raise UpstreamFailed(after, phase=phase, sent=True) from error
                raise UpstreamFailed(failure, phase=phase, sent=sent.yes) from error
        raise
