"""
What can go wrong, and how it is said.

Three sources, from which the rest follows:

    Refused                  the client's doing: a decision of ours, with an OpenAI error body
    UpstreamFailed           the upstream's doing
    ├─ UNREACHABLE           502   no connection, or none that lasted until an answer began
    ├─ TIMED_OUT             504   a phase took longer than its limit; within the body as below
    ├─ SATURATED             503   every connection of the pool is in use
    └─ BROKEN_OFF            502   the answer had begun; once its head is out, the connection is cut instead
    anything else            ours: 500 internal_error, and a bug

An error that the upstream itself answers is a reply, not a failure: it passes through untouched.

Every body is OpenAI's: `{"error": {"message", "type", "param", "code"}}`. `x-should-retry` steers the official
SDKs, which retry 408, 409, 429 and 5xx on their own (openai-python `_base_client.py`).
"""

from dataclasses import dataclass
from enum import Enum


class Code(Enum):
    """Every error code of ours: its HTTP status, OpenAI error type, and whether trying again can help."""

    INVALID_API_KEY = ("invalid_api_key", 401, "invalid_request_error", False)
    NOT_ALLOWED = ("not_allowed", 403, "permission_error", False)
    UNKNOWN_URL = ("unknown_url", 404, "invalid_request_error", False)
    NOT_FOUND = ("not_found", 404, "invalid_request_error", False)
    INVALID_JSON = ("invalid_json", 400, "invalid_request_error", False)
    INVALID_MULTIPART = ("invalid_multipart", 400, "invalid_request_error", False)
    INVALID_TYPE = ("invalid_type", 400, "invalid_request_error", False)
    DUPLICATE_FIELD = ("duplicate_field", 400, "invalid_request_error", False)
    INVALID_HEADER = ("invalid_header", 400, "invalid_request_error", False)
    INVALID_HOST = ("invalid_host", 400, "invalid_request_error", False)
    RATE_LIMIT_EXCEEDED = ("rate_limit_exceeded", 429, "rate_limit_error", True)
    INSUFFICIENT_QUOTA = ("insufficient_quota", 429, "insufficient_quota", False)
    REQUEST_TIMEOUT = ("request_timeout", 408, "invalid_request_error", True)
    UNSUPPORTED_CONTENT_ENCODING = ("unsupported_content_encoding", 415, "invalid_request_error", False)
    HEADERS_TOO_LARGE = ("headers_too_large", 431, "invalid_request_error", False)
    REQUEST_TOO_LARGE = ("request_too_large", 413, "invalid_request_error", False)
    IDEMPOTENCY_KEY_REUSED = ("idempotency_key_reused", 422, "invalid_request_error", False)
    IDEMPOTENCY_OUTCOME_UNKNOWN = ("idempotency_outcome_unknown", 409, "invalid_request_error", False)
    NOT_CACHED = ("not_cached", 504, "invalid_request_error", False)
    UPSTREAM_UNREACHABLE = ("upstream_unreachable", 502, "server_error", False)
    UPSTREAM_TIMEOUT = ("upstream_timeout", 504, "server_error", False)
    OVERLOADED = ("overloaded", 503, "server_error", True)
    STORE_UNAVAILABLE = ("store_unavailable", 503, "server_error", True)
    SHUTTING_DOWN = ("shutting_down", 503, "server_error", True)
    INTERNAL_ERROR = ("internal_error", 500, "server_error", False)

    def __init__(self, code: str, status: int, kind: str, retry: bool) -> None:  # noqa: FBT001 - the table above
        self.code = code
        self.status = status
        self.kind = kind
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer of ours in place of the upstream's."""

    code: Code
    message: str
    """What was wrong, with which value, and what to do. Never a secret, never a prompt."""
    param: str | None = None
    """The request field at fault."""
    retry: bool | None = None
    """Whether trying again can help; None: as the code says."""
    retry_after_ms: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """What else the answer says, names in lower case."""
    scope: str | None = None
    """Whose limit or permission says no: `org`, `team`, `key`."""

    @property
    def should_retry(self) -> bool:
        """What `x-should-retry` says."""
        return self.code.retry if self.retry is None else self.retry

    def body(self) -> dict[str, object]:
        """The JSON body, in OpenAI's shape."""
        return {
            "error": {
                "message": self.message,
                "type": self.code.kind,
                "param": self.param,
                "code": self.code.code,
            }
        }


class Refused(Exception):  # noqa: N818 - it is what happened, not a failure
    """Carries a refusal from where it was decided to the door."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Failure(Enum):
    """How an upstream call failed."""

    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed out"
    SATURATED = "saturated"
    BROKEN_OFF = "broken off"


class UpstreamFailed(Exception):  # noqa: N818 - likewise
    """
    An upstream call that gave no answer, or half of one.

    Args:
        failure: how.
        phase: what was being done: connect, pool, write, read.
        sent: whether a byte of the request may have been written. False is a promise: nothing went up, so the
            call can be made again without paying twice.
    """

    def __init__(self, failure: Failure, *, phase: str, sent: bool) -> None:
        super().__init__(f"upstream {failure.value} ({phase})")
        self.failure = failure
        self.phase = phase
        self.sent = sent

    def refusal(self) -> Refusal:
        """What the client is told if nothing has been sent back yet."""
        match self.failure:
            case Failure.SATURATED:
                message = (
                    "The gateway has no free connection to the upstream (upstream.max_connections). "
                    "Please try again in a moment."
                )
                return Refusal(Code.OVERLOADED, message, retry_after_ms=1000)
            case Failure.TIMED_OUT:
                message = f"The upstream did not answer in time (phase: {self.phase})."
                return Refusal(Code.UPSTREAM_TIMEOUT, self._advise(message), retry=not self.sent)
            case Failure.UNREACHABLE | Failure.BROKEN_OFF:
                message = (
                    f"The upstream could not be reached, or closed the connection (phase: {self.phase})."
                )
                return Refusal(Code.UPSTREAM_UNREACHABLE, self._advise(message), retry=not self.sent)

    def _advise(self, message: str) -> str:
        if self.sent:
            return f"{message} The request had been sent: it may have been carried out, and paid for."
        return f"{message} Nothing had been sent: it is safe to try again."


def quoted(value: object, limit: int = 80) -> str:
    """
    A client's value, fit to be shown in a message: clipped, printable, valid UTF-8.

    Args:
        value: any value from a request.
        limit: characters kept.
    """
    text = value if isinstance(value, str) else repr(value)
    if len(text) > limit:
        text = f"{text[:limit]}…"
    printable = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return f"'{printable}'"
