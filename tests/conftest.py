"""What every test shares: how long the long ones run, the seed that repeats them, and what they counted."""

import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.core
import pytest

FULL = os.environ.get("IMAGEGATE_TESTS_FULL") == "1"
"""`make check-all`: every long proof at its full count; otherwise at about a tenth of it."""
SEED = int(os.environ.setdefault("IMAGEGATE_TESTS_SEED", str(random.SystemRandom().randrange(1 << 32))))
EXAMPLES = 1000 if FULL else 100
"""Of each property test that does not set its own number."""
PAGE = Path(__file__).parents[1] / "docs" / "proofs.md"

hypothesis.settings.register_profile(
    "imagegate", deadline=None, print_blob=True, database=None, max_examples=EXAMPLES
)
hypothesis.settings.load_profile("imagegate")
hypothesis.core.global_force_seed = SEED  # type: ignore[assignment]  # typed by its first value, None

_figures = pytest.StashKey[dict[str, int]]()


@pytest.fixture
def rounds() -> int:
    """Rounds of a long proof."""
    return 100 if FULL else 10


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Tell how much a long proof counted, in words and a number: `make check-all` writes it down."""

    def tell(what: str, count: int) -> None:
        record_property("figure", json.dumps([what, count]))

    return tell


def pytest_report_header() -> str:
    return f"seed: IMAGEGATE_TESTS_SEED={SEED}" + (" (full counts)" if FULL else "")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_figures] = {}
    config.pluginmanager.register(_Collector(config), "imagegate-figures")


class _Collector:
    """Collects the figures where the reports come together, and writes them down after a full run."""

    def __init__(self, config: pytest.Config) -> None:
        self._figures = config.stash[_figures]
        self._is_worker = hasattr(config, "workerinput")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or not report.passed:
            return
        for name, value in report.user_properties:
            if name == "figure":
                what, count = json.loads(str(value))
                self._figures[what] = self._figures.get(what, 0) + count

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if not FULL or self._is_worker or exitstatus != 0 or not self._figures:
            return
        # What was not run this time stands as it was counted last.
        figures = {what: int(count) for what, count in _ROW.findall(PAGE.read_text(encoding="utf-8"))}
        figures |= self._figures | {"examples of each property test": EXAMPLES}
        table = "\n".join(f"| {what} | {count} |" for what, count in sorted(figures.items()))
        PAGE.write_text(f"{_HEAD}\n| proof | count |\n|---|---|\n{table}\n", encoding="utf-8")


_ROW = re.compile(r"^\| (.+) \| ([0-9]+) \|$", re.MULTILINE)
_HEAD = """\
# Proofs

What each long proof counted when it was last run in full. `make check-all` runs all of them and brings this page up to
date; `make check` runs each at about a tenth of its count, with a seed that it prints.
"""
