"""What was used, by whatever it is asked by: the ledger's sums, with the days of a calendar."""

from collections.abc import AsyncIterator, Sequence

from gateway.core.ledger import DAY, Day, UsageRow
from gateway.ports import Calendar, LedgerReader


async def usage(
    ledger: LedgerReader,
    calendar: Calendar,
    by: Sequence[str],
    since: float | None = None,
    until: float | None = None,
) -> AsyncIterator[UsageRow]:
    """
    Sums by group, in the ledger's order.

    Args:
        ledger: asked for the span of its records too, where days are wanted: there are no days without records.
        calendar: knows the days.
        by: as `core.ledger.grouping` gives it.
        since: epoch seconds of arrival, the first that counts.
        until: the first that counts no more.

    Raises:
        StoreFailed: as the ledger does.
    """
    days: tuple[Day, ...] = ()
    if DAY in by and (span := await ledger.span(since, until)) is not None:
        days = calendar.days(*span)
    async for row in ledger.usage(by, since, until, days):
        yield row
