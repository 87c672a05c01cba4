"""
May an answer be kept, for how long, and may it be given again.

What is promised: one request, one result, as long as the entry lives, among those who share it. So a call may be
answered from the cache if its result depends on nothing but itself, and an answer may be kept if it is complete.
Every no has a reason, in the word that `Cache-Status` shows.

Instants are epoch seconds and come in as `now`.

Not here: who shares an answer, and when two calls are the same (cachekey.py); the client's say (cachecontrol.py).
"""

import re
from calendar import monthrange, timegm
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from gateway.core.cachecontrol import Directives
from gateway.core.call import IMAGE_TOOL, Call
from gateway.core.catalog import Catalog
from gateway.core.contents import Contents
from gateway.core.multipart import Form
from gateway.core.observation import End, Ending, Observation

LINK_MARGIN_S: Final = 300.0
"""What a signed link must have left when it is given last: its reader has to fetch the picture yet."""
RESPONSE_S: Final = 29 * 86_400.0
"""The longest life of an answer of the Responses API: the upstream keeps what its id names for 30 days at least."""

_IMAGES: Final = frozenset({"images.generations", "images.edits", "images.variations"})
_RESPONSES: Final = "responses.create"
_PICTURES: Final = frozenset({"image", "images", "mask", "markup"})
"""Fields of an Images call that bring pictures."""
_UNSEEN: Final = frozenset({"metadata"})
"""Fields that nobody follows a link in: they are echoed."""
_INSTANT = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:T(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:\.[0-9]+)?)?Z)?"
)
"""The end of an Azure signature (`se`): ISO 8601, UTC."""


class Reason(Enum):
    """Why a call goes past the cache, or its answer is not kept. The values are tokens of RFC 9651."""

    NO_STORE = "no-store"
    """The client wants it so."""
    ROUTE = "route"
    """Answers of this route are not kept."""
    REMOTE_URL = "remote-url"
    """A picture is fetched from elsewhere, and may be another one tomorrow."""
    PREVIOUS_RESPONSE = "previous_response_id"
    CONVERSATION = "conversation"
    """Its items become part of the conversation."""
    BACKGROUND = "background"
    TOOLS = "tools"
    """There are others than the image tool: their results come from elsewhere."""
    PROMPT_VERSION = "prompt-version"
    """A stored prompt that may be another one tomorrow."""
    TEMPERATURE = "temperature"
    """Words alone, and not the likeliest ones."""

    ERROR = "error"
    """The upstream answered an error."""
    CUT = "cut"
    FAILED = "failed"
    INCOMPLETE = "incomplete"
    FEWER_IMAGES = "fewer-images"
    """Than were asked for, or begun."""
    UNREADABLE = "unreadable"
    """It cannot be told whether it is complete."""
    LINK = "link"
    """A picture lies behind a link of which nobody knows how long it leads there, or not for long enough."""
    TOO_LARGE = "too-large"
    """`cache.max_entry_bytes`."""
    STORE = "store"
    """The store had no room for it, or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator decided."""

    ttl_s: float
    alias_ttl_s: float
    stale_if_error_s: float
    max_entry_bytes: int
    trust_remote_urls: bool


def why_bypass_json(call: Call, body: Mapping[str, object], *, trust_remote_urls: bool) -> Reason | None:
    """
    Why a call with a JSON body goes past the cache; None: its answer may be kept and given again.

    Args:
        call: as it was read.
        body: the whole of it.
        trust_remote_urls: `cache.trust_remote_urls`.
    """
    route = call.match.route.name
    if route not in _IMAGES and route != _RESPONSES:
        return Reason.ROUTE
    seen = {name: value for name, value in body.items() if name not in _UNSEEN}
    if not trust_remote_urls and _is_fetched(seen, pictures=False, of_images=route in _IMAGES):
        return Reason.REMOTE_URL
    return _why_bypass_response(call, body) if route == _RESPONSES else None


def why_bypass_form(call: Call, form: Form, *, trust_remote_urls: bool) -> Reason | None:
    """As `why_bypass_json`, for a form. Its pictures are in it, unless a field is named after a URL."""
    if call.match.route.name not in _IMAGES:
        return Reason.ROUTE
    if not trust_remote_urls and any("url" in part.name.lower() for part in form.parts):
        return Reason.REMOTE_URL
    return None


def moves(call: Call, catalog: Catalog) -> bool:
    """Whether a model behind a name may be another one tomorrow, or is not named: defaults move."""
    asks = call.images
    names = [call.model, *(named.value for named in call.authors)]
    if not call.match.route.name.startswith("images."):
        names += (ask.model for ask in asks)
    # Who writes an SVG is a default as well.
    unnamed = sum(ask.output_format == "svg" for ask in asks) > len(call.authors)
    return unnamed or any(name is None or catalog.may_move(name) for name in names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """How long an answer may be given again."""

    kept_at: float
    """Epoch seconds."""
    ttl_s: float
    """Seconds from then on in which it is fresh."""
    most_s: float | None = None
    """Seconds from then on after which it is not given even in place of an error: what it names is gone."""

    def age_s(self, now: float) -> float:
        """Never less than 0: clocks of two machines differ."""
        return max(0.0, now - self.kept_at)

    def left_s(self, now: float) -> float:
        """Of the time in which it is fresh; negative once that is over."""
        return self.ttl_s - self.age_s(now)

    def useful_s(self, stale_if_error_s: float) -> float:
        """Seconds for which a store should hold it."""
        longest = self.ttl_s + stale_if_error_s
        return longest if self.most_s is None else min(longest, self.most_s)


def keep(
    call: Call, seen: Observation, contents: Contents, *, rules: Rules, catalog: Catalog, now: float
) -> Life | Reason:
    """
    The life of an answer, or why it is not kept.

    Args:
        call: that may be answered from the cache.
        seen: what was seen of its answer, to the end.
        contents: what lies where in it; of a Responses call only the size matters.
        rules: the operator's.
        catalog: tells which names move.
        now: epoch seconds.
    """
    reason = _why_not_keep(call, seen, contents)
    if reason is not None:
        return reason
    if contents.size > rules.max_entry_bytes:
        return Reason.TOO_LARGE
    most_s = RESPONSE_S if call.match.route.name == _RESPONSES else None
    if contents.links:
        until = links_until(contents.links)
        most_s = 0.0 if until is None else until - LINK_MARGIN_S - now
        if most_s <= 0:
            return Reason.LINK
    ttl_s = rules.alias_ttl_s if moves(call, catalog) else rules.ttl_s
    return Life(kept_at=now, ttl_s=ttl_s if most_s is None else min(ttl_s, most_s), most_s=most_s)


def links_until(links: Iterable[str]) -> float | None:
    """
    Until when all of these signed links lead somewhere, epoch seconds; None where one of them does not say.

    Source: `se` of an Azure shared access signature, as OpenAI's links have it.
    """
    ends = [_signed_until(link) for link in links]
    known = [end for end in ends if end is not None]
    return min(known) if known and len(known) == len(ends) else None


class Verdict(Enum):
    """What an entry is good for, for one request."""

    FRESH = "fresh"
    """It may be given."""
    STALE = "stale"
    """It may be given if the upstream cannot answer."""
    UNWANTED = "unwanted"
    """It is fresh, but the client wants a newer one."""
    EXPIRED = "expired"


def judge(life: Life, directives: Directives, now: float, *, stale_if_error_s: float) -> Verdict:
    """
    What an entry is good for.

    Args:
        life: the entry's.
        directives: the client's.
        now: epoch seconds.
        stale_if_error_s: seconds past its life in which it may stand in for an error.
    """
    age_s = life.age_s(now)
    is_fresh = age_s < life.ttl_s
    too_old = directives.max_age_s is not None and age_s >= directives.max_age_s
    if too_old or not directives.may_look_up:
        return Verdict.UNWANTED if is_fresh else Verdict.EXPIRED
    if is_fresh:
        return Verdict.FRESH
    return Verdict.STALE if age_s < life.useful_s(stale_if_error_s) else Verdict.EXPIRED


def is_upstream_error(status: int | None) -> bool:
    """Whether a stale entry may stand in: no answer (None), or one that says the upstream is at fault."""
    return status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _why_bypass_response(call: Call, body: Mapping[str, object]) -> Reason | None:
    if body.get("previous_response_id") is not None:
        return Reason.PREVIOUS_RESPONSE
    if body.get("conversation") is not None:
        return Reason.CONVERSATION
    if call.background:
        return Reason.BACKGROUND
    if any(tool.value != IMAGE_TOOL for tool in call.tools):
        return Reason.TOOLS
    prompt = body.get("prompt")
    if prompt is not None and not (isinstance(prompt, dict) and _is_said(prompt.get("version"))):
        return Reason.PROMPT_VERSION
    if not call.tools and not _is_zero(body.get("temperature")):
        return Reason.TEMPERATURE
    return None


def _is_said(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _is_fetched(value: object, *, pictures: bool, of_images: bool) -> bool:
    """
    Whether a link is in it that the upstream would follow.

    A link is what a field holds that is named after one; of an Images call also what stands where a picture should.
    Depth is bounded by the strict reader of request bodies.
    """
    match value:
        case dict():
            return any(
                (isinstance(one, str) and name.lower().endswith("url") and not _is_inline(one))
                or _is_fetched(
                    one, pictures=pictures or (of_images and name in _PICTURES), of_images=of_images
                )
                for name, one in value.items()
            )
        case list():
            return any(_is_fetched(one, pictures=pictures, of_images=of_images) for one in value)
        case str():
            return pictures and value[:8].lower().startswith(("http://", "https://"))
        case _:
            return False


def _is_inline(link: str) -> bool:
    return link[:5].lower() == "data:"


def _why_not_keep(call: Call, seen: Observation, contents: Contents) -> Reason | None:
    if seen.ending is not Ending.CLEAN or seen.status is None:
        return Reason.CUT
    if not HTTPStatus.OK <= seen.status < HTTPStatus.MULTIPLE_CHOICES:
        return Reason.ERROR
    if seen.end is End.FAILED or seen.code is not None:
        return Reason.FAILED
    if seen.stream and seen.end is not End.COMPLETED:
        return Reason.INCOMPLETE
    if not seen.stream and not seen.whole:
        return Reason.UNREADABLE
    if call.match.route.name == _RESPONSES:
        return _why_not_keep_response(seen)
    if not seen.stream and not (seen.lists_images and contents.readable):
        return Reason.UNREADABLE
    asked = max((one.n or 1 for one in call.images), default=1)
    return Reason.FEWER_IMAGES if len(seen.finished) < asked else None


def _why_not_keep_response(seen: Observation) -> Reason | None:
    match seen.response_status:
        case "completed":
            return Reason.FEWER_IMAGES if len(seen.finished) < len(seen.images) else None
        case "failed" | "cancelled":
            return Reason.FAILED
        case _:
            return Reason.INCOMPLETE


def _signed_until(link: str) -> float | None:
    try:
        said = parse_qs(urlsplit(link).query, max_num_fields=100).get("se", [])
    except ValueError:
        return None
    found = _INSTANT.fullmatch(said[0]) if len(said) == 1 else None
    if found is None:
        return None
    year, month, day, hour, minute, second = (
        int(found[name] or 0) for name in ("year", "month", "day", "hour", "minute", "second")
    )
    if not (year and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]):  # noqa: PLR2004 - months of a year
        return None
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004 - a clock's
        return None
    return float(timegm((year, month, day, hour, minute, second)))
