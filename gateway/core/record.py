"""
The one row that tells the story of a request.

A record is written once, last, whatever happened; the log line, the ledger row and every count derive from it, and
nobody else counts anything. It holds no prompt, no picture and no secret: what could be one of these has no field
here.
"""

from dataclasses import asdict, dataclass
from enum import Enum

from gateway.core.units import NanoUSD


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
    LOST = "lost"
    """The process that carried it died: what it came to is not known, and is charged as reserved."""
    CANCELLED = "cancelled"
    """By us: the gateway stopped. Or by the client, of a background response."""


class CacheUse(Enum):
    """What the cache had to do with it."""

    HIT = "hit"
    MISS = "miss"
    COLLAPSED = "collapsed"
    BYPASS = "bypass"
    OFF = "off"


class TokensFrom(Enum):
    """Where the token counts come from, surest first."""

    REPORTED = "reported"
    """By the upstream."""
    COMPUTED = "computed"
    """By the catalogue's rule, from what was delivered."""
    ESTIMATED = "estimated"
    """From what was seen, or from what was reserved."""
    NONE = "none"
    """There was nothing to count."""


class Role(Enum):
    """What a model did in a call."""

    MAIN = "main"
    """It answered: the model of a Responses call."""
    IMAGE = "image"
    """It drew."""
    SVG = "svg"
    """It wrote an SVG."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What one model of a call used, and what that cost. Tokens; input counts include the cached ones."""

    model: str
    role: Role
    input_text: int = 0
    input_image: int = 0
    cached_text: int = 0
    cached_image: int = 0
    cache_write: int = 0
    output_image: int = 0
    output_text: int = 0
    cost_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - an int by another name


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """
    What is known of a request once it is over.

    Counts are integers, durations milliseconds, money nano-dollars. None: it did not come to that, or is not known.
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
    refused_by: str | None = None
    """Whose limit or permission said no: `org`, `team`, `key`. The ledger does not keep it."""
    org: str | None = None
    team: str | None = None
    key: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    """As the client gave them (`X-Imagegate-Tags`), by name."""
    route: str | None = None
    model: str | None = None
    """As asked, clipped; the catalogue's default where none was named and one is known."""
    tool_model: str | None = None
    stream: bool = False
    """The answer was a stream of events."""
    cache: CacheUse = CacheUse.OFF
    images: int = 0
    """Delivered."""
    size: str | None = None
    """Of the first image: as delivered, else as asked."""
    quality: str | None = None
    """Likewise."""
    partial_images_requested: int | None = None
    partial_images_delivered: int = 0
    input_text_tokens: int = 0
    input_image_tokens: int = 0
    cached_input_tokens: int = 0
    output_image_tokens: int = 0
    """Surcharge for partial images included."""
    partial_image_tokens: int = 0
    """The part of them that is surcharge."""
    output_text_tokens: int = 0
    tokens_from: TokensFrom = TokensFrom.NONE
    priced_as: str | None = None
    """The model whose prices stood in for one that the catalogue does not know."""
    cost_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - an int by another name
    saved_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - likewise
    """Of a hit or a joined call: what the original cost."""
    reserved_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - likewise
    lines: tuple[Line, ...] = ()
    """What each model used; the figures above are their sums."""
    upstream_request_id: str | None = None
    upstream_status: int | None = None
    response_id: str | None = None
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
        """The fields that are known and not empty, by name, in order, as JSON has them: enums by their values."""
        fields = {name: _plain(value) for name, value in asdict(self).items()}
        return {name: value for name, value in fields.items() if value not in (None, (), [], {})}


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
