"""
The one row that tells the story of a request.

A record is written once, last, whatever happened; the log line derives from it, and nobody else counts anything. It
holds no prompt, no picture and no secret: what could be one of these has no field here.
"""

from dataclasses import asdict, dataclass
from enum import Enum


class Outcome(Enum):
    """How a request ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    """The upstream answered an error, before or after the head, or gave no answer."""
    REFUSED = "refused"
    """By us."""
    INCOMPLETE = "incomplete"
    """The upstream ended cleanly without the terminal event, or said that it stopped early."""
    CLIENT_GONE = "client_gone"
    UPSTREAM_CUT = "upstream_cut"
    """The upstream's answer broke off."""
    CANCELLED = "cancelled"
    """By us: the gateway stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """
    What is known of a request once it is over.

    Counts are integers, durations milliseconds. None: it did not come to that.
    """

    id: str
    at: float
    """Epoch seconds of its arrival."""
    method: str
    outcome: Outcome
    status: int | None = None
    """As sent to the client; None: nothing was."""
    code: str | None = None
    """Of the error that we answered, or that a stream broke off with."""
    org: str | None = None
    team: str | None = None
    key: str | None = None
    route: str | None = None
    model: str | None = None
    """As asked, clipped."""
    tool_model: str | None = None
    stream: bool = False
    """The answer was a stream of events."""
    size: str | None = None
    quality: str | None = None
    partial_images_requested: int | None = None
    upstream_request_id: str | None = None
    upstream_status: int | None = None
    credential: str | None = None
    duration_ms: float
    upstream_ms: float | None = None
    """Until the upstream's head was there."""
    first_byte_ms: float | None = None
    """Until the head went to the client."""
    bytes_in: int = 0
    bytes_out: int = 0
    retry_count: int = 0
    """As the SDK tells: `x-stainless-retry-count`."""

    def told(self) -> dict[str, object]:
        """The fields that are known, by name, in order; enums as their values."""
        fields = asdict(self)
        fields["outcome"] = self.outcome.value
        return {name: value for name, value in fields.items() if value is not None}
