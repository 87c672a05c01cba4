"""
What a client asks of the cache, and what the cache says of itself.

Asked by `Cache-Control` (RFC 9111 §5.2.1): `no-store`, `no-cache`, `max-age=`, `only-if-cached`; what else is in it means
nothing here. A value may be quoted or not, whatever the directive's grammar is (§5.2); said twice, the stricter one
holds; a `max-age` that is no number lets nothing be young enough.

Said by `Cache-Status` (RFC 9211), a structured field (RFC 9651), and `Age` (RFC 9111 §5.1).

Not here: whether an answer may be kept or given (freshness.py).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from math import floor
from typing import Final

from gateway.core.headers import Header

CACHE: Final = "imagegate"
"""What this cache calls itself."""
MOST_SECONDS: Final = 1 << 31
"""What a larger number of seconds stands for (RFC 9111 §1.2.2)."""

_CACHE_CONTROL = b"cache-control"
_STOP = re.compile(rb'[,"]')
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
"""RFC 9651 §3.3.4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """What one request asks of the cache."""

    no_store: bool = False
    """Neither look for an answer nor keep it."""
    no_cache: bool = False
    """Make a new one, and keep that."""
    max_age_s: int | None = None
    """Give only an answer younger than this."""
    only_if_cached: bool = False
    """Make none."""

    @property
    def may_look_up(self) -> bool:
        """Whether a kept answer may be given."""
        return not self.no_store and not self.no_cache

    @property
    def may_follow(self) -> bool:
        """Whether an answer may be given that is being made for somebody else: it has begun before this request."""
        return self.may_look_up and self.max_age_s != 0


def read(headers: Iterable[Header]) -> Directives:
    """
    The directives of a request.

    Args:
        headers: names in lower case; several lines are one list.
    """
    no_store = no_cache = only_if_cached = False
    max_age_s: int | None = None
    for name, value in headers:
        if name != _CACHE_CONTROL:
            continue
        for element in _elements(value):
            directive, equals, argument = element.partition(b"=")
            match directive.strip(b" \t").lower():
                case b"no-store":
                    no_store = True
                case b"no-cache":
                    no_cache = True
                case b"only-if-cached":
                    only_if_cached = True
                case b"max-age":
                    seconds = _seconds(argument) if equals else 0
                    max_age_s = seconds if max_age_s is None else min(max_age_s, seconds)
                case _:
                    pass
    return Directives(
        no_store=no_store, no_cache=no_cache, max_age_s=max_age_s, only_if_cached=only_if_cached
    )


class Forward(Enum):
    """Why a request went up (RFC 9211 §2.2)."""

    BYPASS = "bypass"
    """Its answers are not kept; the detail says why."""
    MISS = "miss"
    """There was no answer."""
    STALE = "stale"
    """There was one, past its life."""
    REQUEST = "request"
    """The client did not want a kept one, or none of that age."""


def hit(ttl_s: float, *, detail: str | None = None) -> Header:
    """
    `imagegate; hit; ttl=…`.

    Args:
        ttl_s: what is left of the entry's life.
        detail: in a word.
    """
    return _status("hit", f"ttl={_whole(ttl_s)}", *(() if detail is None else (f"detail={_word(detail)}",)))


def forwarded(
    why: Forward,
    *,
    status: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    ttl_s: float | None = None,
    detail: str | None = None,
) -> Header:
    """
    `imagegate; fwd=…`: the call went up, or another one that this one followed.

    Args:
        why: it did.
        status: what the upstream answered, where that is not what the client is given.
        stored: its answer is kept now.
        collapsed: it followed another call.
        ttl_s: of the entry that was given because the upstream failed: negative.
        detail: in a word.
    """
    said = [f"fwd={why.value}"]
    if status is not None:
        said.append(f"fwd-status={status}")
    if ttl_s is not None:
        said.append(f"ttl={_whole(ttl_s)}")
    if stored:
        said.append("stored")
    if collapsed:
        said.append("collapsed")
    if detail is not None:
        said.append(f"detail={_word(detail)}")
    return _status(*said)


def age(age_s: float) -> Header:
    """`Age`: whole seconds since the answer was kept."""
    return (b"age", str(min(max(0, floor(age_s)), MOST_SECONDS)).encode("ascii"))


def _elements(value: bytes) -> Iterator[bytes]:
    """
    The elements of a list: a comma in a quoted string ends none.

    A quote that is not closed is a sign like any other, so that it hides no directive. Each byte is read twice at most.
    """
    start = at = 0
    closes = True
    while (found := _STOP.search(value, at)) is not None:
        at = found.end()
        if found[0] == b",":
            yield value[start : found.start()]
            start = at
        elif closes:
            quoted = _QUOTED.match(value, found.start())
            closes = quoted is not None
            at = at if quoted is None else quoted.end()
    yield value[start:]


def _seconds(argument: bytes) -> int:
    """RFC 9111 §4.2.1: what is not a number makes an answer stale."""
    if _QUOTED.fullmatch(argument.strip(b" \t")):
        argument = _ESCAPED.sub(rb"\1", argument.strip(b" \t")[1:-1])
    digits = argument.rstrip(b" \t")
    if not digits.isdigit():
        return 0
    # Converting takes time that grows with the square of the digits.
    significant = digits.lstrip(b"0")
    return (
        MOST_SECONDS
        if len(significant) > len(str(MOST_SECONDS))
        else min(int(significant or b"0"), MOST_SECONDS)
    )


def _status(*parameters: str) -> Header:
    return (b"cache-status", "; ".join((CACHE, *parameters)).encode("ascii"))


def _whole(seconds: float) -> int:
    return max(-MOST_SECONDS, min(floor(seconds), MOST_SECONDS))


def _word(text: str) -> str:
    """A token where it is one, else a string of what a string can hold (RFC 9651 §3.3.3)."""
    if _TOKEN.fullmatch(text):
        return text
    printable = "".join(sign if " " <= sign <= "~" else "?" for sign in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
