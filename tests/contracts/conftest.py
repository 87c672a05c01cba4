"""Transports promise the same on either event loop; servers that several tests share end with the last."""

from collections.abc import Iterator

import pytest

from tests.support.loops import BOTH, ONE, Loops
from tests.support.redis import end_shared


def pytest_asyncio_loop_factories(item: pytest.Item) -> Loops:
    return BOTH if item.path.name == "test_upstream.py" else ONE


@pytest.fixture(scope="session", autouse=True)
def servers_end() -> Iterator[None]:
    yield
    end_shared()
