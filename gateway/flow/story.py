"""
What is known of a request so far, until it becomes its record.

Each stage notes what it learned; the record is made once, at the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.call import Call
from gateway.core.errors import Refusal, UpstreamFailed
from gateway.core.headers import Header, first, is_event_stream
from gateway.core.principal import Principal
from gateway.core.record import Outcome, Record
from gateway.core.routes import Match
from gateway.core.watch import End, StreamWatch
from gateway.flow.exchange import Arrival
from gateway.flow.fetch import Head

CLIPPED = 128
"""Characters kept of what a client or the upstream named: a model, a size, an id."""
_ERROR_STATUS = 400

_OUTCOMES = {
    End.NONE: Outcome.INCOMPLETE,
    End.COMPLETED: Outcome.COMPLETED,
    End.FAILED: Outcome.FAILED,
    End.INCOMPLETE: Outcome.INCOMPLETE,
}


@dataclass(slots=True)
class Story:
    """One request's, as it unfolds."""

    arrival: Arrival
    outcome: Outcome = Outcome.FAILED
    """Until something better, or worse, is known: our own fault."""
    code: str | None = None
    status: int | None = None
    match: Match | None = None
    principal: Principal | None = None
    call: Call | None = None
    credential: str | None = None
    head: Head | None = None
    stream: StreamWatch | None = None
    first_byte_at: float | None = None
    """Ticks."""
    bytes_in: int = 0
    bytes_out: int = 0

    def answered(self, head: Head, at: float) -> None:
        """The upstream's head goes to the client."""
        self.head = head
        self.status = head.status
        self.first_byte_at = at
        if is_event_stream(head.headers) and head.status < _ERROR_STATUS:
            self.stream = StreamWatch()

    def passed(self, chunk: bytes) -> None:
        """A chunk has gone to the client."""
        self.bytes_out += len(chunk)
        if self.stream is not None:
            self.stream.feed(chunk)

    def ended(self) -> None:
        """The upstream's answer ended cleanly."""
        if self.stream is not None:
            self.outcome = _OUTCOMES[self.stream.end]
        else:
            self.outcome = Outcome.FAILED if (self.status or 0) >= _ERROR_STATUS else Outcome.COMPLETED

    def refused(self, refusal: Refusal, outcome: Outcome = Outcome.REFUSED) -> None:
        """We answer, instead of the upstream."""
        self.outcome = outcome
        self.code = refusal.code.code
        self.status = refusal.code.status

    def broke_off(self, failed: UpstreamFailed) -> None:
        """The upstream's answer broke off in the middle."""
        self.outcome = Outcome.UPSTREAM_CUT
        self.code = failed.refusal().code.code

    def record(self, now: float, ticks: float) -> Record:
        """
        The record of what happened.

        Args:
            now: epoch seconds.
            ticks: of the same moment.
        """
        duration_s = ticks - self.arrival.at
        principal, call, head = self.principal, self.call, self.head
        image = call.images[0] if call is not None and call.images else None
        tool = image if image is not None and image.where else None
        return Record(
            id=self.arrival.id,
            at=now - duration_s,
            method=self.arrival.method[:CLIPPED],
            outcome=self.outcome,
            status=self.status,
            code=self.code,
            org=None if principal is None else principal.org.id,
            team=None if principal is None else principal.team.id,
            key=None if principal is None else principal.key.id,
            route=None if self.match is None else self.match.route.name,
            model=None if call is None else _clipped(call.model),
            tool_model=None if tool is None else _clipped(tool.model),
            stream=self.stream is not None,
            size=None if image is None else _clipped(image.size),
            quality=None if image is None else _clipped(image.quality),
            partial_images_requested=None if image is None else image.partial_images,
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
    """Short, and valid UTF-8 whatever the client sent."""
    return None if text is None else text[:CLIPPED].encode("utf-8", "replace").decode("utf-8")


def _header(headers: Sequence[Header], name: bytes) -> str | None:
    value = first(headers, name)
    return None if value is None else _clipped(value.decode("latin-1"))


def _retry_count(arrival: Arrival) -> int:
    value = first(arrival.headers, b"x-stainless-retry-count") or b""
    return int(value) if value.isdigit() and len(value) <= 3 else 0  # noqa: PLR2004 - three digits are plenty


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
