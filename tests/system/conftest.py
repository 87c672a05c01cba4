"""One sandbox and one gateway in front of it, for the SDKs."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.process import Running, gateway_process, sandbox_process


@dataclass(frozen=True)
class Pair:
    """Both processes."""

    gateway: Running
    sandbox: Running

    @property
    def base_url(self) -> str:
        """What an SDK is told."""
        return f"{self.gateway.url}/v1"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with (
        sandbox_process(folder) as sandbox,
        gateway_process(f"{sandbox.url}/v1", folder, rest=NARROW) as gateway,
    ):
        yield Pair(gateway, sandbox)


NARROW = """
[[key]]
id = "narrow"
team = "team"
secret = "sk-narrow"
allow = { models = ["gpt-image-1*", "gpt-5"], max_n = 1 }
"""
