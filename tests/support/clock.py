"""Time that moves when a test says so."""


class FakeClock:
    """Starts at epoch second 1 800 000 000."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds

    def ticks(self) -> float:
        return self.seconds
