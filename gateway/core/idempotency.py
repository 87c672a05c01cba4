"""
`Idempotency-Key`: one call, however often it is asked for under the same key.

A client that gives a call a key of its choice may ask again with that key and the same request: it is given the answer
of the first call, on its way or kept. It is the means for calls that go past the cache, and for all others a second one.

Rules of this file:
- A key belongs to its owner, method and route; to nobody else it means anything.
- It stands for one request: with another one it is refused (422).
- Complete answers of success are given again. A failure frees the key: asking again may succeed, and nothing was bought.
- Where nobody knows what became of the call (it broke off, or its process died), the key stays taken, and asking again is
  refused (409): it might pay twice.

Source: the IETF draft "The Idempotency-Key HTTP Header Field" for the names and the statuses.

Not here: where keys are remembered (the IdempotencyKeys port), where answers are kept (a Cache).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final, NewType, assert_never

from gateway.core.artefact import Form
from gateway.core.cachekey import CacheKey
from gateway.core.errors import Code, Refusal, Refused
from gateway.core.headers import Header
from gateway.core.observation import End, Ending, Observation
from gateway.core.settle import is_unsure

NAME: Final = "Idempotency-Key"
FIELD: Final = NAME.lower().encode("ascii")
MOST_BYTES: Final = 255
LIFE_S: Final = 86_400.0
"""For how long a key is remembered, from the call on."""
VERSION: Final = 1

KeyName = NewType("KeyName", str)
"""`i1-` and 64 hexadecimal digits: a key, of one owner, method and route."""


class State(Enum):
    """What became of the call that a key was given to."""

    OPEN = "open"
    """It is under way."""
    KEPT = "kept"
    """Its answer is kept, to be given again."""
    NOTED = "noted"
    """It was given what somebody else's call had brought: it may be asked for again like that, and no other may."""
    CUT = "cut"
    """Nobody knows: it may have been carried out, and paid for."""


@dataclass(frozen=True, slots=True)
class Known:
    """A key that was used before."""

    fingerprint: str
    """Of the request that it was used for."""
    call_id: str
    """Of the call that has it, or had it last."""
    state: State


@dataclass(frozen=True, slots=True)
class Once:
    """A key, as one request uses it."""

    name: KeyName
    fingerprint: str
    """Of the request: equal for equal requests, by everything that it says."""

    @property
    def answer(self) -> CacheKey:
        """The key under which its answer is kept."""
        return CacheKey(self.name)

    def flight(self, form: Form) -> str:
        """The name of its flight: two requests that differ never share one, whatever their keys."""
        return f"{self.name}.{self.fingerprint}.{form.name}"


def read(headers: Iterable[Header]) -> bytes | None:
    """
    The key of a request; None: it has none.

    Raises:
        Refused: 400 `invalid_header`: it is empty, too long, or there twice.
    """
    values = [value for name, value in headers if name == FIELD]
    if not values:
        return None
    if len(values) > 1:
        raise Refused(Refusal(Code.INVALID_HEADER, f"The header {NAME} was sent more than once.", NAME))
    if not 0 < len(values[0]) <= MOST_BYTES:
        message = f"The header {NAME} takes 1 to {MOST_BYTES} bytes; this one has {len(values[0])}."
        raise Refused(Refusal(Code.INVALID_HEADER, message, NAME))
    return values[0]


def name_of(owner: Sequence[str], method: str, route: str, key: bytes) -> KeyName:
    """
    The name of a key.

    Args:
        owner: whose it is: organisation, team and, where `tenancy.owner` is the key, the caller's key.
        method: of the request.
        route: its name.
        key: as `read` has it.
    """
    digest = hashlib.sha256()
    for part in (
        *(one.encode("utf-8", "surrogatepass") for one in owner),
        method.encode(),
        route.encode(),
        key,
    ):
        # Its length first: no two lists of parts are written alike.
        digest.update(b"%d:%b" % (len(part), part))
    return KeyName(f"i{VERSION}-{digest.hexdigest()}")


class Next(Enum):
    """What a request with a key has to do."""

    GO = "go"
    """Make the call: the key is its own now."""
    REPLAY = "replay"
    JOIN = "join"
    """The same call is under way."""


def next_of(known: Known | None, once: Once) -> Next:
    """
    What to do, by what is known of the key.

    Raises:
        Refused: 422 `idempotency_key_reused`, 409 `idempotency_outcome_unknown`.
    """
    if known is None:
        return Next.GO
    if known.fingerprint != once.fingerprint:
        message = (
            f"This {NAME} was used for another request within the last 24 hours. "
            "Use a new key for each request, and the same key only to repeat the same request."
        )
        raise Refused(Refusal(Code.IDEMPOTENCY_KEY_REUSED, message, NAME))
    match known.state:
        case State.KEPT:
            return Next.REPLAY
        case State.OPEN:
            return Next.JOIN
        case State.NOTED:
            return Next.GO
        case State.CUT:
            raise Refused(outcome_unknown())
        case _:
            assert_never(known.state)


def outcome_unknown() -> Refusal:
    """Nobody knows whether the call was carried out."""
    message = (
        f"The call with this {NAME} broke off: it may have been carried out, and paid for, and its answer is not there. "
        "To pay for another one, use a new key."
    )
    return Refusal(Code.IDEMPOTENCY_OUTCOME_UNKNOWN, message, NAME)


def under_way() -> Refusal:
    """The call is made by somebody else, and cannot be followed."""
    message = (
        f"The call with this {NAME} is still under way, and cannot be followed from here. Ask again with the same key "
        "when it should have ended."
    )
    return Refusal(Code.IDEMPOTENCY_OUTCOME_UNKNOWN, message, NAME, retry=True, retry_after_ms=5000)


def fate(seen: Observation | None, *, draws: bool) -> State | None:
    """
    What a key stands for when its call has ended: KEPT, if the answer can be kept, or CUT; None: it is free.

    An answer is complete if it says so itself: one that says that it stopped early (`incomplete`), or that brings fewer
    pictures than were asked for, was carried out and paid for as it is. One that cannot be read may be anything.

    Args:
        seen: of the answer; None: nothing was asked of the upstream.
        draws: it is one of the Images API, which brings pictures or nothing.
    """
    if seen is None or seen.ending is Ending.UNSENT:
        return None
    if seen.ending is not Ending.CLEAN or seen.status is None or is_unsure(seen):
        return State.CUT
    if seen.status >= HTTPStatus.MULTIPLE_CHOICES:
        return None
    if seen.end is End.FAILED or seen.response_status == "failed":
        return None
    is_whole = seen.end is not End.NONE if seen.stream else seen.whole
    has_all = bool(seen.finished) if draws else seen.stream or seen.response_id is not None
    return State.KEPT if is_whole and has_all else State.CUT
