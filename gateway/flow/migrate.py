"""Moving a ledger from one store to another, with the answers that were promised to whoever repeats a call."""

from collections.abc import Sequence
from typing import Final

from gateway.core.cachekey import CacheKey
from gateway.core.entry import Entry
from gateway.core.idempotency import State
from gateway.core.moving import Keyed, Moved, Piece, hindrance
from gateway.ports import Cache, LedgerSource, LedgerTarget, Outbox, StoreFailed, UnfitError

_TRIES: Final = 3
"""At an answer: a cache gives up early, and here nobody waits for it."""


async def migrate(
    source: LedgerSource,
    target: LedgerTarget,
    answers: tuple[Cache | None, Cache],
    outbox: Outbox,
    *,
    force: bool = False,
    anew: bool = False,
) -> Moved:
    """
    Move all of it.

    Whatever ends this early leaves the source as it was, and the target marked as incomplete, unless nothing was written.

    Args:
        source: where it lies; nothing is written there.
        target: where it is to lie.
        answers: those that were promised, there and there; None: there never were any.
        outbox: what waits for the source on this machine.
        force: though somebody writes to the source, or will.
        anew: empty what an earlier attempt has left.

    Raises:
        UnfitError: it is not moved as it is; the message says why and what to do.
        StoreFailed: one of both failed on the way.
    """
    await _check(source, outbox, force=force)
    limits = (await source.changed_limits()).values()
    await target.begin([one for several in limits for one in several], anew=anew)
    moved = Moved()
    async for pieces in source.pieces():
        await target.take(pieces)
        await _move_answers(pieces, *answers, moved)
        moved.count(pieces)
    broken = await target.verify()
    if broken:
        raise StoreFailed(f"what was moved does not add up: {broken[0]}", unknown=False)
    # Somebody may have begun to write to the source since.
    await _check(source, outbox, force=force)
    await target.finish()
    return moved


async def _check(source: LedgerSource, outbox: Outbox, *, force: bool) -> None:
    """Raises UnfitError if the source is not to be moved as it is."""
    waiting = sum(len(pile.entries) for pile in await outbox.waiting())
    why = hindrance(await source.living(), waiting, await source.verify(), force=force)
    if why is not None:
        raise UnfitError(why)


async def _move_answers(pieces: Sequence[Piece], here: Cache | None, there: Cache, moved: Moved) -> None:
    for piece in pieces:
        if not isinstance(piece, Keyed) or piece.state is not State.KEPT:
            continue
        entries = () if here is None else await here.find(CacheKey(piece.name))
        is_moved = [await _has_moved(here, entry, there) for entry in entries if here is not None]
        moved.answers += sum(is_moved)
        moved.answers_left += not any(is_moved)


async def _has_moved(here: Cache, entry: Entry, there: Cache) -> bool:
    for _ in range(_TRIES):
        if await _copied(here, entry, there):
            return True
    return False


async def _copied(here: Cache, entry: Entry, there: Cache) -> bool:
    body = await here.open(entry)
    if body is None:
        return False
    draft = await there.draft()
    try:
        if draft is None:
            return False
        async for chunk in body.chunks():
            await draft.write(chunk)
        return await draft.commit(entry)
    except StoreFailed:
        return False
    finally:
        body.close()
        if draft is not None:
            await draft.drop()
