"""What reads and writes sockets does so alike on either event loop."""

import pytest

from tests.support.loops import BOTH, ONE, Loops

ON_BOTH = {"test_connection.py", "test_dial.py", "test_pool.py", "test_transport.py"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    return BOTH if item.path.name in ON_BOTH else ONE
