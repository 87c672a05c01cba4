"""Where traces go."""

from typing import Protocol

from gateway.core.spans import Trace


class Traces(Protocol):
    """Whoever collects them."""

    def tell(self, trace: Trace) -> None:
        """Take a trace; at once, without waiting, never raising. What cannot be passed on in time is dropped."""
        ...

    async def aclose(self) -> None:
        """Pass on what is held, within a bound."""
        ...
