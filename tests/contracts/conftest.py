"""Transports promise the same on either event loop."""

import pytest

from tests.support.loops import BOTH, ONE, Loops


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    return BOTH if item.path.name == "test_upstream.py" else ONE
