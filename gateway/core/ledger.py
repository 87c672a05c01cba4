"""
What the ledger is asked, and what it answers: filters, pages, groups, sums.

Decided here: the order of the ledger (newest first, by time of arrival and then id), what a cursor is, what may stand
in `by`, what is summed, which of two records of one call stands, and what becomes of a call whose process died.
Every adapter follows these, so that they agree.

Not here: where days begin (the Calendar port says), how rows are kept (adapters), how JSON shows a record (web/admin).
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from typing import Any, Final

import orjson

from gateway.core.call import Call
from gateway.core.record import CacheUse, Line, Outcome, Record, Role, TokensFrom
from gateway.core.units import NanoUSD, usd_text

DAY: Final = "day"
GROUPS: Final = ("team", "key", "model", DAY)
TAG: Final = "tag:"
MOST_GROUPS: Final = 8
"""Names in one `by`: more than there are tags to a request make no sense."""
_MICROS: Final = 1_000_000


def micros(at: float) -> int:
    """Epoch seconds as whole microseconds: as exact as the ledger is."""
    return round(at * _MICROS)


def seconds(at_us: int) -> float:
    """Epoch microseconds as seconds."""
    return at_us / _MICROS


# What is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFilter:
    """Which records. None: any."""

    team: str | None = None
    key: str | None = None
    model: str | None = None
    outcome: Outcome | None = None
    since: float | None = None
    """Epoch seconds of arrival, the first that counts."""
    until: float | None = None
    """Epoch seconds of arrival, the first that counts no more."""

    def takes(self, record: Record) -> bool:
        """Whether the record is one of these."""
        at = micros(record.at)
        return (
            (self.team is None or record.team == self.team)
            and (self.key is None or record.key == self.key)
            and (self.model is None or record.model == self.model)
            and (self.outcome is None or record.outcome is self.outcome)
            and (self.since is None or at >= micros(self.since))
            and (self.until is None or at < micros(self.until))
        )


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A record's place in the ledger. The ledger shows the greatest first."""

    at_us: int
    id: str

    def cursor(self) -> str:
        """What a client sends to go on after this place: `[A-Za-z0-9_-]+`, not to be looked into."""
        return urlsafe_b64encode(f"{self.at_us}.{self.id}".encode()).decode("ascii").rstrip("=")


def place_of(record: Record) -> Place:
    """Where the ledger shows it."""
    return Place(micros(record.at), record.id)


def place_after(cursor: str) -> Place:
    """
    The place that a cursor stands for.

    Raises:
        ValueError: it is no cursor of ours.
    """
    try:
        text = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("utf-8")
        at, _, id_ = text.partition(".")
        place = Place(int(at), id_)
    except ValueError:  # UnicodeError and binascii.Error are kinds of it
        place = None
    # Only the form that we write: what else decodes to the same place was not ours.
    if place is None or place.cursor() != cursor or abs(place.at_us) >= 1 << 63:
        raise ValueError("This cursor is not one that we gave. Start without one.")
    return place


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of the ledger, newest first."""

    records: tuple[Record, ...]
    next_cursor: str | None
    """To go on; None: there is no more."""


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day: its date, and the epoch seconds in which it begins and ends (exclusive)."""

    name: str
    start: float
    end: float


def grouping(text: str) -> tuple[str, ...]:
    """
    What to group usage by: `team,key,model,day,tag:NAME`, any of them, in the order given, once each.

    Raises:
        ValueError: a name that means nothing, or too many of them; the message says which.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in GROUPS and not (name.startswith(TAG) and len(name) > len(TAG)):
            known = ", ".join(GROUPS)
            raise ValueError(f"Usage cannot be grouped by '{name[:80]}'. Use any of {known}, {TAG}NAME.")
    if len(names) > MOST_GROUPS:
        raise ValueError(f"Usage can be grouped by {MOST_GROUPS} names at most; these are {len(names)}.")
    return names


# What is answered

SUMS: Final = {
    "images": "images",
    "partial_images": "partial_images_delivered",
    "output_image_tokens": "output_image_tokens",
    "partial_image_tokens": "partial_image_tokens",
    "input_text_tokens": "input_text_tokens",
    "input_image_tokens": "input_image_tokens",
    "output_text_tokens": "output_text_tokens",
    "cost_nusd": "cost_nusd",
    "saved_nusd": "saved_nusd",
}
"""What a row of usage sums -> the field of a record that it sums; `requests` and `hits` are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """What the records of one group came to."""

    group: tuple[str | None, ...] = ()
    """A value for each name in `by`; None: the records have none."""
    requests: int = 0
    hits: int = 0
    images: int = 0
    """Delivered, those of hits included."""
    partial_images: int = 0
    """Likewise."""
    output_image_tokens: int = 0
    partial_image_tokens: int = 0
    input_text_tokens: int = 0
    input_image_tokens: int = 0
    output_text_tokens: int = 0
    cost_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - an int by another name
    saved_nusd: NanoUSD = NanoUSD(0)  # noqa: RUF009 - likewise

    def told(self, by: Sequence[str]) -> dict[str, object]:
        """The row as JSON and CSV have it: the groups by name, the counts, money as decimal strings of USD."""
        counts: dict[str, object] = {name: getattr(self, name) for name in COUNTS}
        money = {"cost_usd": usd_text(self.cost_nusd), "saved_usd": usd_text(self.saved_nusd)}
        return dict(zip(by, self.group, strict=True)) | counts | money


COUNTS: Final = tuple(
    field.name for field in fields(UsageRow) if field.name not in {"group", "cost_nusd", "saved_nusd"}
)
TOLD: Final = (*COUNTS, "cost_usd", "saved_usd")
"""What every row of usage tells besides its groups, in order."""


def group_of(record: Record, by: Sequence[str], days: Sequence[Day]) -> tuple[str | None, ...] | None:
    """
    The group that a record belongs to.

    Args:
        record: to be counted.
        by: as `grouping` gives it.
        days: oldest first, without gaps; only asked where `by` has the day.

    Returns:
        None: it lies outside the days, and is not counted.
    """
    found: list[str | None] = []
    for name in by:
        match name:
            case "team":
                found.append(record.team)
            case "key":
                found.append(record.key)
            case "model":
                found.append(record.model)
            case "day":
                number = bisect_right(days, micros(record.at), key=lambda day: micros(day.start)) - 1
                if number < 0 or micros(record.at) >= micros(days[number].end):
                    return None
                found.append(days[number].name)
            case _:
                found.append(dict(record.tags).get(name.removeprefix(TAG)))
    return tuple(found)


def summed(records: Iterable[Record], by: Sequence[str], days: Sequence[Day] = ()) -> list[UsageRow]:
    """
    What the records come to, a row for each group, ordered by group, what has none first.

    Without groups it is one row, of nothing too.
    """
    rows: dict[tuple[str | None, ...], UsageRow] = {} if by else {(): UsageRow()}
    for record in records:
        group = group_of(record, by, days)
        if group is None:
            continue
        row = rows.get(group) or UsageRow(group=group)
        rows[group] = replace(
            row,
            requests=row.requests + 1,
            hits=row.hits + (record.cache is CacheUse.HIT),
            **{name: getattr(row, name) + getattr(record, field) for name, field in SUMS.items()},
        )
    return sorted(rows.values(), key=_in_order)


def combined(parts: Iterable[UsageRow]) -> list[UsageRow]:
    """What several sums come to together, in the order of `summed`."""
    rows: dict[tuple[str | None, ...], UsageRow] = {}
    for part in parts:
        row = rows.get(part.group)
        figures = (*COUNTS, "cost_nusd", "saved_nusd")
        more = {} if row is None else {name: getattr(row, name) + getattr(part, name) for name in figures}
        rows[part.group] = replace(part, **more)
    return sorted(rows.values(), key=_in_order)


def _in_order(row: UsageRow) -> list[tuple[bool, str]]:
    return [(value is not None, value or "") for value in row.group]


# Which record stands


class Verdict(Enum):
    """What became of a settlement."""

    WRITTEN = "written"
    """It is the record of the call."""
    CORRECTED = "corrected"
    """It took the place of one that was lost or estimated; that one's id and time of arrival stay."""
    REPEATED = "repeated"
    """The call had its record already, and that one stands."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What stands in the ledger once a record was given to it."""

    verdict: Verdict
    record: Record
    """The one that stands."""
    before: Record | None = None
    """The one that stood before, where there was one."""


def settles(record: Record) -> str | None:
    """
    The id of the upstream's response that this record pays for; None: none, or another record does.

    Hits and joined calls show a response that somebody else paid for.
    """
    return None if record.cache in {CacheUse.HIT, CacheUse.COLLAPSED} else record.response_id


def is_provisional(record: Record) -> bool:
    """
    Whether the truth may still come and take its place: it was lost, or estimated though its response has an id.

    Such a response may be shown later, with what it reports.
    """
    return record.outcome is Outcome.LOST or (
        record.tokens_from is TokensFrom.ESTIMATED and settles(record) is not None
    )


def settled(before: Record | None, new: Record) -> Settlement:
    """
    Which record stands.

    What was lost gives way to any other end; what was estimated, once, to what its own response reports.

    Args:
        before: the one with the same id, or else the one that pays for the same response; None: there is none.
        new: the one given.
    """
    if before is None:
        return Settlement(Verdict.WRITTEN, new)
    is_known = new.outcome is not Outcome.LOST
    is_reported = new.tokens_from is TokensFrom.REPORTED and settles(new) == settles(before) is not None
    if is_known and (before.outcome is Outcome.LOST or (is_provisional(before) and is_reported)):
        return Settlement(Verdict.CORRECTED, replace(new, id=before.id, at=before.at), before)
    return Settlement(Verdict.REPEATED, before, before)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCall:
    """
    A call that has no record yet: what is known of it, so that it is never forgotten.

    One with a `response_id` in its record runs in the background of the upstream: it is polled by its worker, or by
    the one that adopts it, until its deadline. Any other one ends with its worker.
    """

    record: Record
    """As it would be if the call were lost now: `core.settle.lost` of its estimate is in it."""
    dispatched: bool = False
    """Whether the request may have gone up: from then on it costs something."""
    deadline: float | None = None
    """Epoch seconds after which it counts as lost, whoever looks after it."""
    worker: str | None = None
    """Who looks after it; filled in by the ledger."""
    call: Call | None = None
    """What was asked, of one in the background (`core.remembered`), so that whoever sees its end can settle it."""


def lost(call: OpenCall, now: float) -> Record:
    """
    The record of a call that nobody can settle any more.

    It is charged as it was noted if it may have reached the upstream, which most likely did the work, else not at all.
    """
    known = call.record
    over = replace(known, outcome=Outcome.LOST, duration_ms=max(0.0, round((now - known.at) * 1000, 3)))
    if not call.dispatched:
        return _emptied(over)
    return over if known.lines or not known.reserved_nusd else _in_one_line(over)


def _emptied(record: Record) -> Record:
    return replace(
        record,
        lines=(),
        cost_nusd=NanoUSD(0),
        tokens_from=TokensFrom.NONE,
        priced_as=None,
        input_text_tokens=0,
        input_image_tokens=0,
        cached_input_tokens=0,
        output_image_tokens=0,
        partial_image_tokens=0,
        output_text_tokens=0,
    )


def _in_one_line(record: Record) -> Record:
    """Charged as reserved; an older version, which may still run beside this one, noted no more than that."""
    role = Role.MAIN if (record.route or "").startswith("responses") else Role.IMAGE
    cost = record.reserved_nusd
    line = Line(model=record.model or "", role=role, cost_nusd=cost)
    return replace(record, lines=(line,), cost_nusd=cost, tokens_from=TokensFrom.ESTIMATED)


# A record as plain values, for stores

UNKEPT: Final = frozenset({"refused_by"})
"""What a record says to the log and the metrics only."""
FIELDS: Final = tuple(field.name for field in fields(Record) if field.name not in UNKEPT)
_MOST: Final = 2**63 - 1
_ENUMS: Final[dict[str, type[Enum]]] = {"outcome": Outcome, "cache": CacheUse, "tokens_from": TokensFrom}


def flat(record: Record) -> dict[str, object]:
    """A record as values of JSON, every field that is kept by name, every text fit for UTF-8; `at` stays epoch seconds."""
    plain: dict[str, object] = {name: _fit(getattr(record, name)) for name in FIELDS}
    plain |= {name: getattr(record, name).value for name in _ENUMS}
    plain["tags"] = [[_fit(name), _fit(value)] for name, value in record.tags]
    plain["lines"] = [
        asdict(line) | {"model": _fit(line.model), "role": line.role.value} for line in record.lines
    ]
    return plain


def _fit(value: object) -> object:
    """Half a surrogate pair, or a number beyond 64 bits, must not keep a record from being written."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int) and not -_MOST <= value <= _MOST:
        return _MOST if value > 0 else -_MOST
    return value


def from_flat(plain: Mapping[str, Any]) -> Record:
    """
    The record that `flat` made this of.

    Args:
        plain: from a store of ours; typed as Any because it was JSON or SQL, and it was a record before that. Fields
            that are missing have their defaults: an older version wrote it. Fields it does not know are left.
    """
    known = {name: plain[name] for name in FIELDS if name in plain}
    known |= {name: kind(plain[name]) for name, kind in _ENUMS.items() if name in plain}
    known["tags"] = tuple((name, value) for name, value in plain.get("tags", ()))
    known["lines"] = tuple(Line(**(line | {"role": Role(line["role"])})) for line in plain.get("lines", ()))
    return Record(**known)


def dumps(record: Record) -> bytes:
    """A record as JSON, for a store to keep."""
    return orjson.dumps(flat(record))


def loads(text: bytes | str) -> Record:
    """The record that `dumps` wrote."""
    return from_flat(orjson.loads(text))
