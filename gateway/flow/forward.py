"""
One call to the upstream, and when to make another attempt.

A generation costs money, and a request that was sent may have been carried out. So there is another attempt in
two cases only: no byte of the request was written, or the upstream answered 429 and another credential may take
the call. Both together at most `retries` times.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from http import HTTPStatus

from gateway.core.errors import UpstreamFailed
from gateway.ports import Upstream, UpstreamReply, UpstreamRequest


async def forward(
    upstream: Upstream, request: UpstreamRequest, others: Sequence[str], *, retries: int
) -> UpstreamReply:
    """
    The upstream's answer, its body unread.

    Args:
        upstream: where to.
        request: the first attempt, with the tenant's own credential.
        others: names of the credentials that may take over after a 429; empty where the call is tied to its own.
        retries: further attempts at most.

    Raises:
        UpstreamFailed: the last attempt got no answer.
    """
    spare = list(others)
    while True:
        try:
            reply = await upstream.open(request)
        except UpstreamFailed as failed:
            if failed.sent or retries == 0:
                raise
        else:
            if reply.status != HTTPStatus.TOO_MANY_REQUESTS or not spare or retries == 0:
                return reply
            await reply.aclose()
            request = replace(request, credential=spare.pop(0))
        retries -= 1


@dataclass(frozen=True, slots=True)
class Sender:
    """
    One request on its way up, with what has to be kept until it has gone.

    Args:
        upstream: is asked.
        request: what for.
        others: credentials that may take it over.
        retries: further attempts.
        kept: let go of once the body has gone up.
    """

    upstream: Upstream
    request: UpstreamRequest
    others: Sequence[str]
    retries: int
    kept: ExitStack

    async def open(self) -> UpstreamReply:
        """
        Make the call. Once.

        Raises:
            UpstreamFailed: there was no answer.
        """
        # With the head of the answer the body has gone up, or is of no use any more.
        with self.kept:
            return await forward(self.upstream, self.request, self.others, retries=self.retries)

    def close(self) -> None:
        """It is not made."""
        self.kept.close()
