"""
What a client is told of its limits: the headers of every answer, the warning, and the refusal.

The headers are OpenAI's (`x-ratelimit-{limit,remaining,reset}-{unit}`), of the tightest limit of each unit. A refusal
names the limit, the scope it hangs on, how far it is used, and when to come back; `x-should-retry` is true only where
waiting for a minute helps, as the official SDKs hammer otherwise, and wait for no longer (openai-python
`_base_client.py`: 120 s, openai-node `client.ts`: 60 s).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from gateway.core.errors import Code, Refusal
from gateway.core.limits import Unit, Window
from gateway.core.quota import Exceeded, Reading, Standing
from gateway.core.units import NanoUSD, usd_text
from gateway.core.windows import GRAIN_OF, GRAINS, ROLLING_US, SECOND_US

Header = tuple[bytes, bytes]

PATIENCE_S: Final = 60
"""The longest wait after which an SDK is asked to try again."""
_NAMES: Final = {
    Unit.REQUESTS: b"requests",
    Unit.TOKENS: b"tokens",
    Unit.IMAGES: b"images",
    Unit.IMAGE_TOKENS: b"image-tokens",
    Unit.USD: b"usd",
}


def headers(standing: Standing) -> list[Header]:
    """What an answer says of its caller's limits."""
    found = _rate_limits(standing.readings, standing.at_us)
    budget = min(
        (
            one.remaining
            for one in standing.readings
            if one.limit.unit is Unit.USD and not one.limit.soft and not _rolls(one)
        ),
        default=None,
    )
    if budget is not None:
        found.append((b"x-imagegate-budget-remaining-usd", usd_text(NanoUSD(budget)).encode("ascii")))
    if standing.passed_soft:
        told = ", ".join(f"{_scope(one.scope)}: {one.limit.text}" for one in standing.passed_soft)
        found.append((b"x-imagegate-warning", f"beyond a soft limit ({told})".encode("ascii", "replace")))
    return found


def refusal(found: Exceeded) -> Refusal:
    """The 429 for a call that a limit stops: `insufficient_quota` for budgets, else `rate_limit_exceeded`."""
    return replace(_refusal(found), scope=found.reading.scope.partition(":")[0])


def _refusal(found: Exceeded) -> Refusal:
    reading, limit = found.reading, found.reading.limit
    told, scope = tuple(_rate_limits(found.readings, found.at_us)), _scope(reading.scope)
    wait_ms = None if found.clears_us is None else max(1, -(-(found.clears_us - found.at_us) // 1000))
    if found.asked > limit.amount:
        message = (
            f"This call may need {_amount(limit.unit, found.asked)}, more than the whole limit of {scope}: "
            f"{limit.text}. Ask for less: fewer or smaller images, a lower quality, fewer partial images; or have the "
            "limit raised."
        )
        return Refusal(Code.INSUFFICIENT_QUOTA, message, headers=told)
    if limit.window is None:
        message = (
            f"Too many requests at once for {scope}: {limit.text}, and {reading.used} are under way. "
            "Please try again when one has ended."
        )
        return Refusal(Code.RATE_LIMIT_EXCEEDED, message, retry_after_ms=wait_ms, headers=told)
    state = f"{limit.text}; {_used(found)}"
    if wait_ms is not None and _rolls(reading):
        message = f"Rate limit reached for {scope}: {state}. Please try again in {_duration(wait_ms * 1000)}."
        soon = wait_ms <= PATIENCE_S * 1000
        return Refusal(Code.RATE_LIMIT_EXCEEDED, message, retry=soon, retry_after_ms=wait_ms, headers=told)
    back = "It does not come back: have it raised."
    if found.clears_us is not None:
        back = f"It comes back at {instant(found.clears_us)}."
    if reading.held:
        back = f"What calls under way do not need comes free when they end. {back}"
    message = f"The budget of {scope} is {'spent or held' if reading.held else 'spent'}: {state}. {back}"
    return Refusal(Code.INSUFFICIENT_QUOTA, message, retry_after_ms=wait_ms, headers=told)


def tightest(readings: Iterable[Reading], unit: Unit) -> Reading | None:
    """Of the limits of one unit that refuse, the one with least left."""
    of_unit = [one for one in readings if one.limit.unit is unit and not one.limit.soft]
    return min(of_unit, key=lambda one: one.remaining, default=None)


def instant(at_us: int) -> str:
    """Epoch microseconds in RFC 3339, UTC, whole seconds: `2026-11-01T12:00:00Z`."""
    days, second = divmod(at_us // SECOND_US, 86_400)
    # Days to a date as Hinnant does it (howardhinnant.github.io/date_algorithms.html, civil_from_days): years begin in
    # March, so that the leap day is the last of its year. Python's dates come with a clock, which has no place here.
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year, month = year + era * 400 + month // 10, (month + 2) % 12 + 1
    return f"{year:04}-{month:02}-{day + 1:02}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"


def _rate_limits(readings: Sequence[Reading], at_us: int) -> list[Header]:
    found: list[Header] = []
    for unit, name in _NAMES.items():
        reading = tightest(readings, unit)
        if reading is None:
            continue
        told = [("limit", _plain(unit, reading.limit.amount)), ("remaining", _plain(unit, reading.remaining))]
        resets = _resets_in_us(reading, at_us)
        if resets is not None:
            told.append(("reset", _duration(resets)))
        found.extend((b"x-ratelimit-%b-%b" % (kind.encode(), name), value.encode()) for kind, value in told)
    return found


def _rolls(reading: Reading) -> bool:
    window = reading.limit.window
    return window is not None and GRAIN_OF[window] in ROLLING_US


def _resets_in_us(reading: Reading, at_us: int) -> int | None:
    """Until nothing is used any more, if nothing else happens; None: never."""
    window = reading.limit.window
    if window is None or window is Window.TOTAL:
        return None
    if reading.remaining == reading.limit.amount:
        return 0
    if reading.resets_us is not None:
        return reading.resets_us - at_us
    length = ROLLING_US[GRAIN_OF[window]]
    return length + length // GRAINS


def _duration(length_us: int) -> str:
    """As OpenAI writes it: `0s`, `17ms`, `1s`, `6m0s`, rounded up to the millisecond."""
    ms = -(-length_us // 1000)
    seconds, ms = divmod(ms, 1000)
    if ms and not seconds:
        return f"{ms}ms"
    hours, minutes = seconds // 3600, seconds // 60 % 60
    leading = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    fraction = f".{ms:03}".rstrip("0") if ms else ""
    return f"{leading}{seconds % 60}{fraction}s"


def _plain(unit: Unit, amount: int) -> str:
    return usd_text(NanoUSD(amount)) if unit is Unit.USD else str(amount)


def _amount(unit: Unit, amount: int) -> str:
    if unit is Unit.USD:
        return f"${usd_text(NanoUSD(amount))}"
    if unit is Unit.CONCURRENT:
        return f"{amount} at once"
    name = str(unit)
    return f"{amount} {name[:-1] if amount == 1 else name}"


def _used(found: Exceeded) -> str:
    reading, unit = found.reading, found.reading.limit.unit
    held = f" and {_amount(unit, reading.held)} held by calls under way" if reading.held else ""
    return f"{_amount(unit, reading.used)} used{held}, and this call may need {_amount(unit, found.asked)}"


def _scope(scope: str) -> str:
    kind, _, name = scope.partition(":")
    return f"{kind} '{name}'" if name else "the organisation"
