"""The one place that reads a clock."""

import time


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    def ticks(self) -> float:
        """Monotonic seconds."""
        return time.perf_counter()
