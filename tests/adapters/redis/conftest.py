"""Servers that several tests share end with the last."""

from collections.abc import Iterator

import pytest

from tests.support.redis import end_shared


@pytest.fixture(scope="session", autouse=True)
def servers_end() -> Iterator[None]:
    yield
    end_shared()
