"""What every call came to."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Protocol

from gateway.core.call import Call
from gateway.core.ledger import Day, LedgerFilter, OpenCall, Page, Place, Settlement, UsageRow
from gateway.core.limits import Limit
from gateway.core.quota import Claim, Claimant, Exceeded, Reading, Standing
from gateway.core.record import Record
from gateway.core.verify import Broken
from gateway.core.windows import Frames


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

    async def open_count(self) -> int:
        """How many calls have no record yet; without looking at each."""
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

    async def aclose(self) -> None:
        """Finish what was begun and free what is held; more than once."""
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

        Raises:
            LargeLimitError: the store cannot count so far; nothing was set.
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


DEAD_AFTER_S = 20.0
"""Seconds without a beat after which a worker is dead."""
