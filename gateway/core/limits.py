"""
Limits as people say them, and the value that each sentence becomes.

Decided here: which sentences are a limit ("$500 per month", "20 images per minute", "4 concurrent", each
with an optional trailing "soft"), and the one canonical sentence for each. The canonical sentence of a limit
reads back as that same limit.

Not here: windows and their edges, what was used, who may pass.
"""

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NUSD_PER_USD: Final = 1_000_000_000

# Sums of amounts stay inside the signed 64-bit integers of every store, with room to add up.
MAX_AMOUNT_USD: Final = 1_000_000_000
MAX_COUNT: Final = 1_000_000_000_000_000


class Unit(StrEnum):
    """What a limit counts."""

    USD = "usd"
    IMAGES = "images"
    IMAGE_TOKENS = "image_tokens"
    TOKENS = "tokens"
    REQUESTS = "requests"
    CONCURRENT = "concurrent"


class Window(StrEnum):
    """
    The time a limit is about.

    Second, minute and hour roll; day, week and month are calendar windows; total never ends.
    """

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Limit:
    """
    One limit of an organisation, a team or a key.

    Attributes:
        amount: how much at most, above 0: nano-dollars for `Unit.USD`, a count for every other unit.
        unit: what is counted.
        window: in what time; None for `Unit.CONCURRENT`, and for nothing else.
        soft: True warns and admits, False refuses.
    """

    amount: int
    unit: Unit
    window: Window | None
    soft: bool = False

    def __post_init__(self) -> None:
        """A limit that no sentence could say is a bug of whoever made it."""
        ceiling = MAX_AMOUNT_USD * NUSD_PER_USD if self.unit is Unit.USD else MAX_COUNT
        if not 0 < self.amount <= ceiling:
            raise ValueError(f"a limit's amount lies between 1 and {ceiling}, not {self.amount}")
        if (self.window is None) is not (self.unit is Unit.CONCURRENT):
            raise ValueError(f"a limit in {self.unit} and the window {self.window} do not go together")

    @property
    def text(self) -> str:
        """The canonical sentence, such as `$500 per month` or `1 image per minute soft`."""
        match self.unit:
            case Unit.USD:
                what = f"${_dollars(self.amount)}"
            case Unit.CONCURRENT:
                what = f"{self.amount} concurrent"
            case unit:
                what = f"{self.amount} {unit[:-1] if self.amount == 1 else unit}"
        match self.window:
            case None:
                when = ""
            case Window.TOTAL:
                when = " total"
            case window:
                when = f" per {window}"
        return what + when + (" soft" if self.soft else "")


MAX_DOUBLE_USD: Final = 9_000_000
"""Of a limit in a store that compares in doubles: they hold 2^53 nano-dollars exactly, which is a little more."""


def fits_doubles(limit: Limit) -> bool:
    """Whether a store that compares in doubles (Redis) can hold usage against the limit exactly."""
    return limit.unit is not Unit.USD or limit.amount <= MAX_DOUBLE_USD * NUSD_PER_USD


def parse_limit(text: str) -> Limit:
    """
    The limit that a sentence says.

    Args:
        text: amount, unit and window: `$500 per month`, `500 usd per month`, `200_000 image_tokens per day`,
            `60 requests/minute`, `$100 total`, `4 concurrent requests`; `soft` may stand at the end.
            Case and spaces do not matter; thousands may be parted by `,` or `_`, decimals follow a `.`.

    Raises:
        ValueError: this is no such sentence. The message says how far it was understood, and shows a good one.
    """
    said = text.strip()
    shape = _SHAPE.fullmatch(said)
    if shape is None:
        if said[:1] in tuple("€£¥"):
            raise _refusal(text, "amounts of money are in US dollars", '"$500 per month"')
        raise _refusal(text, "it does not begin with an amount", '"$500 per month"')
    number, words = shape["number"], _WORD.findall(shape["rest"].lower())
    digits = _NUMBER.fullmatch(number)
    if digits is None:
        problem = f'"{_brief(number)}" is not an amount; thousands may be parted by "," or "_", decimals follow a "."'
        raise _refusal(text, problem, '"200_000 image_tokens per day" or "$0.50 per day"')
    whole, part = int(digits["whole"].replace(",", "").replace("_", "")), (digits["part"] or "").rstrip("0")
    soft = words[-1:] == ["soft"]
    if soft:
        words.pop()
    unit = _take_unit(text, number, words, in_dollars=shape["dollar"] is not None)
    amount = _amount(text, whole, part, unit)
    return Limit(amount, unit, _window(text, amount, unit, words), soft)


_SHAPE: Final = re.compile(r"(?P<dollar>\$\s*)?(?P<number>[0-9][0-9_,.]*)(?P<rest>.*)", re.DOTALL)
_WORD: Final = re.compile(r"[^\s/]+|/")
_NUMBER: Final = re.compile(
    r"(?P<whole>[0-9]{1,18}|[0-9]{1,3}(?:,[0-9]{3}){1,5}|[0-9]{1,3}(?:_[0-9]{1,3}){1,5})(?:\.(?P<part>[0-9]{1,12}))?"
)
_UNITS: Final = {
    "usd": Unit.USD,
    "dollar": Unit.USD,
    "dollars": Unit.USD,
    "image": Unit.IMAGES,
    "images": Unit.IMAGES,
    "image_token": Unit.IMAGE_TOKENS,
    "image_tokens": Unit.IMAGE_TOKENS,
    "token": Unit.TOKENS,
    "tokens": Unit.TOKENS,
    "request": Unit.REQUESTS,
    "requests": Unit.REQUESTS,
    "concurrent": Unit.CONCURRENT,
}
_UNIT_LIST: Final = "usd (or $), images, image_tokens, tokens, requests, or concurrent"
_WINDOW_LIST: Final = "per second, minute, hour, day, week or month, or total"


def _take_unit(text: str, number: str, words: list[str], *, in_dollars: bool) -> Unit:
    """The unit, its words removed from the front of `words`."""
    if in_dollars:
        if words[:1] and _UNITS.get(words[0]) is Unit.USD:
            words.pop(0)
        return Unit.USD
    if not words:
        raise _refusal(text, f"it has the amount {number}, but not of what", '"20 images per minute"')
    if words[0] == "image" and words[1:2] in (["token"], ["tokens"]):
        words[:2] = ["image_tokens"]
    word = words.pop(0).replace("-", "_")
    unit = _UNITS.get(word)
    if unit is None:
        near = difflib.get_close_matches(word, _UNITS, n=1)
        meant = f' (did you mean "{near[0]}"?)' if near else ""
        problem = (
            f'it has the amount {number}, but "{_brief(word)}" is not a unit{meant}; units are {_UNIT_LIST}'
        )
        raise _refusal(text, problem, '"20 images per minute"')
    if unit is Unit.CONCURRENT and words[:1] and words[0] in {"request", "requests"}:
        words.pop(0)
    return unit


def _amount(text: str, whole: int, part: str, unit: Unit) -> int:
    """How much, in the unit that is stored, of a number's whole and decimal digits."""
    if unit is Unit.USD:
        if len(part) > _NANO_DIGITS:
            raise _refusal(
                text, "the smallest amount of money is a nano-dollar, nine decimals", '"$0.50 per day"'
            )
        amount, ceiling = (
            whole * NUSD_PER_USD + int(part.ljust(_NANO_DIGITS, "0")),
            MAX_AMOUNT_USD * NUSD_PER_USD,
        )
    else:
        if part:
            problem = f"{'requests' if unit is Unit.CONCURRENT else unit} are counted in whole numbers"
            raise _refusal(text, problem, '"20 images per minute" or "4 concurrent"')
        amount, ceiling = whole, MAX_COUNT
    if amount == 0:
        problem = "a limit of 0 would refuse every call; to forbid something, use allow, or remove the key"
        raise _refusal(text, problem, '"$1 per day"')
    if amount > ceiling:
        largest = f"${MAX_AMOUNT_USD}" if unit is Unit.USD else f"{MAX_COUNT} {unit}"
        raise _refusal(text, f"the amount is larger than the largest limit, {largest}", '"$500 per month"')
    return amount


def _window(text: str, amount: int, unit: Unit, words: list[str]) -> Window | None:
    """The window that the remaining words name."""
    if unit is Unit.CONCURRENT:
        if words:
            rest = _brief(" ".join(words))
            problem = f'"concurrent" counts requests at one moment, so "{rest}" has no meaning after it'
            raise _refusal(text, problem, f'"{amount} concurrent"')
        return None
    said = f"${_dollars(amount)}" if unit is Unit.USD else f"{amount} {unit}"
    match words:
        case []:
            raise _refusal(
                text, f"it says {said}, but not in what time", f'"{said} per day" or "{said} total"'
            )
        case ["total"] | ["in", "total"]:
            return Window.TOTAL
        case ["per" | "a" | "an" | "/", word] if word != "total" and word in frozenset(Window):
            return Window(word)
        case _:
            problem = f'it says {said}, but "{_brief(" ".join(words))}" is not a time; write {_WINDOW_LIST}'
            near = difflib.get_close_matches(words[-1], list(Window), n=1)
            window = near[0] if near and near[0] != Window.TOTAL else Window.DAY
            raise _refusal(text, problem, f'"{said} per {window}"')


_NANO_DIGITS: Final = 9
_SHOWN: Final = 60


def _dollars(nusd: int) -> str:
    """Nano-dollars as dollars: no decimals, or two, or as many as it needs."""
    whole, nano = divmod(nusd, NUSD_PER_USD)
    return f"{whole}.{f'{nano:09}'.rstrip('0').ljust(2, '0')}" if nano else str(whole)


def _brief(text: str) -> str:
    """A quotation no longer than a line."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _refusal(text: str, problem: str, good: str) -> ValueError:
    return ValueError(f'"{_brief(text)}" is not a limit: {problem}. A good one: {good}')
