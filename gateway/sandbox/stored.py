"""A response that is kept: what the API shows of it, what it was made from, and for background ones their events."""

import asyncio
from dataclasses import dataclass, field

_OVERHEAD = 4096


@dataclass(slots=True)
class Stored:
    """
    A kept response.

    Args:
        shown: the response object; grows while a background response works.
        input_items: what this call brought, oldest first.
        history: the items of the turns before, oldest first.
        tokens: mainline tokens of the conversation up to its end, for the next turn.
        streamed: whether it was created with `stream: true`, so that its events can be resumed.
        events: of a background response, in order; the sequence number is the place in the list.
    """

    shown: dict[str, object]
    input_items: list[dict[str, object]]
    history: list[dict[str, object]]
    background: bool = False
    streamed: bool = False
    tokens: int = 0
    done: bool = False
    events: list[dict[str, object]] = field(default_factory=list)
    waiting: set[asyncio.Event] = field(default_factory=set)
    task: asyncio.Task[None] | None = None

    def output(self) -> list[dict[str, object]]:
        """The finished output items."""
        found = self.shown["output"]
        return list(found) if isinstance(found, list) else []

    def thread(self) -> list[dict[str, object]]:
        """Everything said and made up to the end of this response."""
        return [*self.history, *self.input_items, *self.output()]

    def news(self) -> None:
        """Wakes the streams that wait for the next event."""
        for waker in self.waiting:
            waker.set()

    def weight(self) -> int:
        """About how many bytes it holds, pictures above all."""
        results = sum(len(str(item.get("result") or "")) for item in self.output())
        return _OVERHEAD + results + sum(len(str(item)) for item in self.input_items)
