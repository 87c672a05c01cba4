"""What every test shares: how long the long ones run, and the seed that repeats them."""

import os
import random

import hypothesis
import hypothesis.core
import pytest

FULL = os.environ.get("IMAGEGATE_TESTS_FULL") == "1"
"""`make check-all`: every long proof at its full count; otherwise at about a tenth of it."""
SEED = int(os.environ.setdefault("IMAGEGATE_TESTS_SEED", str(random.SystemRandom().randrange(1 << 32))))

hypothesis.settings.register_profile("short", deadline=None, print_blob=True, database=None, max_examples=100)
hypothesis.settings.register_profile("full", deadline=None, print_blob=True, database=None, max_examples=1000)
hypothesis.settings.load_profile("full" if FULL else "short")
hypothesis.core.global_force_seed = SEED  # type: ignore[assignment]  # typed by its first value, None


def pytest_report_header() -> str:
    return f"seed: IMAGEGATE_TESTS_SEED={SEED}" + (" (full counts)" if FULL else "")


@pytest.fixture
def rounds() -> int:
    """Rounds of a long proof."""
    return 100 if FULL else 10
