"""
Records and open calls as they are kept, and back. What a field means is the record's own business.

What the scripts look at lies before the rest, as texts: Lua would round numbers that it reads from JSON. How each is made
up is told in lua/settlement.lua and lua/ledger.lua. What has its default is not kept.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from gateway.adapters.redis.scripts import Value
from gateway.core import remembered
from gateway.core.call import Call
from gateway.core.ledger import OpenCall, flat, from_flat, micros, seconds, settles
from gateway.core.leftovers import Care
from gateway.core.quota import Amounts
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.core.units import NanoUSD

SEP: Final = "\x1f"
"""Between the parts of a name; the names of scopes have no such sign."""
_DIGITS: Final = 20
_OFFSET: Final = 1 << 63
"""So that instants before 1970 are ordered as well."""
_TOKEN: Final = 8
"""Its place in the head of a record."""
_APART: Final = frozenset({"id", "at", "response_id"})
_DEFAULTS: Final = {
    name: value
    for name, value in flat(Record(id="", at=0, method="", outcome=Outcome.COMPLETED, duration_ms=-1)).items()
    if name not in {"method", "outcome", "duration_ms"}
}


def at_text(at_us: int) -> str:
    """An instant as a text that sorts as it does: 20 digits."""
    return f"{at_us + _OFFSET:0{_DIGITS}d}"


def at_of(text: str) -> int:
    """The instant that `at_text` wrote, epoch microseconds."""
    return int(text) - _OFFSET


def digest(response: str | None) -> str:
    """A response's id as 32 signs of the same length, to be searched for; empty: none."""
    return "" if not response else hashlib.sha256(response.encode()).hexdigest()[:32]


def pairs(kept: Iterable[bytes] | Mapping[bytes, bytes]) -> dict[str, bytes]:
    """Names and values: a script gives them one after the other, redis-py makes a dictionary of them."""
    if isinstance(kept, Mapping):
        return {name.decode(): value for name, value in kept.items()}
    ends = iter(kept)
    return {name.decode(): value for name, value in zip(ends, ends, strict=True)}


# Records


def to_head(record: Record, token: str, day_us: int | None = None, images: int = 0) -> bytes:
    """
    What lua/settlement.lua looks at.

    Args:
        record: to be written.
        token: of the act that writes it.
        day_us: of one that was charged elsewhere: the day (epoch microseconds).
        images: likewise, for how many.
    """
    plain: dict[str, Any] = flat(record)  # Any: values of JSON
    signs = ("L" if record.outcome is Outcome.LOST else "") + (
        "X" if record.outcome is Outcome.REFUSED else ""
    )
    signs += {TokensFrom.ESTIMATED: "E", TokensFrom.REPORTED: "R"}.get(record.tokens_from, "")
    signs += "P" if settles(record) is not None else ""
    texts = (
        plain["response_id"] or "",
        signs,
        "" if day_us is None else str(day_us),
        str(images),
        plain["team"] or "",
        plain["key"] or "",
        "",
        token,
        "",
    )
    return orjson.dumps([at_text(micros(record.at)), *texts])


def token_of(head: Value) -> str:
    """Of the act that writes a record with this head."""
    assert isinstance(head, bytes), "as `to_head` has it"  # noqa: S101 - for the type checker
    return str(orjson.loads(head)[_TOKEN])


def to_rest(record: Record) -> bytes:
    """All else of a record, as JSON."""
    plain = flat(record)
    kept = {
        name: value
        for name, value in plain.items()
        if name not in _APART and value != _DEFAULTS.get(name, ())
    }
    return orjson.dumps(kept)


def known_as(record: Record) -> tuple[str, str]:
    """A record's id and that of its response, as they are kept: fit for UTF-8; empty: none."""
    plain: dict[str, Any] = flat(record)  # Any: values of JSON
    return plain["id"], plain["response_id"] or ""


def to_charge(charge: Amounts) -> tuple[str, str, str, str]:
    """What a call came to: images, image tokens, tokens, money."""
    return (str(charge.images), str(charge.image_tokens), str(charge.tokens), str(charge.cost_nusd))


def from_record(record_id: str, kept: bytes) -> Record:
    """The record of a value of `record`."""
    head, _, rest = kept.partition(b"\n")
    return _record(record_id, orjson.loads(head), rest)


def charged(kept: bytes) -> tuple[int, int | None, int]:
    """Of a value of `record`: its number, the day in which it is charged (epoch microseconds), and for how many images."""
    head: list[str] = orjson.loads(kept.partition(b"\n")[0])
    _, _, _, day, images, _, _, number, *_ = head
    return int(number), int(day) if day else None, int(images)


def _record(record_id: str, head: list[str], rest: bytes) -> Record:
    at, response, *_ = head
    apart = {"id": record_id, "at": seconds(at_of(at)), "response_id": response or None}
    return from_flat(orjson.loads(rest) | apart)


# Open calls


def to_open(call: OpenCall, worker: str) -> tuple[bytes, bytes]:
    """What lua/ledger.lua looks at of an open call, and what is noted of it."""
    _, response = known_as(call.record)
    deadline = "" if call.deadline is None else str(micros(call.deadline))
    texts = (worker, "1" if call.dispatched else "0", deadline, response, digest(response))
    noted = to_rest(call.record) + b"\n" + to_asked(call.call)
    return orjson.dumps([at_text(micros(call.record.at)), *texts]), noted


def to_asked(call: Call | None) -> bytes:
    """What was asked, as JSON; empty: not known."""
    return b"" if call is None else remembered.dumps(call)


def from_open(call_id: str, kept: bytes, noted: bytes) -> OpenCall:
    """The call of a value of `open` and one of `noted`."""
    head: list[str] = orjson.loads(kept)
    at, worker, dispatched, deadline, response, _ = head
    rest, _, asked = noted.partition(b"\n")
    return OpenCall(
        record=_record(call_id, [at, response], rest),
        dispatched=dispatched == "1",
        deadline=seconds(int(deadline)) if deadline else None,
        worker=worker,
        call=remembered.loads(asked or None),
    )


def to_care(kept: bytes) -> Care:
    """Who looks after the call of a value of `open`."""
    _, worker, _, deadline, response, _ = orjson.loads(kept)
    return Care(worker, bool(response), seconds(int(deadline)) if deadline else None)


def from_all_open(called: Iterable[bytes], noted: Iterable[bytes]) -> list[OpenCall]:
    """The calls of all of `open` and `noted`, oldest first."""
    known, about = pairs(called), pairs(noted)
    found = [from_open(id_, kept, about[id_]) for id_, kept in known.items()]
    return sorted(found, key=lambda call: (micros(call.record.at), call.record.id))


# Counters


def from_tally(kept: bytes) -> tuple[Amounts, Amounts]:
    """What a row says was used and is held."""
    requests, *counts = (int(number) for number in kept.split())
    return amounts(counts[:4], requests), amounts(counts[4:])


def amounts(counts: Iterable[int], requests: int = 0) -> Amounts:
    """Images, image tokens, tokens, money."""
    images, image_tokens, tokens, cost = counts
    return Amounts(
        requests=requests, images=images, image_tokens=image_tokens, tokens=tokens, cost_nusd=NanoUSD(cost)
    )


def from_row(name: str) -> tuple[str, str, int]:
    """The scope, the grain and the beginning of a row, from its name."""
    scope, grain, start = name.rsplit(SEP, 2)
    return scope, grain, int(start)
