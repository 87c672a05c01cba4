"""
How the admin API shows things: lists, and the record of a request.

The names of a record are a promise to those who read it; what else a record knows stays inside.
"""

from datetime import UTC, datetime
from typing import Final

from gateway.core.ledger import flat
from gateway.core.record import Record

RECORD: Final = (
    "id",
    "at",
    "org",
    "team",
    "key",
    "tags",
    "route",
    "model",
    "tool_model",
    "stream",
    "status",
    "outcome",
    "cache",
    "images",
    "size",
    "quality",
    "partial_images_requested",
    "partial_images_delivered",
    "input_text_tokens",
    "input_image_tokens",
    "cached_input_tokens",
    "output_image_tokens",
    "partial_image_tokens",
    "output_text_tokens",
    "tokens_from",
    "priced_as",
    "cost_nusd",
    "saved_nusd",
    "reserved_nusd",
    "lines",
    "upstream_request_id",
    "response_id",
    "credential",
    "duration_ms",
    "upstream_ms",
    "first_byte_ms",
    "bytes_in",
    "bytes_out",
    "retry_count",
)
"""The fields of a record, in order; all of them are always there."""


def record_json(record: Record) -> dict[str, object]:
    """A record: tags as an object, lines as objects, money as integer nano-dollars, None as null."""
    plain = flat(record) | {"at": instant(record.at), "tags": dict(record.tags)}
    return {name: plain[name] for name in RECORD}


def instant(at: float) -> str:
    """Epoch seconds in RFC 3339, UTC, to the microsecond: `2026-11-01T12:00:00.000000Z`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
