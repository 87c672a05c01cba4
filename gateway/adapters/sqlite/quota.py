"""
The limits' side of the writes: what is counted where, within the transaction of somebody else.

Every row of `tally` is a grain of a scope (core/windows.py). What a call took at the first door lies in `admission`
and `place` until it has left; what it holds at the second lies in `hold` until its record stands. Both say in which
rows they were counted, so that changed limits, days and clocks do not matter to what is under way.

Which rows a call is counted in and what stops it is decided in core/quota.py; here it is looked up and added.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

import apsw
import orjson

from gateway.adapters.sqlite import marks
from gateway.core.limits import Limit, Unit, parse_limit
from gateway.core.quota import (
    FIRST_DOOR,
    NOTHING,
    Amounts,
    Claim,
    Claimant,
    Exceeded,
    Reading,
    Standing,
    Tally,
    clears_us,
    exceeded,
    readings_of,
    rows_of,
    standing,
    stopping,
    windows_of,
)
from gateway.core.units import NanoUSD
from gateway.core.windows import GRAIN_OF, GRAINS, ROLLING_US, Frame, Grain, Span, window_us

Place = tuple[str, str, int]
"""Scope, grain, the beginning of the grain: what a row of `tally` is known by."""

FOLDED_AFTER_US: Final = 62 * 86_400_000_000
"""Days that lie before every month that is still looked at are one row of their scope: only a total needs them."""

_SUM: Final = """
    SELECT coalesce(sum(requests), 0), coalesce(sum(images), 0), coalesce(sum(image_tokens), 0),
        coalesce(sum(tokens), 0), coalesce(sum(cost_nusd), 0), coalesce(sum(held_images), 0),
        coalesce(sum(held_image_tokens), 0), coalesce(sum(held_tokens), 0), coalesce(sum(held_cost_nusd), 0)
    FROM tally WHERE scope = ? AND grain = ? AND start >= ? AND start < ?
"""
_COUNT: Final = """
    INSERT INTO tally (requests, images, image_tokens, tokens, cost_nusd,
        held_images, held_image_tokens, held_tokens, held_cost_nusd, scope, grain, start)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, images = images + excluded.images,
        image_tokens = image_tokens + excluded.image_tokens, tokens = tokens + excluded.tokens,
        cost_nusd = cost_nusd + excluded.cost_nusd, held_images = held_images + excluded.held_images,
        held_image_tokens = held_image_tokens + excluded.held_image_tokens,
        held_tokens = held_tokens + excluded.held_tokens, held_cost_nusd = held_cost_nusd + excluded.held_cost_nusd
"""
# A day that was folded is counted in the row of its like; a grain that has left every window does not come back.
_RECOUNT: Final = """
    UPDATE tally SET requests = requests + ?1, images = images + ?2, image_tokens = image_tokens + ?3,
        tokens = tokens + ?4, cost_nusd = cost_nusd + ?5, held_images = held_images + ?6,
        held_image_tokens = held_image_tokens + ?7, held_tokens = held_tokens + ?8, held_cost_nusd = held_cost_nusd + ?9
    WHERE scope = ?10 AND grain = ?11 AND start = (
        SELECT max(start) FROM tally
        WHERE scope = ?10 AND grain = ?11 AND start IN (?12, iif(?11 = 'day', 0, ?12))
    )
"""
_FOLD: Final = """
    INSERT INTO tally (scope, grain, start, requests, images, image_tokens, tokens, cost_nusd,
        held_images, held_image_tokens, held_tokens, held_cost_nusd)
    SELECT scope, grain, 0, sum(requests), sum(images), sum(image_tokens), sum(tokens), sum(cost_nusd),
        sum(held_images), sum(held_image_tokens), sum(held_tokens), sum(held_cost_nusd)
    FROM tally WHERE grain = 'day' AND start > 0 AND start < ?
        AND NOT (held_images OR held_image_tokens OR held_tokens OR held_cost_nusd) GROUP BY scope
    ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, images = images + excluded.images,
        image_tokens = image_tokens + excluded.image_tokens, tokens = tokens + excluded.tokens,
        cost_nusd = cost_nusd + excluded.cost_nusd, held_images = held_images + excluded.held_images,
        held_image_tokens = held_image_tokens + excluded.held_image_tokens,
        held_tokens = held_tokens + excluded.held_tokens, held_cost_nusd = held_cost_nusd + excluded.held_cost_nusd
"""
_FOLDED: Final = """
    DELETE FROM tally WHERE grain = 'day' AND start > 0 AND start < ?
        AND NOT (held_images OR held_image_tokens OR held_tokens OR held_cost_nusd)
"""
_AMOUNT: Final = {
    Unit.REQUESTS: "requests",
    Unit.IMAGES: "images + held_images",
    Unit.IMAGE_TOKENS: "image_tokens + held_image_tokens",
    Unit.TOKENS: "tokens + held_tokens",
    Unit.USD: "cost_nusd + held_cost_nusd",
}


def enter(
    db: apsw.Connection, claim: Claim, worker: str, now_us: int, *, hold: bool, force: bool = False
) -> Standing | Exceeded:
    """
    What a call takes before it goes on, all or nothing. Who has taken it already takes nothing again.

    Args:
        db: within a transaction.
        claim: with the limits as configured; those set while running go before them.
        worker: in whose care the call is.
        now_us: the store's time.
        hold: whether this is the second door: what it takes there is held.
        force: take it though a limit stands in the way: it has been used.
    """
    claim = replace(claim, claimants=in_force(db, claim.claimants), asked=_still_asked(db, claim))
    readings = read(db, claim.claimants, claim.frames.at(now_us), now_us)
    stops = () if force else stopping(readings, claim.asked)
    if stops:
        clearing = {
            one: clears_us(one, claim.asked, now_us, _rolling(db, one, claim, now_us)) for one in stops
        }
        return exceeded(now_us, readings, claim.asked, clearing)
    rows: Sequence[Place] = rows_of(claim, now_us)
    taken, held = Amounts(requests=claim.asked.requests), replace(claim.asked, requests=0, places=0)
    if claim.asked.places:
        posted = dumps(rows)
        db.execute(
            "INSERT INTO admission (id, at, worker, rows) VALUES (?, ?, ?, ?)",
            (claim.id, now_us, worker, posted),
        )
        for claimant in claim.claimants:
            db.execute("INSERT INTO place (scope, id) VALUES (?, ?)", (claimant.scope, claim.id))
    if hold:
        db.execute(
            "INSERT INTO hold (id, at, rows, images, image_tokens, tokens, cost_nusd, lost) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, 0) ON CONFLICT DO NOTHING",
            (claim.id, now_us, dumps(rows), *counts_of(held)),
        )
    if claim.asked != NOTHING or hold:
        db.executemany(_COUNT, _deltas(rows, taken, held))
    return standing(now_us, readings, claim.asked)


def leave(db: apsw.Connection, call_id: str, *, undo: bool = False) -> None:
    """
    Give back the place of a call.

    Args:
        db: within a transaction.
        call_id: of the call.
        undo: count its request no more either: it was refused.
    """
    found = _found(db, "SELECT rows FROM admission WHERE id = ?", call_id)
    if not found:
        return
    rows = loads(found[0][0])
    db.execute("DELETE FROM admission WHERE id = ?", (call_id,))
    db.executemany(
        "DELETE FROM place WHERE scope = ? AND id = ?",
        [(scope, call_id) for scope in {row[0] for row in rows}],
    )
    if undo:
        db.executemany(_RECOUNT, _deltas(rows, -Amounts(requests=FIRST_DOOR.requests), NOTHING))


def held(db: apsw.Connection, call_id: str) -> Amounts | None:
    """What a call holds, or was charged with when it was lost or estimated; None: nothing, not even zero."""
    found = _found(db, "SELECT images, image_tokens, tokens, cost_nusd FROM hold WHERE id = ?", call_id)
    return _amounts(found[0]) if found else None


def end(db: apsw.Connection, call_id: str, charge: Amounts, *, is_final: bool = True) -> int | None:
    """
    End a hold: what was held is used, at what the call came to.

    Args:
        db: within a transaction.
        call_id: of the call.
        charge: what it came to.
        is_final: False: it is a guess; the truth may come later, and ends it again.

    Returns:
        The day in which it is counted: its beginning, epoch microseconds. None: the call holds nothing.
    """
    found = _found(
        db, "SELECT rows, lost, images, image_tokens, tokens, cost_nusd FROM hold WHERE id = ?", call_id
    )
    if not found:
        return None
    posted, was_lost, *counts = found[0]
    rows, before = loads(posted), _amounts(counts)
    if was_lost:
        db.executemany(_RECOUNT, _deltas(rows, charge - before, NOTHING))
    else:
        db.executemany(_RECOUNT, _deltas(rows, charge, -before))
    if not is_final:
        db.execute(
            "UPDATE hold SET lost = 1, images = ?, image_tokens = ?, tokens = ?, cost_nusd = ? WHERE id = ?",
            (*counts_of(charge), call_id),
        )
    else:
        db.execute("DELETE FROM hold WHERE id = ?", (call_id,))
    return next((start for _, grain, start in rows if grain == Grain.DAY), None)


def free_places(db: apsw.Connection, alive: str) -> None:
    """Give back the places of dead workers. `alive`: the names of the living, a JSON array."""
    left = _found(db, "SELECT id FROM admission WHERE worker NOT IN (SELECT value FROM json_each(?))", alive)
    for (call_id,) in left:
        leave(db, call_id)


def tidy(db: apsw.Connection, now_us: int) -> None:
    """Forget the grains that have left every window, and make one row of the days that only totals still need."""
    for grain, length in ROLLING_US.items():
        db.execute(
            "DELETE FROM tally WHERE grain = ? AND start < ?", (grain, now_us - length - length // GRAINS)
        )
    before = (now_us - FOLDED_AFTER_US,)
    db.execute(_FOLD, before)
    if db.changes():
        db.execute(_FOLDED, before)
        marks.move(db, marks.FOLDED, before[0])
    db.execute("DELETE FROM hold WHERE lost AND at < ?", before)


def read(
    db: apsw.Connection, claimants: Iterable[Claimant], frame: Frame, now_us: int
) -> tuple[Reading, ...]:
    """How the limits of these scopes stand, in their order."""
    found: list[Reading] = []
    for claimant in claimants:
        tallies = {
            window: _tally(db, claimant.scope, grain, span)
            for window, (grain, span) in windows_of(claimant, now_us, frame).items()
        }
        found.extend(readings_of(claimant, tallies, _places(db, claimant), frame))
    return tuple(found)


def in_force(db: apsw.Connection, claimants: Iterable[Claimant]) -> tuple[Claimant, ...]:
    """The scopes with the limits that hold: those set while running, else those configured."""
    known = list(claimants)
    names = orjson.dumps([one.scope for one in known]).decode()
    changed = dict(
        db.execute(
            "SELECT scope, limits FROM scope_limits WHERE scope IN (SELECT value FROM json_each(?))", (names,)
        )
    )
    return tuple(
        replace(one, limits=_limits(changed[one.scope])) if one.scope in changed else one for one in known
    )


def set_limits(db: apsw.Connection, scope: str, limits: Sequence[Limit] | None, now_us: int) -> None:
    """Put limits before the configured ones of a scope; None: take them away again."""
    if limits is None:
        db.execute("DELETE FROM scope_limits WHERE scope = ?", (scope,))
        return
    db.execute(
        "INSERT INTO scope_limits (scope, limits, at) VALUES (?, ?, ?) "
        "ON CONFLICT (scope) DO UPDATE SET limits = excluded.limits, at = excluded.at",
        (scope, orjson.dumps([limit.text for limit in limits]).decode(), now_us),
    )


def _still_asked(db: apsw.Connection, claim: Claim) -> Amounts:
    """What the claim asks for, without what was taken for it already."""
    asked = claim.asked
    if asked.places and db.execute("SELECT 1 FROM admission WHERE id = ?", (claim.id,)).get:
        asked -= FIRST_DOOR
    if db.execute("SELECT 1 FROM hold WHERE id = ?", (claim.id,)).get:
        asked = Amounts(requests=asked.requests, places=asked.places)
    return asked


def _tally(db: apsw.Connection, scope: str, grain: Grain, span: Span) -> Tally:
    found = _found(db, _SUM, scope, grain, span.start_us, span.end_us)
    requests, images, image_tokens, tokens, cost, *held = found[0]
    return Tally(
        Amounts(
            requests=requests,
            images=images,
            image_tokens=image_tokens,
            tokens=tokens,
            cost_nusd=NanoUSD(cost),
        ),
        _amounts(held),
    )


def _places(db: apsw.Connection, claimant: Claimant) -> int:
    if all(limit.window is not None for limit in claimant.limits):
        return 0
    found: int = db.execute("SELECT count(*) FROM place WHERE scope = ?", (claimant.scope,)).get
    return found


def _rolling(db: apsw.Connection, reading: Reading, claim: Claim, now_us: int) -> list[tuple[int, int]]:
    """What was used and is held in each grain of a limit's rolling window, oldest first."""
    window = reading.limit.window
    if window is None or GRAIN_OF[window] not in ROLLING_US:
        return []
    column = _AMOUNT[reading.limit.unit]
    span = window_us(window, now_us, claim.frames.at(now_us))
    statement = f"SELECT start, {column} FROM tally WHERE scope = ? AND grain = ? AND start >= ? AND start < ? ORDER BY start"  # noqa: S608 - our own names
    return _found(db, statement, reading.scope, GRAIN_OF[window], span.start_us, span.end_us)


def _found(db: apsw.Connection, statement: str, *values: str | int) -> list[Any]:
    return db.execute(statement, values).fetchall()


def _deltas(rows: Iterable[Place], used: Amounts, held: Amounts) -> list[tuple[int | str, ...]]:
    counts = (used.requests, *counts_of(used), *counts_of(held))
    return [(*counts, *row) for row in rows]


def counts_of(amounts: Amounts) -> tuple[int, int, int, int]:
    """Images, image tokens, tokens, money: in the order of the columns."""
    return (amounts.images, amounts.image_tokens, amounts.tokens, amounts.cost_nusd)


def _amounts(counts: Sequence[int]) -> Amounts:
    images, image_tokens, tokens, cost = counts
    return Amounts(images=images, image_tokens=image_tokens, tokens=tokens, cost_nusd=NanoUSD(cost))


def dumps(rows: Iterable[Place]) -> str:
    """Where a call is counted, as it is kept."""
    return orjson.dumps([list(row) for row in rows]).decode()


def loads(text: str) -> tuple[Place, ...]:
    """What `dumps` wrote."""
    return tuple((scope, grain, start) for scope, grain, start in orjson.loads(text))


@lru_cache(maxsize=1024)
def _limits(text: str) -> tuple[Limit, ...]:
    return tuple(parse_limit(one) for one in orjson.loads(text))


def changed_limits(db: apsw.Connection) -> dict[str, tuple[Limit, ...]]:
    """The limits that were set while running, by scope."""
    return {scope: _limits(text) for scope, text in _found(db, "SELECT scope, limits FROM scope_limits")}
