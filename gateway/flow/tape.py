"""
What one upstream answer has given so far, for everybody who wants it: from the first byte, then live.

The answer is in memory once, however many cursors look at it. Each takes what it wants when it wants it.

Rules of this file:
- A cursor that is slow, stalls or stops holds up no other one.
- An open tape keeps everything, so that somebody may still begin at the first byte; one that is not open lets go of what
  all its cursors have taken.
- With a file, the writer waits for nobody: what does not fit into memory is read back from there. Without one it goes
  as fast as the fastest passenger takes it, so that back-pressure reaches the upstream; with nobody aboard it does not
  wait.
- All tapes of a process together keep to their reel's capacity (reel.py).

Not here: who reads the upstream (fetch.py), and who may come aboard (flights.py).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gateway.core.errors import Failure, UpstreamFailed
from gateway.core.headers import Header
from gateway.flow.reel import Reel
from gateway.flow.tasks import spawn

HIGH_WATER_BYTES: Final = 128 * 1024
"""Read ahead of the fastest passenger at most: two socket reads. More costs memory for each slow client, less costs
wake-ups for each fast one."""
BLOCK_BYTES: Final = 256 * 1024
"""Read back from a file at once."""
BATCH_BYTES: Final = 1 << 20
"""Written to a file at once, if so much has come meanwhile."""
CHUNK_COSTS_BYTES: Final = 64
"""Of memory, besides its bytes: the object and its place in the list."""

_log = logging.getLogger("imagegate.tape")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of the upstream's answer."""

    status: int
    headers: Sequence[Header]
    waited_s: float
    """From the start of the fetch until the head was there."""


class Filing(Protocol):
    """A file that takes a tape's bytes in order and gives back what it took, until the tape is closed. Such as a `Draft`."""

    @property
    def alive(self) -> bool:
        """Whether it can still be read and written to."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes. If it raises it has died."""
        ...

    async def read(self, start: int, end: int) -> bytes:
        """The bytes from offset `start` up to `end`, all of which it has taken."""
        ...


class LeftBehind(UpstreamFailed):
    """A cursor whose rest is not there any more: for its client the answer breaks off."""

    def __init__(self) -> None:
        super().__init__(Failure.BROKEN_OFF, phase="read", sent=True)


class Tape:
    """
    One upstream answer.

    Args:
        keep: whether it is open: everything is kept from the first byte.
        reel: whose memory it takes. Only a tape that is not open and has no file may do without.
        high_water_bytes: how far the writer may be ahead of the fastest passenger.
    """

    def __init__(
        self, *, keep: bool, reel: Reel | None = None, high_water_bytes: int = HIGH_WATER_BYTES
    ) -> None:
        self.head: Head | None = None
        self.size = 0
        """Bytes that have come."""
        self.held_bytes = 0
        """Of memory."""
        self.is_open = keep
        self.has_ended = False
        self.is_left = False
        """It ended because the reading was given up."""
        self.failure: BaseException | None = None
        self._reel = reel
        self._high_water_bytes = high_water_bytes
        self._chunks: list[bytes] = []
        self._first = 0
        """The number of the first chunk in memory."""
        self._start = 0
        """And its offset."""
        self._cursors: set[Cursor] = set()
        self._furthest = 0
        """Where the fastest passenger is."""
        self._has_passengers = False
        self._waiting: dict[asyncio.Future[None], None] = {}
        self._room = asyncio.Event()
        self._file: Filing | None = None
        self._is_filing = False
        self._filed = 0
        """Bytes in the file."""
        self._filed_chunks = 0
        self._has_filed = asyncio.Event()

    # The writer's side

    def attach(self, file: Filing) -> None:
        """Keep it in a file, too. Before the first chunk."""
        self._file, self._is_filing = file, True
        spawn("tape to file", self._write_file(file))

    def begin(self, head: Head) -> None:
        """The head is there."""
        self.head = head
        self.nudge()

    def append(self, chunk: bytes) -> None:
        """The next chunk is there. Whoever waits for it is woken, nobody else."""
        if not chunk:
            return
        self._chunks.append(chunk)
        self.size += len(chunk)
        self._holds(len(chunk) + CHUNK_COSTS_BYTES)
        if not self._cursors and not self.is_open:
            self._let_go_of_taken()
        self.nudge()

    async def room(self) -> None:
        """Returns when the next chunk may be fetched."""
        while self._is_full:
            self._room.clear()
            await self._room.wait()

    def end(self) -> None:
        """It ended cleanly."""
        self.has_ended = True
        self.nudge()

    def fail(self, error: BaseException) -> None:
        """It broke off, or never began. The cursors raise this error once they have taken all that came before."""
        if isinstance(error, asyncio.CancelledError):
            # Nobody of those who look was cancelled.
            self.is_left = True
            error = UpstreamFailed(Failure.BROKEN_OFF, phase="read", sent=True)
        self.failure = error
        self.end()

    def stop_filing(self) -> None:
        """Write no more to the file: what has come is not worth keeping. What is in it can still be read from there."""
        if self._is_filing:
            self._is_filing = False
            self._has_filed.set()
            self.nudge()
            if not self.is_open:
                self._let_go_of_taken()

    async def filed(self) -> bool:
        """Whether all of it lies in the file, when it has ended and the file has taken what it could."""
        if self._file is not None:
            await self._has_filed.wait()
        return self._has_file and self._filed == self.size

    def close(self) -> None:
        """Let go of all memory: nobody looks any more."""
        self.is_open = False
        self._drop(len(self._chunks))

    # The readers' side

    def cursor(self, *, is_passenger: bool = True) -> "Cursor":
        """
        A new look at it, from the first byte.

        Args:
            is_passenger: the writer keeps to its pace, if it is the fastest.

        Raises:
            LeftBehind: the beginning is not there any more.
        """
        if self._start > self._filed:
            raise LeftBehind
        made = Cursor(self, is_passenger=is_passenger)
        self._cursors.add(made)
        self._has_passengers |= is_passenger
        return made

    async def news(self) -> None:
        """Returns when something has come since the call: the head, a chunk, the end, or a nudge."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def nudge(self) -> None:
        """Wake everybody who waits for news."""
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)

    # What memory it takes

    def let_go(self) -> None:
        """Let go of what lies in the file: it can be read back."""
        count, end = 0, self._start
        for chunk in self._chunks:
            end += len(chunk)
            if end > self._filed:
                break
            count += 1
        self._drop(count)

    def close_door(self) -> None:
        """Nobody may begin any more, so what everybody has taken can go. A file that does not keep pace is given up."""
        self.is_open = False
        if self._filed < self.size:
            self.stop_filing()
        self._let_go_of_taken()

    def leave_behind(self) -> None:
        """Whoever lags behind the fastest passenger by more than the writer may be ahead gets no more."""
        for cursor in tuple(self._cursors):
            if self._furthest - cursor.at > self._high_water_bytes:
                cursor.cut(LeftBehind())
        self._let_go_of_taken()

    @property
    def _has_file(self) -> bool:
        return self._file is not None

    @property
    def _is_full(self) -> bool:
        ahead = self.size - self._furthest
        return self._has_passengers and not self._is_filing and ahead >= self._high_water_bytes

    def _holds(self, more: int) -> None:
        self.held_bytes += more
        if self._reel is None:
            return
        if more > 0:
            self._reel.took(self, more)
        else:
            self._reel.lost(self, -more)

    def _drop(self, count: int) -> None:
        if not count:
            return
        size = sum(map(len, self._chunks[:count]))
        del self._chunks[:count]
        self._first += count
        self._start += size
        self._holds(-size - count * CHUNK_COSTS_BYTES)

    def _let_go_of_taken(self) -> None:
        taken = min((cursor.number for cursor in self._cursors), default=self._first + len(self._chunks))
        if self._is_filing:
            taken = min(taken, self._filed_chunks)
        self._drop(max(0, taken - self._first))

    async def _write_file(self, file: Filing) -> None:
        while self._is_filing:
            chunks, size = self._unfiled()
            if chunks:
                await self._write(file, chunks, size)
            elif self.has_ended:
                self.stop_filing()
            else:
                await self.news()

    async def _write(self, file: Filing, chunks: list[bytes], size: int) -> None:
        try:
            await file.write(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        except Exception as error:  # noqa: BLE001 - whatever a disk does, the answer goes on without it
            _log.warning("an answer is not kept: %s: %s", type(error).__name__, error)
            self._lose_file()
            return
        if not file.alive:
            self._lose_file()
            return
        self._filed += size
        self._filed_chunks += len(chunks)
        if not self.is_open:
            self._let_go_of_taken()
        if self._reel is not None:
            self._reel.relieve()

    def _lose_file(self) -> None:
        """What lay in it alone is gone: newcomers find no beginning then, and who has not got so far is left behind."""
        self._file, self._filed = None, 0
        self.is_open &= not self._start
        self.stop_filing()

    def _unfiled(self) -> tuple[list[bytes], int]:
        chunks: list[bytes] = []
        size, number = 0, self._filed_chunks - self._first
        while number < len(self._chunks) and size < BATCH_BYTES:
            chunks.append(self._chunks[number])
            size += len(self._chunks[number])
            number += 1
        return chunks, size

    # What cursors ask

    def _chunk(self, number: int, at: int) -> tuple[bytes, int] | None:
        """The chunk of this number, or the one that begins at this offset, and its number; None: not in memory."""
        if number < self._first:
            if at != self._start:
                return None
            number = self._first
        return self._chunks[number - self._first], number

    async def _read_back(self, at: int) -> bytes:
        if self._file is None:
            raise LeftBehind
        try:
            block = await self._file.read(at, min(self._start, at + BLOCK_BYTES))
        except Exception as error:
            raise LeftBehind from error
        if not block:
            raise LeftBehind
        return block

    def _moved(self, cursor: "Cursor") -> None:
        if cursor.is_passenger and cursor.at > self._furthest:
            self._furthest = cursor.at
            if not self._is_full:
                self._room.set()
        if not self.is_open and cursor.number == self._first + 1:
            self._let_go_of_taken()

    def _gone(self, cursor: "Cursor") -> None:
        self._cursors.discard(cursor)
        passengers = [one.at for one in self._cursors if one.is_passenger]
        self._furthest, self._has_passengers = max(passengers, default=0), bool(passengers)
        if not self._is_full:
            self._room.set()
        if not self.is_open:
            self._let_go_of_taken()


class Cursor:
    """
    One look at a tape. For one reader at a time.

    Args:
        tape: what it looks at.
        is_passenger: as of `Tape.cursor`.
    """

    def __init__(self, tape: Tape, *, is_passenger: bool) -> None:
        self.tape = tape
        self.is_passenger = is_passenger
        self.at = 0
        """Bytes taken."""
        self.number = 0
        """Of the chunk that comes next, unless the next bytes come from the file."""
        self._failure: UpstreamFailed | None = None

    async def head(self) -> Head:
        """
        The answer's head, as soon as it is there.

        Raises:
            UpstreamFailed: there was no answer.
        """
        while self.tape.head is None:
            if self.tape.failure is not None:
                raise self.tape.failure
            await self.tape.news()
        return self.tape.head

    async def take(self) -> bytes | None:
        """
        The next bytes; None: there are none yet, or none more.

        As the upstream sent them, one chunk at a time; what comes back from the file is cut anew.

        Raises:
            LeftBehind: they are not there any more.
        """
        tape = self.tape
        if self._failure is not None:
            raise self._failure
        if self.at == tape.size:
            return None
        found = tape._chunk(self.number, self.at)  # noqa: SLF001 - the two are one thing, seen from two sides
        if found is None:
            piece = await tape._read_back(self.at)  # noqa: SLF001 - likewise
        else:
            piece, number = found
            self.number = number + 1
        self.at += len(piece)
        tape._moved(self)  # noqa: SLF001 - likewise
        return piece

    async def chunks(self) -> AsyncIterator[bytes]:
        """
        The body, as `take` gives it, to its end.

        Raises:
            UpstreamFailed: it broke off.
        """
        while True:
            piece = await self.take()
            if piece is not None:
                yield piece
            elif self.tape.has_ended:
                break
            else:
                await self.tape.news()
        if self.tape.failure is not None:
            raise self.tape.failure

    def cut(self, failure: UpstreamFailed) -> None:
        """It gets no more: `take` raises this from now on."""
        self._failure = failure
        self.tape._gone(self)  # noqa: SLF001 - likewise
        self.tape.nudge()

    def leave(self) -> None:
        """It needs no more; more than once."""
        self.tape._gone(self)  # noqa: SLF001 - likewise
