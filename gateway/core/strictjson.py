"""
JSON that can be read in one way only.

A gateway that decides by a body and forwards its bytes must read what the upstream will read. So a repeated key,
which parsers resolve differently, is refused, and so is what is not JSON at all: NaN, a byte order mark, bytes
that are not UTF-8. Nothing else is judged.
"""

import json
from typing import NoReturn, Self

MAX_DEPTH = 128
"""Nesting of objects and arrays; OpenAI's deepest requests (tool schemas) stay far below."""
MAX_DIGITS = 40
"""Of an integer; the longest that means something is a 64-bit number of 20."""
MAX_CONTAINERS = 100_000
MAX_VALUES = 1_000_000
"""Objects and arrays, and values: a parser works for each of them while everybody else waits. Counted by their signs,
before anything is parsed, so signs inside strings count too; base64 has none of them."""


class Number(float):
    """A number that was written with a fraction, an exponent or a signed zero, as it was written: `1.0`, `1e0`."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        """The number of this JSON literal."""
        self = super().__new__(cls, text)
        self.text = text
        return self


class InvalidJsonError(ValueError):
    """The bytes are not JSON, or nested too deeply. The message says why, without quoting them."""


class RepeatedKeyError(ValueError):
    """An object has a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def loads(data: bytes) -> object:
    """
    The value that the bytes stand for.

    Raises:
        InvalidJsonError: not JSON.
        RepeatedKeyError: an object anywhere in it repeats a key.
    """
    if data.count(b"{") + data.count(b"[") > MAX_CONTAINERS or data.count(b",") > MAX_VALUES:
        raise InvalidJsonError(
            f"it has more than {MAX_CONTAINERS} objects and arrays, or {MAX_VALUES} values"
        )
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=Number,
        )
    except UnicodeDecodeError as error:
        raise InvalidJsonError(f"it is not valid UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise InvalidJsonError(f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise InvalidJsonError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    if _deeper_than(value, MAX_DEPTH):
        raise InvalidJsonError(f"it is nested deeper than {MAX_DEPTH} levels")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise RepeatedKeyError(key)
            seen.add(key)
    return result


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        # Converting takes time that grows with the square of the digits.
        raise InvalidJsonError("it has a number of too many digits")
    return int(text)


def _no_constant(name: str) -> NoReturn:
    raise InvalidJsonError(f"{name} is not JSON")


def _deeper_than(value: object, limit: int) -> bool:
    level: list[object] = [value]
    for _ in range(limit):
        below: list[object] = []
        for one in level:
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list):
                below.extend(one)
        level = [one for one in below if isinstance(one, dict | list)]
        if not level:
            return False
    return True
