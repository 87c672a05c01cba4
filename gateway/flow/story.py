"""
What is known of a request so far, until it becomes its record.

Each stage notes what it learned; the record is made once, at the end.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.entry import Entry, Original, given_again, shared
from gateway.core.errors import Refusal, UpstreamFailed
from gateway.core.estimate import Estimate
from gateway.core.headers import Header, first
from gateway.core.meter import Meter
from gateway.core.names import CLIPPED, plain
from gateway.core.observation import End, Ending, Observation, unanswered
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Principal
from gateway.core.quota import Standing
from gateway.core.record import CacheUse, Outcome, Record
from gateway.core.routes import Match
from gateway.core.settle import Settlement, settle
from gateway.core.spans import Stage, Trace, trace_of
from gateway.core.units import NanoUSD
from gateway.flow.exchange import Arrival
from gateway.flow.fetch import Head
from gateway.flow.stages import UNSEEN, Stages


@dataclass(slots=True)
class Story:
    """One request's, as it unfolds."""

    arrival: Arrival
    outcome: Outcome | None = None
    """Said by us; None: the answer says it."""
    code: str | None = None
    status: int | None = None
    refused_by: str | None = None
    match: Match | None = None
    principal: Principal | None = None
    tags: tuple[tuple[str, str], ...] = ()
    """As the client gave them: name, value."""
    call: Call | None = None
    reserved: Estimate | None = None
    """What the call can cost at most."""
    standing: Standing | None = None
    """How its caller's limits stand, once they have let it pass."""
    credential: str | None = None
    """The one that the call sets out with."""
    has_set_out: bool = False
    """The upstream was asked, or is about to be."""
    stages: Stages | None = None
    """When it is in which stage; None: nobody wants to know."""
    head: Head | None = None
    meter: Meter | None = None
    ending: Ending = Ending.LEFT
    """Until the upstream has ended the answer, or failed to: by us."""
    first_byte_at: float | None = None
    """Ticks."""
    bytes_in: int = 0
    bytes_out: int = 0
    heard: Callable[[str], None] | None = None
    """Told once, as soon as it is known, by which id the response can be asked for that a stream is of."""
    noting: asyncio.Task[object] | None = None
    """Writes that id down."""
    cache: CacheUse = CacheUse.OFF
    """What the cache has to do with it."""
    original: Original | None = None
    """The call whose answer is given again."""
    given: int | None = None
    """The status of that answer."""
    is_orphan: bool = False
    """The client has left, and the rest is read and told by somebody else."""
    observation: Observation | None = None
    """What was seen of the answer, once it has been settled."""
    settlement: Settlement | None = None
    """What the call cost, once that is settled: what the client is told is what the record says."""

    @property
    def is_kept(self) -> bool:
        """Whether the ledger has a record of it: of every call that can cost something and whose caller is known."""
        return self.match is not None and self.match.route.metered and self.principal is not None

    def during(self, stage: Stage) -> AbstractContextManager[None]:
        """A block that is part of a stage."""
        return UNSEEN if self.stages is None else self.stages.during(stage)

    def set_out(self) -> None:
        """The upstream is asked now."""
        self.has_set_out = True
        if self.stages is not None:
            self.stages.begin(Stage.UPSTREAM)

    def came(self, head: Head) -> None:
        """The upstream's head is there."""
        self.head = head
        self.meter = Meter(head.status, head.headers)

    def answered(self, at: float) -> None:
        """The upstream's head goes to the client."""
        self.status = self.given if self.original is not None or self.head is None else self.head.status
        self.first_byte_at = at

    def hit(self, entry: Entry) -> None:
        """It is answered from the cache."""
        self.cache = CacheUse.HIT
        self.original = entry.original
        self.given = entry.status

    def forget_answer(self) -> None:
        """What came so far was of a call that somebody else made, and nothing of it has gone out: it is made anew."""
        self.head = self.meter = self.observation = self.settlement = None
        self.ending = Ending.LEFT

    def saw(self, chunk: bytes) -> None:
        """A chunk has come from the upstream. To be told of each once, in their order."""
        if self.meter is None:
            return
        self.meter.feed(chunk)
        if self.heard is not None and self.meter.stream and (known := self.meter.response_id) is not None:
            heard, self.heard = self.heard, None
            heard(known)

    def passed(self, chunk: bytes) -> None:
        """A chunk has gone to the client."""
        self.bytes_out += len(chunk)

    def ended(self) -> None:
        """The upstream's answer ended cleanly."""
        self.ending = Ending.CLEAN

    def refused(self, refusal: Refusal, outcome: Outcome = Outcome.REFUSED) -> None:
        """We answer, instead of the upstream."""
        self.outcome = outcome
        self.code = refusal.code.code
        self.status = refusal.code.status
        self.refused_by = refusal.scope

    def failed(self, failed: UpstreamFailed) -> None:
        """The upstream gave no answer, or its answer broke off."""
        self.ending = Ending.BROKEN if failed.sent else Ending.UNSENT
        if self.head is not None and self.outcome is None:
            self.outcome = Outcome.UPSTREAM_CUT
            self.code = failed.refusal().code.code

    @property
    def is_pending(self) -> bool:
        """Whether the response goes on in the background upstream: what it costs is not known yet."""
        background = self.call is not None and self.call.background
        return background and self.observation is not None and self.observation.pending

    def settled(
        self, now: float, ticks: float, catalog: Catalog, rules: AccountingRules
    ) -> Settlement | None:
        """
        What the call cost. Reckoned once, when nothing more can be seen of the answer, and the same ever after.

        Args:
            now: epoch seconds.
            ticks: of the same moment.
            catalog: prices and rules.
            rules: the operator's.

        Returns:
            None: the upstream was not asked.
        """
        if self.observation is None:
            seen = self.observation = self._seen()
            if self.stages is not None and seen is not None:
                self.stages.end(Stage.UPSTREAM, ticks)
            if self.call is not None and self.reserved is not None and seen is not None:
                at_s = self._at(now, ticks)
                self.settlement = settle(seen, self.call, self.reserved, catalog, rules, at_s=at_s)
        return self.settlement

    def record(self, now: float, ticks: float, catalog: Catalog, rules: AccountingRules) -> Record:
        """The record of what happened, and of what it cost. Arguments as of `settled`."""
        record = self.so_far(now, ticks, catalog)
        settled = self.settled(now, ticks, catalog, rules)
        if self.original is not None:
            # Where it was given in place of an error, what failed may have cost something all the same.
            tried = record if settled is None else replace(settled.into(record), outcome=record.outcome)
            return given_again(
                tried,
                self.original,
                stream=self.call is not None and self.call.stream,
                whole=record.outcome is Outcome.COMPLETED,
            )
        if settled is None:
            return shared(record, whole=False) if self.cache is CacheUse.COLLAPSED else record
        record = replace(
            settled.into(record),
            outcome=self._end_in_background() or self.outcome or settled.outcome,
            code=self.code or plain(settled.code),
        )
        if self.cache is not CacheUse.COLLAPSED:
            return record
        return shared(record, whole=self.ending is Ending.CLEAN and not self.is_pending)

    def _end_in_background(self) -> Outcome | None:
        """
        How a background response ended whose client had left; None: it is none, or its end was not seen.

        Such a client comes back, or asks by the response's id: that it left says nothing of the call.
        """
        seen = self.observation
        if self.outcome is not Outcome.CLIENT_GONE or self.call is None or not self.call.background:
            return None
        if seen is None or seen.pending:
            return None
        has_ended = seen.ending is Ending.CLEAN or seen.end is not End.NONE or seen.whole
        return replace(seen, ending=Ending.CLEAN).outcome if has_ended else None

    def _seen(self) -> Observation | None:
        """What was seen of the answer; None: nothing was asked of the upstream."""
        if self.meter is not None:
            return self.meter.close(self.ending)
        if not self.has_set_out:
            return None
        return unanswered(sent=self.ending is not Ending.UNSENT)

    def so_far(self, now: float, ticks: float, catalog: Catalog) -> Record:
        """What is known already: what stays known if this process dies now."""
        duration_s = ticks - self.arrival.at
        principal, call, head = self.principal, self.call, self.head
        image = call.images[0] if call is not None and call.images else None
        tool = image if image is not None and image.where else None
        return Record(
            id=self.arrival.id,
            at=self._at(now, ticks),
            method=self.arrival.method[:CLIPPED],
            outcome=self.outcome or Outcome.FAILED,
            status=self.status,
            code=self.code,
            refused_by=self.refused_by,
            org=None if principal is None else principal.org.id,
            team=None if principal is None else principal.team.id,
            key=None if principal is None else principal.key.id,
            tags=self.tags,
            route=None if self.match is None else self.match.route.name,
            cache=self.cache,
            model=None if call is None else plain(call.model),
            tool_model=None if tool is None else plain(tool.model) or catalog.default_tool_model,
            stream=self.meter is not None and self.meter.stream,
            size=None if image is None else plain(image.size),
            quality=None if image is None else plain(image.quality),
            partial_images_requested=None if image is None else image.partial_images,
            reserved_nusd=NanoUSD(0) if self.reserved is None else self.reserved.cost_nusd,
            upstream_request_id=None if head is None else _header(head.headers, b"x-request-id"),
            upstream_status=None if head is None else head.status,
            credential=self.credential,
            duration_ms=_ms(duration_s),
            upstream_ms=None if head is None else _ms(head.waited_s),
            first_byte_ms=None if self.first_byte_at is None else _ms(self.first_byte_at - self.arrival.at),
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            retry_count=_retry_count(self.arrival),
        )

    def trace(self, record: Record, ticks: float) -> Trace:
        """The trace of what happened, of which this is the record. `ticks`: when nothing more is to be done."""
        return trace_of(
            record,
            () if self.stages is None else self.stages.stays,
            self.arrival.headers,
            template=None if self.match is None else self.match.route.template,
            began=self.arrival.at,
            ended=ticks,
            is_pending=self.is_pending,
        )

    def _at(self, now: float, ticks: float) -> float:
        """When the request arrived, epoch seconds."""
        return now - (ticks - self.arrival.at)


def _header(headers: Sequence[Header], name: bytes) -> str | None:
    value = first(headers, name)
    return None if value is None else plain(value.decode("latin-1"))


def _retry_count(arrival: Arrival) -> int:
    value = first(arrival.headers, b"x-stainless-retry-count") or b""
    return int(value) if value.isdigit() and len(value) <= 3 else 0  # noqa: PLR2004 - three digits are plenty


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
