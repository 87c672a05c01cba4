"""One sandbox for the whole folder, with fresh books for each test, and the official client that talks to it."""

from collections.abc import Iterator

import httpx2
import pytest
from openai import OpenAI

from tests.support.sandbox import sandbox


@pytest.fixture(scope="session")
def served() -> Iterator[str]:
    with sandbox() as url:
        yield url


@pytest.fixture
def url(served: str) -> str:
    httpx2.post(f"{served}/_sandbox/reset").raise_for_status()
    return served


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="sk-test", max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
def http(url: str) -> Iterator[httpx2.Client]:
    """Plain HTTP to the same sandbox, with a key."""
    with httpx2.Client(base_url=url, headers={"authorization": "Bearer sk-test"}, timeout=30) as made:
        yield made
