"""
Claims as the scripts read them, and what they answer, as values. See lua/quota.lua.

Which limits stop a call is decided in the script, as nobody else may come between; all that is told of it is made here, by
core/quota.py, as everywhere.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

import orjson

from gateway.adapters.redis.scripts import Reply
from gateway.core.limits import Limit, Window, parse_limit
from gateway.core.quota import (
    FIRST_DOOR,
    Amounts,
    Claim,
    Claimant,
    Exceeded,
    Reading,
    Standing,
    clears_us,
    exceeded,
    standing,
)
from gateway.core.windows import Frame, Frames, Span, window_us


def to_limits(limits: Iterable[Limit]) -> list[object]:
    """Limits as the scripts read them."""
    return [[one.unit, one.window or False, one.amount, one.soft, one.text] for one in limits]


@lru_cache(maxsize=1024)
def from_limits(kept: bytes) -> tuple[Limit, ...]:
    """The limits of a value of `limits`."""
    return tuple(parse_limit(text) for *_, text in orjson.loads(kept))


def to_claim(claimants: Iterable[Claimant], frames: Frames, asked: Amounts | None = None) -> bytes:
    """A claim, as JSON. `asked`: None where nothing is."""
    said: dict[str, object] = {
        "c": [[one.scope, to_limits(one.limits)] for one in claimants],
        "d": _spans(Window.DAY, frames.days),
        "w": _spans(Window.WEEK, frames.weeks),
        "m": _spans(Window.MONTH, frames.months),
    }
    if asked is not None:
        counts = (asked.images, asked.image_tokens, asked.tokens, asked.cost_nusd)
        said["a"] = [asked.requests, *counts, asked.places]
    return orjson.dumps(said)


def around(frame: Frame) -> Frames:
    """The frames of one instant only."""
    return Frames((frame.day,), (frame.week,), (frame.month,))


def in_force(claimants: Sequence[Claimant], changed: Sequence[bytes]) -> tuple[Claimant, ...]:
    """
    The scopes with the limits that hold.

    Args:
        claimants: with those configured.
        changed: of each, those set while running, as they are kept; empty: none.
    """
    known = zip(claimants, changed, strict=True)
    return tuple(replace(one, limits=from_limits(kept)) if kept else one for one, kept in known)


def readings_of(claimants: Iterable[Claimant], told: Iterable[bytes], frame: Frame) -> tuple[Reading, ...]:
    """
    How limits stand.

    Args:
        claimants: with the limits that hold.
        told: used and held of each limit.
        frame: of now.
    """
    ends = iter(told)
    return tuple(
        Reading(
            one.scope,
            limit,
            used=int(next(ends)),
            held=int(next(ends)),
            resets_us=None if limit.window is None else frame.end_us(limit.window),
        )
        for one in claimants
        for limit in one.limits
    )


def answer_of(reply: Reply, claim: Claim | None) -> Standing | Exceeded:
    """
    What a door said.

    Args:
        reply: of lua/enter.lua, that it passed or was stopped.
        claim: that it was asked; None: nothing.
    """
    verdict, at, was_inside, had_hold, changed, told, stops = reply
    at_us = int(at)
    if claim is None:
        return Standing(at_us)
    asked = claim.asked
    if was_inside:
        asked -= FIRST_DOOR
    if had_hold:
        asked = Amounts(requests=asked.requests, places=asked.places)
    readings = readings_of(in_force(claim.claimants, changed), told, claim.frames.at(at_us))
    if verdict == b"passed":
        return standing(at_us, readings, asked)
    clearing = {}
    for number, *rolling in stops:
        ends = iter(int(one) for one in rolling)
        reading = readings[number]
        clearing[reading] = clears_us(reading, asked, at_us, list(zip(ends, ends, strict=True)))
    return exceeded(at_us, readings, asked, clearing)


def _spans(window: Window, spans: Iterable[Span]) -> list[list[int]]:
    """Begins, ends, and the beginning of the first day that counts."""
    return [
        [span.start_us, span.end_us, window_us(window, span.start_us, Frame(span, span, span)).start_us]
        for span in spans
    ]
