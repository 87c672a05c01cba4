"""
What we need from outside, and what it must promise.

Protocols, not base classes: an adapter inherits nothing, and mypy checks the fit where it is introduced. Each port
has one suite of tests under `tests/contracts`, which every adapter of it passes unchanged.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gateway.core.cachekey import CacheKey
from gateway.core.call import Call
from gateway.core.entry import CacheFilter, CacheStats
from gateway.core.entry import Entry as CacheEntry
from gateway.core.flight import Entrance, Landing
from gateway.core.headers import Header
from gateway.core.kept import Entry
from gateway.core.ledger import Day, LedgerFilter, OpenCall, Page, Place, Settlement, UsageRow
from gateway.core.limits import Limit
from gateway.core.principal import Principal
from gateway.core.quota import Claim, Claimant, Exceeded, Reading, Standing
from gateway.core.record import Record
from gateway.core.verify import Broken
from gateway.core.windows import Frames


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


class UnfitError(Exception):
    """The store cannot be used as it is; the message says why and what to do."""


class Calendar(Protocol):
    """Days as people count them, in the time zone of the organisation."""

    def days(self, start: float, end: float) -> tuple[Day, ...]:
        """Every day that has an instant of `start` … `end` (epoch seconds, both included), oldest first, no gaps."""
        ...

    def frames(self, at: float) -> Frames:
        """The calendar windows around an instant (epoch seconds)."""
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

    async def limits(self, claimants: Sequence[Claimant], frames: Frames, at: float) -> tuple[Reading, ...]:
        """How the limits of these scopes stand, in their order, at a time (epoch seconds) within the frames."""
        ...

    async def changed_limits(self) -> Mapping[str, tuple[Limit, ...]]:
        """The limits that were set while running, by scope."""
        ...

    async def verify(self) -> tuple[Broken, ...]:
        """What does not add up (`core.verify`), in one state of the ledger; nothing: all is well."""
        ...


class Ledger(LedgerReader, Protocol):
    """
    What every call came to: one record each, whatever happens.

    Each write is atomic, lasts once it has returned (through `kill -9` and power loss), takes one round trip, and is
    repeatable by id. It goes on when its caller is cancelled, and works after `aclose` too: a settlement always lands.
    Only `admit`, `reserve` and `ping` may be left undone if their caller has gone before they began: nobody needs them.
    A worker is a process: it beats, and one that is silent for `DEAD_AFTER_S`, or is known to be gone, is dead.

    Raises (all of them):
        StoreFailed: see there.
    """

    @property
    def worker(self) -> str:
        """The name of this process, unlike any other's."""
        ...

    async def admit(self, claim: Claim) -> Standing | Exceeded:
        """
        The first door: take what `claim` asks of every limit of its scopes (a request and a place), or nothing.

        The place is this worker's, until the call leaves or is settled, or the worker dies.
        """
        ...

    async def leave(self, call_id: str) -> None:
        """Give back the place of a call: its client has its answer, or has left."""
        ...

    async def reserve(
        self, call: OpenCall, claim: Claim | None = None, *, force: bool = False
    ) -> Standing | Exceeded:
        """
        The second door: hold what the call may come to, and note the call, in the care of this worker; or neither.

        A call that is noted, or has its record, stays as it is.

        Args:
            call: as it would be if it were lost now.
            claim: what it asks for; what the first door takes too, where it has not passed that. None: nothing.
            force: hold it though a limit stands in the way: it has been spent.
        """
        ...

    async def dispatch(self, record_id: str) -> bool:
        """
        Note that the request goes up, from which moment it costs something.

        Returns:
            False: the call is not open any more: this worker was taken for dead. The request must not go up.
        """
        ...

    async def entrust(
        self, record_id: str, response_id: str, deadline: float, asked: Call | None, *, leaves: bool = True
    ) -> bool:
        """
        Note that the call runs in the background: it outlives its worker. Again is harmless.

        Args:
            record_id: of the call.
            response_id: of the response that will pay for it.
            deadline: epoch seconds after which it counts as lost.
            asked: what was asked, to be kept with it as far as `core.remembered` keeps it; its end is settled by that.
            leaves: it gives back its place. False: its client is still being answered.

        Returns:
            False: the call is not open any more.
        """
        ...

    async def settle(self, record: Record, images: int = 0) -> Settlement:
        """
        Write a call's record and close the call, in one act.

        A call has one record, known by its id or by the response that it pays for (`core.ledger.settles`): the first
        stands, unless it was lost or estimated and this is the truth, come late (`core.ledger.settled`). A call that was
        noted by itself has a record of its own even if another one pays for its response: without that response's id.
        What it held is used from then on, at what it came to, where it was held; its place is free. A call that was
        refused takes nothing.

        Args:
            record: of the call.
            images: pictures that it is charged for, delivered or not.
        """
        ...

    async def open_calls(self, worker: str | None = None) -> tuple[OpenCall, ...]:
        """The calls that have no record yet, of one worker or of all, oldest first."""
        ...

    async def beat(self, *, pardon: bool = False) -> None:
        """
        This worker lives. To be said every few seconds.

        Args:
            pardon: so does every other one that is not known to be gone: nobody could say so for a while.
        """
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

    async def set_limits(self, scope: str, limits: Sequence[Limit] | None) -> None:
        """
        Limit a scope from the next call on, instead of as configured.

        What was used so far counts; only a rate that is the first of its window on this scope begins with nothing.

        Args:
            scope: `org`, `team:ID` or `key:ID`.
            limits: none of them: unlimited. None: as configured again.
        """
        ...

    async def prune(self, before: float) -> int:
        """Forget the records that arrived earlier (epoch seconds). Returns how many."""
        ...

    async def repair(self) -> tuple[Broken, ...]:
        """Mend what does not add up, in one act. Returns what was mended."""
        ...

    async def ping(self) -> None:
        """Returns if the ledger can be written to."""
        ...

    async def aclose(self) -> None:
        """Finish what was begun and free what is held; more than once."""
        ...


DEAD_AFTER_S = 20.0
"""Seconds without a beat after which a worker is dead."""


# What waits for it


@dataclass(frozen=True, slots=True)
class Pile:
    """What one worker has kept and what has not landed yet."""

    worker: str
    entries: tuple[Entry, ...]
    """In the order in which they were kept."""
    is_own: bool
    """False: that worker is dead, and nobody else looks after what it left."""


class Outbox(Protocol):
    """
    A journal that needs no store: what waits for the store lasts here, through `kill -9` and power loss.

    It works after `aclose` too.

    Raises (`keep` and `landed`):
        StoreFailed: it could not be written to.
    """

    async def keep(self, entry: Entry) -> None:
        """Write an entry down; it lasts once this has returned."""
        ...

    async def waiting(self) -> tuple[Pile, ...]:
        """What has not landed yet: this worker's, and what dead ones left, which is this worker's care from now on."""
        ...

    async def landed(self, worker: str, count: int) -> None:
        """The first `count` entries of a pile have landed, and are forgotten."""
        ...

    async def aclose(self) -> None:
        """Let go of everything; what waits stays. More than once."""
        ...


# The cache


class CacheBody(Protocol):
    """The body of a kept answer: whole, and as it was received. It stays so though the entry goes meanwhile."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """
        The bytes from `start` up to `end`, in pieces of 256 KiB at most; any number of times.

        A piece is read when it is asked for, without holding up the loop.

        Raises:
            StoreFailed: it cannot be read any more.
        """
        ...

    def close(self) -> None:
        """Let go of it; at any time, more than once. Not to be forgotten."""
        ...


class Draft(Protocol):
    """
    A body on its way into the cache, for one writer. Nobody finds it before it is committed.

    Whoever has one drops it in the end, whatever became of it. It dies when the disk fails, and what it held is gone then.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    @property
    def alive(self) -> bool:
        """Whether it can still be read, and committed."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Take the next chunk. On one that has died nothing happens."""
        ...

    async def read(self, start: int, end: int) -> bytes:
        """
        The bytes from `start` up to `end` (at most `size`), for those who follow: while it is written, and after.

        Raises:
            StoreFailed: it has died or was dropped.
        """
        ...

    async def commit(self, entry: CacheEntry) -> bool:
        """
        Keep it: from now on the entry is found, in the place of an older one of the same key and form.

        A process that dies in the middle, or a machine, leaves all of the entry or nothing.

        Args:
            entry: of it; the store fills in the digest.

        Returns:
            False: it is not kept. It has died, is larger than the cache, or of another size than the entry says; or the
            store failed.
        """
        ...

    async def drop(self) -> None:
        """Let go of it: what was not committed is gone. At any time, more than once."""
        ...


class Cache(Protocol):
    """
    Kept answers.

    What cannot be read is a miss, and what cannot be written is not kept: a failing store costs money, and no call. It
    is logged, now and then.

    Raises (`purge` and `stats`, which somebody waits for by name):
        StoreFailed: see there.
    """

    async def find(self, key: CacheKey) -> tuple[CacheEntry, ...]:
        """The entries of a key, one of each form, the one that was kept last first. One short read."""
        ...

    async def open(self, entry: CacheEntry) -> CacheBody | None:
        """
        The body of an entry, held against its digest before a byte of it is given.

        Returns:
            None: it is gone or damaged, and the entry is forgotten; or it cannot be read now.
        """
        ...

    async def draft(self) -> Draft | None:
        """A new body, empty; None: there is no room for one, or the disk fails."""
        ...

    async def touch(self, entry: CacheEntry) -> None:
        """Note that an entry was of use: those that were not for longest go first. It may be written down later."""
        ...

    async def purge(self, which: CacheFilter) -> int:
        """Forget entries. Returns how many. One that is committed meanwhile may stay."""
        ...

    async def stats(self) -> CacheStats:
        """How full it is."""
        ...

    async def tidy(self, now: float) -> None:
        """
        Forget what is of no use any more, what is too much, and what dead processes left. To be said now and then.

        Args:
            now: epoch seconds.
        """
        ...

    async def aclose(self) -> None:
        """Write down what waits and free what is held; more than once."""
        ...


# Flights


@dataclass(frozen=True, slots=True)
class Began:
    """The head of an answer that somebody else receives."""

    status: int
    headers: tuple[Header, ...]


class LeadingFlight(Protocol):
    """
    A flight that this process leads, as others are told of it.

    One call at a time, but for `leads` and `followed`. It ends by `land` or `release`, after which neither does anything.

    Raises (all but `release`):
        StoreFailed: nobody else is told any more. To be released then.
    """

    async def began(self, status: int, headers: Sequence[Header]) -> None:
        """The head has come. Once, first."""
        ...

    async def write(self, piece: bytes) -> None:
        """The next bytes have come."""
        ...

    async def leads(self) -> bool:
        """Whether it is still this process that leads: it has not been taken for dead."""
        ...

    async def followed(self) -> bool:
        """Whether another process follows that lives."""
        ...

    async def land(self, landing: Landing) -> bool:
        """
        It has ended so, and what is kept of it was committed. Repeatable.

        Returns:
            False: nobody is told. This process was taken for dead, and somebody else may lead.
        """
        ...

    async def release(self) -> None:
        """It is led no more: whoever follows finds it `Lost`. At any time, more than once; never raises."""
        ...


class FollowedFlight(Protocol):
    """A flight that another process leads."""

    def news(self) -> AsyncIterator[Began | bytes | Landing]:
        """
        What has come, from the first byte, and what comes; at last how it landed. To be iterated once.

        The head is first, if there is one; then the body, in pieces that may be cut elsewhere than it came. A leader that
        dies, or that cannot tell us any more, is `Lost`. Never raises.
        """
        ...

    async def leave(self) -> None:
        """Follow no more; at any time, more than once; never raises."""
        ...


@dataclass(frozen=True, slots=True)
class Leads:
    """The caller leads."""

    flight: LeadingFlight


@dataclass(frozen=True, slots=True)
class Follows:
    """The caller follows."""

    flight: FollowedFlight


class Flights(Protocol):
    """
    Identical calls in the air, among several processes: one of them leads a name, the others follow.

    A leader holds a lease, and a token that nobody had before it: a leader that was taken for dead, and is not, lands
    nowhere. Nothing here outlives what it is of use for: a store of its own, which may be lost at any time.
    """

    async def board(
        self, name: str, *, looked_at: float, hit_for_miss_s: float
    ) -> Leads | Follows | Literal[Entrance.LOOK_AGAIN, Entrance.ALONE]:
        """
        Come in, as `core.flight.enter` says; of those who come at once one leads. Cancelled, it leaves nothing behind.

        Args:
            name: of the flight.
            looked_at: when the caller looked for an entry, epoch seconds.
            hit_for_miss_s: see `core.flight.enter`.

        Returns:
            `ALONE` also where there is a leader, but nothing to be had of what it receives.

        Raises:
            StoreFailed: whether somebody leads is not known.
        """
        ...

    async def beat(self) -> None:
        """
        This process lives, and so do its flights; and clear away what is over, and what dead processes left.

        To be said every `BEAT_S`; never raises.
        """
        ...

    async def aclose(self) -> None:
        """Release what is led and free what is held; more than once."""
        ...


LEASE_S = 15.0
"""Seconds without a beat after which a leader is dead. On its own machine a process that has ended is dead at once."""
BEAT_S = 3.0
"""A lease outlives four beats that were missed."""
