"""
One HTTP/1.1 connection to the upstream: one exchange at a time, read and written with back-pressure.

Whatever may happen next – a head, a piece, room to write, the end, nothing in time – wakes one waiter, for at any
time one caller at most waits here. Reads go through one buffer that all connections of an event loop share: what
stays of them is copied at once, and a slow reader holds no buffer of its own.

Not here: which connection a call gets (pool.py), what bytes mean (wire.py).
"""

import asyncio
import select
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final, cast

from gateway.adapters.wire import Answer, Head
from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.framing import MalformedError
from gateway.ports import RequestBody, Timeouts

READ_BUFFER_BYTES: Final = 64 * 1024
HIGH_WATER_BYTES: Final = 64 * 1024
"""Above this much unread body the socket is left alone. Two reads, as one may have come in below it."""
SLICE_BYTES: Final = 256 * 1024
"""Written at once at most, so that a large upload on a slow line is seen to move within the write time-out."""
JOINED_BYTES: Final = 64 * 1024
"""Up to this size head and body are one write."""


class Connection(asyncio.BufferedProtocol):
    """
    A connection, from its making to its end.

    `dead` says that it is of no use for another exchange, `gone` that its socket is closed.

    Args:
        buffer: to read into; shared, so nothing stays in it.
        timeouts: of the phases.
        died: called once, as soon as it is dead.
        lost: called once, as soon as it is gone.
    """

    def __init__(
        self,
        buffer: memoryview,
        timeouts: Timeouts,
        *,
        died: Callable[["Connection"], None],
        lost: Callable[["Connection"], None],
    ) -> None:
        self.dead = False
        self.gone = False
        self._buffer = buffer
        self._timeouts = timeouts
        self._died = died
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._answer: Answer | None = None
        self._sent_whole = True
        self._may_write = True
        self._reading = True
        self._waiter: asyncio.Future[bool] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._poll = _poll()

    # What the caller does.

    async def ask(self, head: bytes, body: RequestBody | None) -> Head:
        """
        Send a request and wait for the head of its answer.

        Args:
            head: request line and fields, with the empty line.
            body: as long as the head announces; None for none.

        Raises:
            UpstreamFailed: no answer; the connection is of no use any more.
        """
        if self.dead:
            raise UpstreamFailed(Failure.UNREACHABLE, phase="connect", sent=False)
        answer = self._answer = Answer()
        self._sent_whole = False
        await self._send(head, body, answer)
        phase = "read" if self._sent_whole else "write"
        # One deadline for the head: interim answers and single bytes buy no more time.
        deadline = self._loop.time() + self._timeouts.read_s
        while answer.head is None:
            left_s = max(0.0, deadline - self._loop.time())
            await self._expect(Failure.UNREACHABLE, Failure.TIMED_OUT, phase, left_s)
        return answer.head

    async def piece(self) -> bytes | None:
        """
        The next piece of the body, as it came; None at its end.

        Raises:
            UpstreamFailed: it broke off, or nothing came in time.
        """
        answer = self._answer
        if answer is None:
            raise UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
        while not answer.pieces:
            if answer.done:
                return None
            await self._expect(Failure.BROKEN_OFF, Failure.TIMED_OUT, "read", self._timeouts.read_s)
        piece = answer.take()
        if not answer.pieces and not self._reading:
            self._read_on()
        return piece

    def finish(self) -> bool:
        """End the exchange. True if it was read to its end and the connection can carry another."""
        answer, self._answer = self._answer, None
        return (
            answer is not None
            and answer.head is not None
            and answer.head.framing.keeps_alive
            and answer.done
            and not answer.pieces
            and not answer.excess
            and self._sent_whole
            and not self.dead
            and not self._transport.is_closing()
            and self._transport.get_write_buffer_size() == 0
        )

    def stirs(self) -> bool:
        """
        Whether something has come over the idle connection that the event loop has not told yet: an end, mostly.

        One poll(2) of one socket; a request that is written to an ended connection cannot be made again.
        """
        return self._poll is not None and bool(self._poll.poll(0))

    def abort(self) -> None:
        """Close at once; whoever waits here learns of it."""
        self._die()
        self._transport.abort()

    # What the event loop does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands, TLS included."""
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if self._poll is not None and sock is not None:
            self._poll.register(sock.fileno(), select.POLLIN)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - one size for all
        """Where to read to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes of the answer, or, on an idle connection, of nothing that was asked for."""
        answer = self._answer
        if answer is None:
            self.abort()
            return
        try:
            answer.feed(self._buffer[:nbytes])
        except MalformedError:
            self.abort()
            return
        if answer.excess:
            self.abort()
        elif answer.size > HIGH_WATER_BYTES and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        """The server sends no more: the end of some bodies, too early for others. The transport closes itself."""
        if self._answer is not None:
            self._answer.end()
        self._die()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - lost is lost
        """The socket is gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._poll = None
        self.gone = True
        self._die()
        self._lost(self)

    def pause_writing(self) -> None:
        """Enough is waiting to be sent."""
        self._may_write = False

    def resume_writing(self) -> None:
        """There is room again."""
        self._may_write = True
        self._wake()

    # What happens in between.

    async def _send(self, head: bytes, body: RequestBody | None, answer: Answer) -> None:
        """Write it all, or until the server has said no."""
        if body is None:
            self._transport.write(head)
        elif body.size <= JOINED_BYTES:
            self._transport.write(b"".join([head, *[piece async for piece in body.pieces()]]))
        else:
            self._transport.write(head)
            async for piece in body.pieces():
                for part in _slices(piece):
                    if not await self._may_go_on(answer):
                        return
                    self._transport.write(part)
        self._sent_whole = True

    async def _may_go_on(self, answer: Answer) -> bool:
        """Wait for room to write; False if the rest of the request is of no use."""
        while not self._may_write and not self._is_futile(answer):
            if not await self._news(self._timeouts.write_s):
                if answer.head is not None:
                    return False
                raise UpstreamFailed(Failure.TIMED_OUT, phase="write", sent=True)
        return not self._is_futile(answer)

    def _is_futile(self, answer: Answer) -> bool:
        """Whether the rest of the request is of no use: its answer is there, or an error; or nobody is there."""
        return (
            self.dead
            or answer.done
            or (answer.head is not None and answer.head.status >= HTTPStatus.BAD_REQUEST)
        )

    async def _expect(self, gone: Failure, late: Failure, phase: str, limit_s: float) -> None:
        """Wait for more of the answer, or say how it failed."""
        if self.dead:
            raise UpstreamFailed(gone, phase=phase, sent=True)
        if not await self._news(limit_s):
            raise UpstreamFailed(late, phase="read", sent=True)

    def _read_on(self) -> None:
        if not self.dead and not self._transport.is_closing():
            self._reading = True
            self._transport.resume_reading()

    def _die(self) -> None:
        if not self.dead:
            self.dead = True
            self._wake()
            self._died(self)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    async def _news(self, limit_s: float) -> bool:
        """Wait until something happens; False if nothing did in time."""
        self._waiter = self._loop.create_future()
        self._deadline = self._loop.time() + limit_s
        # A timer that fires earlier looks again; one that fires later is replaced. Most waits touch none.
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._look)
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _look(self) -> None:
        """The timer's: is the wait over, or is it another one by now?"""
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        # Clocks of loops tick in milliseconds: a rest below one is none.
        if self._deadline - self._loop.time() < 0.001:  # noqa: PLR2004 - see above
            self._waiter.set_result(False)
        else:
            self._timer = self._loop.call_at(self._deadline, self._look)


def _slices(piece: bytes) -> Iterator[bytes | memoryview]:
    if len(piece) <= SLICE_BYTES:
        yield piece
    else:
        view = memoryview(piece)
        yield from (view[start : start + SLICE_BYTES] for start in range(0, len(piece), SLICE_BYTES))


def _poll() -> "select.poll | None":
    """Windows has none; there the event loop's word has to do."""
    make = getattr(select, "poll", None)
    return None if make is None else cast("select.poll", make())
