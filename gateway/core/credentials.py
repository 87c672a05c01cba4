"""
Which of the organisation's upstream credentials carries a call, and what it says of itself.

A tenant stays with one credential, so that the files, responses and conversations it keeps upstream are found
again: OpenAI ties them to the project of the key that made them. The choice is a rendezvous hash over weights:
adding or removing a credential moves only the tenants that it must.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from gateway.core.headers import Header


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential's name and its share of the tenants, relative to the others'."""

    name: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Account:
    """What one credential says of itself to the upstream."""

    api_key: str
    organization: str | None = None
    project: str | None = None

    def headers(self) -> list[Header]:
        """Authorization and, where known, organisation and project."""
        headers = [(b"authorization", f"Bearer {self.api_key}".encode())]
        if self.organization is not None:
            headers.append((b"openai-organization", self.organization.encode()))
        if self.project is not None:
            headers.append((b"openai-project", self.project.encode()))
        return headers

    def __repr__(self) -> str:
        return "Account(…)"


def order_for(tenant: str, credentials: Sequence[Credential]) -> tuple[str, ...]:
    """
    The credentials' names in the order in which this tenant's calls may use them: its own first.

    Args:
        tenant: the id whose things have to stay together.
        credentials: at least one, weights positive.
    """
    ranked = sorted(credentials, key=lambda one: (_rank(tenant, one), one.name))
    return tuple(one.name for one in ranked)


def _rank(tenant: str, credential: Credential) -> Fraction:
    """
    Lowest wins. With w draws a credential's best draw is the minimum of w hashes: it wins w times as often.

    Weights are small integers, so drawing is simpler than the logarithm usually taken, and needs no float.
    """
    draws = (
        hashlib.sha256(f"{tenant}\0{credential.name}\0{draw}".encode()).digest()
        for draw in range(credential.weight)
    )
    return min(Fraction(int.from_bytes(one[:8], "big"), 1 << 64) for one in draws)
