"""Records for a ledger, and a SQLite whose disk fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import apsw
from hypothesis import strategies as st

from gateway.core.record import CacheUse, Line, Outcome, Record, Role, TokensFrom
from gateway.core.units import NanoUSD

NOON = 1_800_014_400.0
"""2027-01-15T12:00:00Z."""


def record(number: int = 0, **changes: Any) -> Record:
    """A paid call, the `number`th second after `NOON`."""
    cost = NanoUSD(8_160_000)
    made = Record(
        id=f"igr_{number:08d}",
        at=NOON + number,
        method="POST",
        outcome=Outcome.COMPLETED,
        status=200,
        org="default",
        team="design",
        key="design-1",
        tags=(("campaign", "spring"),),
        route="images.generations",
        model="gpt-image-2",
        cache=CacheUse.MISS,
        images=1,
        size="1024x1024",
        quality="low",
        input_text_tokens=11,
        output_image_tokens=272,
        tokens_from=TokensFrom.REPORTED,
        cost_nusd=cost,
        reserved_nusd=NanoUSD(20_000_000),
        lines=(Line(model="gpt-image-2", role=Role.IMAGE, input_text=11, output_image=272, cost_nusd=cost),),
        duration_ms=1234.5,
    )
    return replace(made, **changes)


def noted(number: int = 0, **changes: Any) -> Record:
    """What is noted of a call before it goes up: as it would be if it were lost now."""
    cost = record().reserved_nusd
    line = Line(model="gpt-image-2", role=Role.IMAGE, input_text=65, output_image=660, cost_nusd=cost)
    about = {
        "outcome": Outcome.FAILED,
        "status": None,
        "images": 0,
        "input_text_tokens": 65,
        "output_image_tokens": 660,
        "tokens_from": TokensFrom.ESTIMATED,
        "cost_nusd": cost,
        "lines": (line,),
        "duration_ms": 1.0,
    }
    return record(number, **about | changes)


def some(values: list[str]) -> st.SearchStrategy[str | None]:
    return st.none() | st.sampled_from(values)


@st.composite
def records(draw: st.DrawFn, most: int = 30) -> list[Record]:
    """Records of a few teams, keys, models, tags and days, many of them at the same instant."""
    instants = st.integers(-3 * 86_400, 3 * 86_400).map(lambda s: NOON + s) | st.just(NOON)
    tags = st.lists(st.tuples(st.sampled_from(["a", "b", 'q"uote']), st.text(max_size=3)), max_size=3)
    return [
        record(
            number,
            at=draw(instants),
            team=draw(some(["design", "växt"])),
            key=draw(some(["k1", "k2", "k3"])),
            model=draw(some(["gpt-image-2", "gpt-image-1"])),
            outcome=draw(st.sampled_from([Outcome.COMPLETED, Outcome.FAILED, Outcome.REFUSED])),
            cache=draw(st.sampled_from(CacheUse)),
            tags=tuple(draw(tags)),
            images=draw(st.integers(0, 10)),
            output_image_tokens=draw(st.integers(0, 9999)),
            partial_images_delivered=draw(st.integers(0, 3)),
            cost_nusd=NanoUSD(draw(st.integers(0, 10**12))),
            saved_nusd=NanoUSD(draw(st.integers(0, 10**12))),
        )
        for number in range(draw(st.integers(0, most)))
    ]


class Disk:
    """Decides what becomes of each sync to the disk."""

    def __init__(self) -> None:
        self.fails: Callable[[str], bool] = lambda _: False
        """Whether this one fails; asked with the name of the file."""
        self.is_full = False
        """Whether nothing can be written to it."""
        self.syncs = 0
        self.failures = 0


@contextmanager
def failing_disk(name: str) -> Iterator[Disk]:
    """A way to the disk for SQLite, under this name, whose syncs and writes fail when the test says so."""
    disk = Disk()

    class File(apsw.VFSFile):
        def __init__(self, filename: Any, flags: list[int]) -> None:
            super().__init__("", filename, flags)
            self._name = filename.filename() if isinstance(filename, apsw.URIFilename) else str(filename)

        def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
            disk.syncs += 1
            if disk.fails(self._name):
                disk.failures += 1
                raise apsw.IOError("the disk failed")
            super().xSync(flags)

        def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
            if disk.is_full:
                disk.failures += 1
                raise apsw.FullError("the disk is full")
            super().xWrite(data, offset)

    class System(apsw.VFS):
        def __init__(self) -> None:
            super().__init__(name, "")

        def xOpen(self, filename: Any, flags: list[int]) -> File:  # noqa: N802 - SQLite's name
            return File(filename, flags)

    system = System()
    try:
        yield disk
    finally:
        system.unregister()
