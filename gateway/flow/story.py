"""
What is known of a request so far, until it becomes its record.

Each stage notes what it learned; the record is made once, at the end.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.errors import Refusal, UpstreamFailed
from gateway.core.estimate import Estimate
from gateway.core.headers import Header, first
from gateway.core.meter import Meter
from gateway.core.observation import Ending, Observation, unanswered
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Principal
from gateway.core.record import Outcome, Record
from gateway.core.routes import Match
from gateway.core.settle import settle
from gateway.core.units import NanoUSD
from gateway.flow.exchange import Arrival
from gateway.flow.fetch import Head

CLIPPED = 128
"""Characters kept of what a client or the upstream named: a model, a size, an id."""
_STRANGE = re.compile(r"[^A-Za-z0-9._:/+-]")


@dataclass(slots=True)
class Story:
    """One request's, as it unfolds."""

    arrival: Arrival
    outcome: Outcome | None = None
    """Said by us; None: the answer says it."""
    code: str | None = None
    status: int | None = None
    match: Match | None = None
    principal: Principal | None = None
    call: Call | None = None
    reserved: Estimate | None = None
    """What the call can cost at most."""
    credential: str | None = None
    """The one that the call sets out with."""
    has_set_out: bool = False
    """The upstream was asked, or is about to be."""
    head: Head | None = None
    meter: Meter | None = None
    ending: Ending = Ending.LEFT
    """Until the upstream has ended the answer, or failed to: by us."""
    first_byte_at: float | None = None
    """Ticks."""
    bytes_in: int = 0
    bytes_out: int = 0
    is_orphan: bool = False
    """The client has left, and the rest is read and told by somebody else."""
    observation: Observation | None = None
    """What was seen of the answer, once the record has been made."""

    @property
    def is_kept(self) -> bool:
        """Whether the ledger has a record of it: of every call that can cost something and whose caller is known."""
        return self.match is not None and self.match.route.metered and self.principal is not None

    def came(self, head: Head) -> None:
        """The upstream's head is there."""
        self.head = head
        self.meter = Meter(head.status, head.headers)

    def answered(self, head: Head, at: float) -> None:
        """The upstream's head goes to the client."""
        self.came(head)
        self.status = head.status
        self.first_byte_at = at

    def passed(self, chunk: bytes) -> None:
        """A chunk has gone to the client."""
        self.bytes_out += len(chunk)
        self.saw(chunk)

    def saw(self, chunk: bytes) -> None:
        """A chunk has come from the upstream."""
        if self.meter is not None:
            self.meter.feed(chunk)

    def ended(self) -> None:
        """The upstream's answer ended cleanly."""
        self.ending = Ending.CLEAN

    def refused(self, refusal: Refusal, outcome: Outcome = Outcome.REFUSED) -> None:
        """We answer, instead of the upstream."""
        self.outcome = outcome
        self.code = refusal.code.code
        self.status = refusal.code.status

    def failed(self, failed: UpstreamFailed) -> None:
        """The upstream gave no answer, or its answer broke off."""
        self.ending = Ending.BROKEN if failed.sent else Ending.UNSENT
        if self.head is not None and self.outcome is None:
            self.outcome = Outcome.UPSTREAM_CUT
            self.code = failed.refusal().code.code

    def record(self, now: float, ticks: float, catalog: Catalog, rules: AccountingRules) -> Record:
        """
        The record of what happened, and of what it cost.

        Args:
            now: epoch seconds.
            ticks: of the same moment.
            catalog: prices and rules.
            rules: the operator's.
        """
        record = self.so_far(now, ticks, catalog)
        seen = self.observation = self._seen()
        if self.call is None or self.reserved is None or seen is None:
            return record
        settled = settle(seen, self.call, self.reserved, catalog, rules, at_s=record.at)
        told = settled.into(record)
        return replace(
            told, outcome=self.outcome or settled.outcome, code=self.code or _clipped(settled.code)
        )

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
            at=now - duration_s,
            method=self.arrival.method[:CLIPPED],
            outcome=self.outcome or Outcome.FAILED,
            status=self.status,
            code=self.code,
            org=None if principal is None else principal.org.id,
            team=None if principal is None else principal.team.id,
            key=None if principal is None else principal.key.id,
            route=None if self.match is None else self.match.route.name,
            model=None if call is None else _clipped(call.model),
            tool_model=None if tool is None else _clipped(tool.model) or catalog.default_tool_model,
            stream=self.meter is not None and self.meter.stream,
            size=None if image is None else _clipped(image.size),
            quality=None if image is None else _clipped(image.quality),
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


def _clipped(text: str | None) -> str | None:
    """Short, and made of the signs that names are made of; what looks like a key is not repeated."""
    if text is None:
        return None
    return "…" if "sk-" in text else _STRANGE.sub("?", text[:CLIPPED])


def _header(headers: Sequence[Header], name: bytes) -> str | None:
    value = first(headers, name)
    return None if value is None else _clipped(value.decode("latin-1"))


def _retry_count(arrival: Arrival) -> int:
    value = first(arrival.headers, b"x-stainless-retry-count") or b""
    return int(value) if value.isdigit() and len(value) <= 3 else 0  # noqa: PLR2004 - three digits are plenty


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
