"""
The kinds of values that settings have, each with its check and with what to write instead.

Not here: which setting has which kind (schema.py), rules over several settings (checks.py).
"""

import difflib
import ipaddress
import re
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, SecretStr

from gateway.core.limits import Limit, parse_limit
from gateway.core.routes import NAMES
from gateway.settings.addresses import FORMS, StoreAddress, parse_store_url
from gateway.settings.faults import WrongError


def _not_a_flag(value: object) -> object:
    """`port = true` is a mistake, though Python counts True as 1."""
    if isinstance(value, bool):
        raise WrongError("is not a number.", "Write a number without quotes.")
    return value


# Of anything that is counted: far above any use, and exact in every store.
_MOST: Final = 1_000_000_000_000_000

_number = BeforeValidator(_not_a_flag)
Port = Annotated[int, _number, Field(ge=0, le=65535)]
Positive = Annotated[int, _number, Field(ge=1, le=_MOST)]
Natural = Annotated[int, _number, Field(ge=0, le=_MOST)]
Seconds = Annotated[float, _number, Field(gt=0, le=_MOST, allow_inf_nan=False)]

_VISIBLE: Final = r"[!-~]+"


def _matching(pattern: str, problem: str, fix: str) -> AfterValidator:
    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise WrongError(problem, fix)
        return text

    return AfterValidator(check)


def _sendable(text: str) -> str:
    if re.fullmatch(_VISIBLE, text) is None:
        problem = "is empty, or has spaces, line ends or other signs that a header cannot carry."
        raise WrongError(problem, "Write it in visible ASCII characters, without spaces.")
    return text


def _hidden(check: Callable[[str], object]) -> AfterValidator:
    """A check of a text, for a secret."""

    def check_hidden(value: SecretStr) -> SecretStr:
        check(value.get_secret_value())
        return value

    return AfterValidator(check_hidden)


def _base_url(text: str) -> str:
    parts = _http_url(text)
    if parts.username is not None or parts.password is not None:
        raise WrongError("carries a user or password.", "Put the secret into upstream.api_key instead.")
    if parts.query or parts.fragment:
        raise WrongError(
            "carries a query or fragment.", "End the URL with its path, such as https://api.openai.com/v1."
        )
    return text.rstrip("/")


def _http_url(text: str, example: str = "https://api.openai.com/v1 or http://127.0.0.1:9000") -> SplitResult:
    fix = f"Write a full URL, such as {example}."
    try:
        parts = urlsplit(text)
    except ValueError:
        raise WrongError("is not a URL.", fix) from None
    if parts.scheme not in {"http", "https"}:
        raise WrongError("does not begin with http:// or https://.", fix)
    try:
        readable = parts.port is None or parts.port > 0
    except ValueError:
        readable = False
    if not readable:
        raise WrongError("has a port that is not a number from 1 to 65535.", fix)
    if not parts.hostname or re.fullmatch(_VISIBLE, text) is None:
        raise WrongError("has no host that can be read.", fix)
    return parts


def _proxy_url(text: str) -> SplitResult:
    return _http_url(text, "http://proxy.example:3128 or http://user:password@proxy.example:3128")


def _store(value: object) -> StoreAddress:
    if isinstance(value, StoreAddress):
        return value
    if not isinstance(value, str):
        raise WrongError("is not a text.", FORMS)
    return parse_store_url(value)


def _limit(value: object) -> Limit:
    if isinstance(value, Limit):
        return value
    if not isinstance(value, str):
        raise WrongError(
            "is not a text.", 'Write limits as texts: limits = ["$500 per month", "4 concurrent"].'
        )
    try:
        return parse_limit(value)
    except ValueError as refusal:
        _, _, why = str(refusal).partition(" is not a limit: ")
        problem, _, good = why.partition(". A good one: ")
        raise WrongError(f"is not a limit: {problem}.", f"Write it like {good}.") from None


# images.*, conversations.*, conversations.items.* and so on.
_ROUTE_GLOBS: Final = tuple(dict.fromkeys(f"{name.rpartition('.')[0]}.*" for name in NAMES))


def _route(text: str) -> str:
    if not any(fnmatchcase(name, text) for name in NAMES):
        known = _ROUTE_GLOBS if "*" in text else NAMES
        near = difflib.get_close_matches(text, known, n=1)
        meant = f'Did you mean "{near[0]}"? ' if near else ""
        raise WrongError(
            "is not a route.", f"{meant}Routes are {', '.join(NAMES)}; globs such as files.* work."
        )
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        fix = "Write an address or a network with no bits below its mask, such as 10.0.0.1 or 10.0.0.0/8."
        raise WrongError("is neither an IP address nor a network.", fix) from None


def _timezone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = {name.lower(): name for name in zoneinfo.available_timezones()}
        near = difflib.get_close_matches(text.lower(), known, n=1)
        meant = f'Did you mean "{known[near[0]]}"? ' if near else ""
        raise WrongError(
            "is not a known time zone.", f"{meant}Write a name such as UTC or Europe/Berlin."
        ) from None
    return text


def _instant(value: object) -> datetime:
    fix = "Write date, time and offset without quotes: 2027-01-31T00:00:00Z or 2027-01-31T00:00:00+01:00."
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise WrongError("is not a date with time.", fix) from None
    if not isinstance(value, datetime):
        raise WrongError("is not a date with time.", fix)
    if value.tzinfo is None:
        raise WrongError("has no offset, so it could be any of two dozen instants.", fix)
    return value


Id = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9._-]{1,128}",
        "is not an id.",
        "Write 1 to 128 characters out of letters, digits, dot, underscore and hyphen.",
    ),
]
Digest = Annotated[
    str,
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    _matching(
        r"[0-9a-f]{64}",
        "is not a SHA-256 digest in hexadecimal.",
        "Write its 64 digits, as `printf %s SECRET | sha256sum` prints them; or write the secret as secret = ...",
    ),
]
Word = Annotated[str, AfterValidator(_sendable)]
Secret = Annotated[SecretStr, _hidden(_sendable)]
Host = Annotated[
    str,
    _matching(
        r"[A-Za-z0-9.:_%-]+",
        "is not a host.",
        "Write an address or a name to listen on, such as 127.0.0.1.",
    ),
]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
ProxyUrl = Annotated[SecretStr, _hidden(_proxy_url)]
StoreUrl = Annotated[StoreAddress, PlainValidator(_store), PlainSerializer(str)]
Limits = tuple[Annotated[Limit, PlainValidator(_limit), PlainSerializer(lambda limit: limit.text)], ...]
RoutePattern = Annotated[str, AfterValidator(_route)]
Network = Annotated[str, AfterValidator(_network)]
TimeZone = Annotated[str, AfterValidator(_timezone)]
Instant = Annotated[datetime, PlainValidator(_instant)]
Unpriced = Annotated[
    str,
    _matching(
        r"family|refuse|as:[!-~]+",
        "is no rule for unpriced models.",
        'Write "family", "refuse" or "as:MODEL".',
    ),
]
