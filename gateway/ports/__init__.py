"""
What we need from outside, and what it must promise.

Protocols, not base classes: an adapter inherits nothing, and mypy checks the fit where it is introduced. Each port
has one suite of tests under `tests/contracts`, which every adapter of it passes unchanged.
"""

from gateway.ports.cache import Cache, CacheBody, Draft
from gateway.ports.failure import LargeLimitError, StoreFailed, UnfitError
from gateway.ports.flights import (
    BEAT_S,
    LEASE_S,
    Began,
    Flights,
    FollowedFlight,
    Follows,
    LeadingFlight,
    Leads,
)
from gateway.ports.idempotency import IdempotencyKeys
from gateway.ports.ledger import DEAD_AFTER_S, Ledger, LedgerReader
from gateway.ports.moving import LedgerSource, LedgerTarget
from gateway.ports.outbox import Outbox, Pile
from gateway.ports.traces import Traces
from gateway.ports.upstream import RequestBody, Spool, Timeouts, Upstream, UpstreamReply, UpstreamRequest
from gateway.ports.world import Calendar, Clock, Ids, Journal, KeyStore

__all__ = [
    "BEAT_S",
    "DEAD_AFTER_S",
    "LEASE_S",
    "Began",
    "Cache",
    "CacheBody",
    "Calendar",
    "Clock",
    "Draft",
    "Flights",
    "FollowedFlight",
    "Follows",
    "IdempotencyKeys",
    "Ids",
    "Journal",
    "KeyStore",
    "LargeLimitError",
    "LeadingFlight",
    "Leads",
    "Ledger",
    "LedgerReader",
    "LedgerSource",
    "LedgerTarget",
    "Outbox",
    "Pile",
    "RequestBody",
    "Spool",
    "StoreFailed",
    "Timeouts",
    "Traces",
    "UnfitError",
    "Upstream",
    "UpstreamReply",
    "UpstreamRequest",
]
