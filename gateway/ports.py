"""
What we need from outside, and what it must promise.

Protocols, not base classes: an adapter inherits nothing, and mypy checks the fit where it is introduced. Each port
has one suite of tests under `tests/contracts`, which every adapter of it passes unchanged.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.headers import Header
from gateway.core.ledger import Day, LedgerFilter, OpenCall, Page, Place, Settlement, UsageRow
from gateway.core.principal import Principal
from gateway.core.record import Record


class Clock(Protocol):
    """Time. Nothing else reads a clock, so that tests can move it."""

    def now(self) -> float:
        """Epoch seconds."""
        ...

    def ticks(self) -> float:
        """Monotonic seconds, for measuring durations."""
        ...


class Ids(Protocol):
    """Names for requests."""

    def new(self) -> str:
        """A new id: unique, sortable by the time of its making, `[A-Za-z0-9_]` only."""
        ...


class KeyStore(Protocol):
    """Who holds which key. Read-only; never sees a secret."""

    async def find(self, digest: bytes) -> Principal | None:
        """
        The holder of the key with this digest (`principal.digest_of`), None if there is none.

        Expiry is the caller's to judge: it knows the time.
        """
        ...


class Journal(Protocol):
    """Where records go."""

    def write(self, record: Record) -> None:
        """Take a record; at once, without waiting, never raising."""
        ...


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
            UpstreamFailed: BROKEN_OFF, when the body ends before its framing says so, or a read times out.
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
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...


# The ledger


class StoreFailed(Exception):  # noqa: N818 - as UpstreamFailed: it is what happened
    """
    A store that did not do what was asked.

    Args:
        reason: in words, for a log.
        unknown: whether it may have been done all the same. False is a promise: nothing was. True: the same call
            again is safe, as all of them are repeatable by id, and its answer is the truth.
    """

    def __init__(self, reason: str, *, unknown: bool) -> None:
        doubt = "; whether it was written is not known" if unknown else ""
        super().__init__(f"the store failed: {reason}{doubt}")
        self.unknown = unknown


class Calendar(Protocol):
    """Days as people count them, in the time zone of the organisation."""

    def days(self, start: float, end: float) -> tuple[Day, ...]:
        """Every day that has an instant of `start` … `end` (epoch seconds, both included), oldest first, no gaps."""
        ...

    def instant(self, text: str) -> float:
        """
        Epoch seconds of `2026-11-01` (where that day begins) or of `2026-11-01T12:00:00Z` (RFC 3339).

        Raises:
            ValueError: it is neither; the message says what to write.
        """
        ...


class LedgerReader(Protocol):
    """
    The records, to be looked at.

    Every read sees one state of the ledger and all that was written before it, by any process. Whoever reads page by
    page sees each record once; one that ends meanwhile is seen if its arrival lies beyond the cursor.

    Raises (all of them):
        StoreFailed: with `unknown` False.
    """

    async def record(self, record_id: str) -> Record | None:
        """The record with this id."""
        ...

    async def response(self, response_id: str) -> Record | OpenCall | None:
        """What pays for this response of the upstream: its record, else the call that is open for it."""
        ...

    async def page(self, asked: LedgerFilter, after: Place | None = None, limit: int = 100) -> Page:
        """Up to `limit` records beyond a place, newest first."""
        ...

    def export(self, asked: LedgerFilter) -> AsyncIterator[Record]:
        """All of them, newest first, in bounded memory; no write waits for whoever reads this slowly."""
        ...

    async def span(
        self, since: float | None = None, until: float | None = None
    ) -> tuple[float, float] | None:
        """Arrival of the oldest and of the newest record in this time (epoch seconds); None: there is none."""
        ...

    def usage(
        self,
        by: Sequence[str],
        since: float | None = None,
        until: float | None = None,
        days: Sequence[Day] = (),
    ) -> AsyncIterator[UsageRow]:
        """
        Sums by group, as `core.ledger.summed` has them, in its order, in bounded memory.

        Args:
            by: as `core.ledger.grouping` gives it.
            since: epoch seconds of arrival, the first that counts.
            until: the first that counts no more.
            days: for the group `day`: oldest first, without gaps; records outside are not counted.
        """
        ...


class Ledger(LedgerReader, Protocol):
    """
    What every call came to: one record each, whatever happens.

    Each write is atomic, lasts once it has returned (through `kill -9` and power loss), takes one round trip, and is
    repeatable by id. It goes on when its caller is cancelled, and works after `aclose` too: a settlement always lands.
    A worker is a process: it beats, and one that is silent for `DEAD_AFTER_S`, or is known to be gone, is dead.

    Raises (all of them):
        StoreFailed: see there.
    """

    @property
    def worker(self) -> str:
        """The name of this process, unlike any other's."""
        ...

    async def begin(self, call: OpenCall) -> None:
        """Note a call that starts, in the care of this worker. One that was noted, or has its record, stays as it is."""
        ...

    async def dispatch(self, record_id: str) -> bool:
        """
        Note that the request goes up, from which moment it costs something.

        Returns:
            False: the call is not open any more: this worker was taken for dead. The request must not go up.
        """
        ...

    async def entrust(self, record_id: str, response_id: str, deadline: float) -> bool:
        """
        Note that the call runs in the background: it outlives its worker, until `deadline` (epoch seconds).

        Returns:
            False: the call is not open any more.
        """
        ...

    async def settle(self, record: Record) -> Settlement:
        """
        Write a call's record and close the call, in one act.

        A call has one record, known by its id or by the response that it pays for (`core.ledger.settles`): the first
        stands, unless it was lost and this is the truth, come late (`core.ledger.settled`).
        """
        ...

    async def open_calls(self, worker: str | None = None) -> tuple[OpenCall, ...]:
        """The calls that have no record yet, of one worker or of all, oldest first."""
        ...

    async def beat(self) -> None:
        """This worker lives. To be said every few seconds."""
        ...

    async def adopt(self, held: Collection[str] = ()) -> tuple[OpenCall, ...]:
        """
        Take over the background calls of dead workers; each goes to one worker only.

        Args:
            held: ids of the calls that this worker looks after already.

        Returns:
            The background calls that are in its care and not among them, oldest first.
        """
        ...

    async def reap(self) -> tuple[Record, ...]:
        """
        Settle as lost (`core.ledger.lost`) what dead workers left, background calls only past their deadline.

        Returns:
            The records that were written by this call; no other worker has written them as well. After a write that
            had to be repeated some may be missing here, though never from the ledger.
        """
        ...

    async def prune(self, before: float) -> int:
        """Forget the records that arrived earlier (epoch seconds). Returns how many."""
        ...

    async def ping(self) -> None:
        """Returns if the ledger can be written to."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun and free what is held; more than once."""
        ...


DEAD_AFTER_S = 20.0
"""Seconds without a beat after which a worker is dead."""
