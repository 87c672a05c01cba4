"""
The public listener: one pure ASGI endpoint, from the request's head to the last byte of its answer.

uvicorn does not tell an application that its client has left, unless it is asked: somebody must await `receive`.
Here that is `Connection.gone`, which the pipeline watches while it answers.
"""

import logging
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from gateway.core.errors import Code, Refusal, Refused, UpstreamFailed
from gateway.core.headers import Header
from gateway.flow.exchange import Arrival
from gateway.flow.pipeline import Pipeline
from gateway.flow.tasks import ClientGoneError
from gateway.ports import Clock, Ids
from gateway.web import errors, health

_log = logging.getLogger("imagegate.proxy")


class Connection:
    """One request's `receive` and `send`, as the `Client` that the flow knows."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self.started = False

    async def body(self) -> AsyncIterator[bytes]:
        """The request's body."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            if chunk:
                yield chunk

    async def gone(self) -> None:
        """Return once the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: list[Header]) -> None:
        """Send the head."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, chunk: bytes) -> None:
        """Send a piece of the body."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """Complete the answer."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a complete answer of ours."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


class Proxy:
    """
    The ASGI application of the public listener.

    Args:
        pipeline: answers requests.
        clock: for arrival times and dates.
        ids: names for requests.
    """

    def __init__(self, pipeline: Pipeline, clock: Clock, ids: Ids) -> None:
        self._pipeline = pipeline
        self._clock = clock
        self._ids = ids

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        client = Connection(receive, send)
        if scope["path"] in health.PATHS and scope["method"] == "GET":
            await client.whole(200, *health.answer(self._clock.now()))
            return
        arrival = Arrival(
            id=self._ids.new(),
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            headers=tuple(scope["headers"]),
            at=self._clock.ticks(),
        )
        try:
            await self._pipeline.serve(arrival, client)
        except ClientGoneError:
            return
        except Refused as refused:
            await self._refuse(client, arrival, refused.refusal)
        except UpstreamFailed as failed:
            _log.warning("%s: %s", arrival.id, failed)
            await self._refuse(client, arrival, failed.refusal())
        except Exception:  # noqa: BLE001 - nothing leaves this door but an answer or a cut; the log has the trace
            _log.exception("%s: internal error", arrival.id)
            message = f"The gateway had an error while processing your request ({arrival.id})."
            await self._refuse(client, arrival, Refusal(Code.INTERNAL_ERROR, message))

    async def _refuse(self, client: Connection, arrival: Arrival, refusal: Refusal) -> None:
        if client.started:
            # Returning without the last body message makes uvicorn close the connection: the client sees a cut.
            return
        headers, body = errors.answer(refusal, arrival.id, self._clock.now())
        await client.whole(refusal.code.status, headers, body)
