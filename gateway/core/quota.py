"""
What may be used and what was: the arithmetic of limits, on values.

Decided here: what a call takes at which door, which limits stand in its way, when they will let it through, and what is
counted where. A call passes only if `used + held + asked` stays within every limit of its key, its team and its
organisation; nothing is shrunk to fit, and a refused call takes nothing.

The life of what a call takes:

    take     requests and a place at the first door, once for each call, used at once;
             images, image tokens, tokens and money at the second, held at the estimate
    settle   held becomes used, at what the call came to: more than was held is a debt, and blocks what comes next
    void     held is given back: the call cost nothing
    expire   held becomes used as it was: nobody knows what the call came to

All of it is counted in the grains (windows.py) in which it was taken, however long the call runs. Stores only add up
and compare; which rows they do that to is decided here, so that all of them agree.

Not here: the sentences that limits are written in (limits.py), what a client is told (allowance.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gateway.core.limits import Limit, Unit, Window
from gateway.core.principal import Principal, Scope
from gateway.core.record import Record
from gateway.core.units import NanoUSD
from gateway.core.windows import (
    GRAIN_OF,
    ROLLING_US,
    SECOND_US,
    Frame,
    Frames,
    Grain,
    Span,
    grain_leaves_us,
    grain_start_us,
    window_us,
)

ORG: Final = "org"
"""The name of the widest scope; the others are `team:ID` and `key:ID`."""
PLACE_PAUSE_US: Final = SECOND_US
"""When to ask again for a place: nobody knows when one will be free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """So much of each unit; differences may be negative."""

    requests: int = 0
    images: int = 0
    image_tokens: int = 0
    """Output image tokens, surcharge for partial images included."""
    tokens: int = 0
    """All of them."""
    cost_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - an int by another name
    places: int = 0
    """Of those who are inside at once."""

    def of(self, unit: Unit) -> int:
        """How much of one unit."""
        match unit:
            case Unit.USD:
                return self.cost_nusd
            case Unit.IMAGES:
                return self.images
            case Unit.IMAGE_TOKENS:
                return self.image_tokens
            case Unit.TOKENS:
                return self.tokens
            case Unit.REQUESTS:
                return self.requests
            case Unit.CONCURRENT:
                return self.places

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            requests=self.requests + other.requests,
            images=self.images + other.images,
            image_tokens=self.image_tokens + other.image_tokens,
            tokens=self.tokens + other.tokens,
            cost_nusd=NanoUSD(self.cost_nusd + other.cost_nusd),
            places=self.places + other.places,
        )

    def __neg__(self) -> "Amounts":
        return Amounts(
            requests=-self.requests,
            images=-self.images,
            image_tokens=-self.image_tokens,
            tokens=-self.tokens,
            cost_nusd=NanoUSD(-self.cost_nusd),
            places=-self.places,
        )

    def __sub__(self, other: "Amounts") -> "Amounts":
        return self + -other


NOTHING: Final = Amounts()
FIRST_DOOR: Final = Amounts(requests=1, places=1)
"""What every call takes before anything is looked up for it."""


def charge_of(record: Record, images: int) -> Amounts:
    """
    What a call came to.

    Args:
        record: of the call.
        images: pictures that it is charged for, delivered or not.
    """
    tokens = (
        record.input_text_tokens
        + record.input_image_tokens
        + record.output_image_tokens
        + record.output_text_tokens
    )
    return Amounts(
        images=images, image_tokens=record.output_image_tokens, tokens=tokens, cost_nusd=record.cost_nusd
    )


@dataclass(frozen=True, slots=True)
class Claimant:
    """A scope that a call is counted in, and its limits."""

    scope: str
    """`org`, `team:ID` or `key:ID`."""
    limits: tuple[Limit, ...] = ()
    """As configured; the store may know others, set while running."""


def claimants_of(principal: Principal) -> tuple[Claimant, ...]:
    """The scopes that a caller's requests are counted in, narrowest first."""
    return tuple(Claimant(scope_name(scope), scope.limits) for scope in principal.scopes)


def scope_name(scope: Scope) -> str:
    """What a scope is called where things are counted."""
    return ORG if scope.kind == ORG else f"{scope.kind}:{scope.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a call asks for at a door."""

    id: str
    """Of the call."""
    claimants: tuple[Claimant, ...]
    """Narrowest first: key, team, organisation."""
    asked: Amounts
    frames: Frames
    """Around the caller's time; the store chooses by its own."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What was used and what is held, in some row of grains."""

    used: Amounts = NOTHING
    held: Amounts = NOTHING


@dataclass(frozen=True, slots=True)
class Reading:
    """How one limit stands."""

    scope: str
    limit: Limit
    used: int
    """In the limit's unit; more than the limit is a debt."""
    held: int
    resets_us: int | None = None
    """When a calendar window ends. None: it rolls, or never ends."""

    @property
    def remaining(self) -> int:
        """What may still be taken, 0 at least."""
        return max(0, self.limit.amount - self.used - self.held)

    def stops(self, asked: Amounts) -> bool:
        """Whether so much more goes beyond the limit."""
        more = asked.of(self.limit.unit)
        return more > 0 and self.used + self.held + more > self.limit.amount

    def taking(self, asked: Amounts) -> "Reading":
        """The same limit when so much more is held."""
        return replace(self, held=self.held + asked.of(self.limit.unit))


@dataclass(frozen=True, slots=True)
class Standing:
    """A call may pass: how its limits stand with it, in the order of its claimants."""

    at_us: int
    """The store's time."""
    readings: tuple[Reading, ...] = ()
    passed_soft: tuple[Reading, ...] = ()
    """Those that it goes beyond and that only warn."""


@dataclass(frozen=True, slots=True)
class Exceeded:
    """A call may not pass, and has taken nothing."""

    at_us: int
    """The store's time."""
    reading: Reading
    """The limit that stands in its way for longest."""
    asked: int
    """Of its unit."""
    clears_us: int | None
    """When it will let this very call pass, as far as is known. None: never by waiting."""
    readings: tuple[Reading, ...] = ()
    """Of all its limits."""


def rows_of(claim: Claim, at_us: int) -> tuple[tuple[str, Grain, int], ...]:
    """
    Where a call is counted: scope, grain, the beginning of the grain.

    Days are counted for every scope, so that a budget set later knows what was used before; rates only where there is
    one.

    Args:
        claim: with the limits that hold.
        at_us: the store's time.
    """
    frame = claim.frames.at(at_us)
    return tuple(
        (claimant.scope, grain, grain_start_us(grain, at_us, frame))
        for claimant in claim.claimants
        for grain in Grain
        if grain is Grain.DAY
        or any(limit.window is not None and GRAIN_OF[limit.window] is grain for limit in claimant.limits)
    )


def windows_of(claimant: Claimant, at_us: int, frame: Frame) -> dict[Window, tuple[Grain, Span]]:
    """The windows that a scope's limits are about: which grains each is a row of, and when they begin."""
    found = dict.fromkeys(limit.window for limit in claimant.limits if limit.window is not None)
    return {window: (GRAIN_OF[window], window_us(window, at_us, frame)) for window in found}


def readings_of(
    claimant: Claimant, tallies: Mapping[Window, Tally], places: int, frame: Frame
) -> Iterator[Reading]:
    """
    How the limits of a scope stand, in their order.

    Args:
        claimant: the scope.
        tallies: of each window of `windows_of`.
        places: taken in the scope.
        frame: of now.
    """
    for limit in claimant.limits:
        if limit.window is None:
            yield Reading(claimant.scope, limit, used=places, held=0)
        else:
            tally = tallies[limit.window]
            yield Reading(
                claimant.scope,
                limit,
                used=tally.used.of(limit.unit),
                held=tally.held.of(limit.unit),
                resets_us=frame.end_us(limit.window),
            )


def stopping(readings: Iterable[Reading], asked: Amounts) -> tuple[Reading, ...]:
    """The limits that a call would go beyond and that do not only warn."""
    return tuple(reading for reading in readings if not reading.limit.soft and reading.stops(asked))


def standing(at_us: int, readings: Sequence[Reading], asked: Amounts) -> Standing:
    """The limits of a call that passes."""
    return Standing(
        at_us,
        tuple(reading.taking(asked) for reading in readings),
        tuple(reading for reading in readings if reading.limit.soft and reading.stops(asked)),
    )


def clears_us(
    reading: Reading, asked: Amounts, at_us: int, rolling: Sequence[tuple[int, int]] = ()
) -> int | None:
    """
    When a limit will let a call pass, if nothing else happens.

    Args:
        reading: of the limit, which stops the call.
        asked: by the call.
        at_us: now.
        rolling: of a rolling window, oldest first: the beginning of each grain, and what was used and is held in it.

    Returns:
        None: never by waiting. The call is larger than the whole limit, or its window does not end.
    """
    limit = reading.limit
    more = asked.of(limit.unit)
    if more > limit.amount:
        return None
    if limit.window is None:
        return at_us + PLACE_PAUSE_US
    grain = GRAIN_OF[limit.window]
    if grain not in ROLLING_US:
        return reading.resets_us
    left = reading.used + reading.held
    for start_us, amount in rolling:
        left -= amount
        if left + more <= limit.amount:
            return grain_leaves_us(grain, start_us)
    return at_us + ROLLING_US[grain]


def exceeded(
    at_us: int, readings: Sequence[Reading], asked: Amounts, clearing: Mapping[Reading, int | None]
) -> Exceeded:
    """
    The refusal of a call.

    Args:
        at_us: now.
        readings: of all its limits, narrowest scope first.
        asked: by the call.
        clearing: those that stop it, in the same order, and when each will let it pass.
    """
    # Whoever waits for the one that lasts longest has waited for all. Of several the one with least left is named.
    named = max(clearing, key=lambda one: (_latest(clearing[one]), -one.remaining))
    return Exceeded(at_us, named, asked.of(named.limit.unit), clearing[named], tuple(readings))


def _latest(clears: int | None) -> tuple[bool, int]:
    return (clears is None, clears or 0)
