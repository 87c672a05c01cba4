"""
Who asks, and what they may use.

A principal is a key with its team and organisation. Each of the three may narrow what is allowed; they apply
together, and the narrowest wins.
"""

import hashlib
from dataclasses import dataclass, field

from gateway.core.limits import Limit

DEFAULT_TOOLS = ("image_generation", "function", "custom")
"""Tools that cost nothing beyond the tokens we meter. Others are hosted by OpenAI, billed apart, and need listing."""


@dataclass(frozen=True, slots=True)
class Allow:
    """What one scope allows. None: not narrowed here. Lists of models and routes are globs."""

    models: tuple[str, ...] | None = None
    routes: tuple[str, ...] | None = None
    tools: tuple[str, ...] | None = None
    sizes: tuple[str, ...] | None = None
    """A missing size counts as `auto`."""
    qualities: tuple[str, ...] | None = None
    """A missing quality counts as `auto`."""
    max_n: int | None = None
    max_partial_images: int | None = None
    prompts: bool | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """One of the three levels that rules hang on."""

    kind: str
    """`org`, `team` or `key`."""
    id: str
    allow: Allow = field(default_factory=Allow)
    limits: tuple[Limit, ...] = ()
    """As configured; others may have been set while running."""

    def __str__(self) -> str:
        return f"{self.kind} '{self.id}'"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller."""

    org: Scope
    team: Scope
    key: Scope
    expires_at: float | None = None
    """Epoch seconds from which the key is no longer valid."""
    finish: bool | None = None
    """Whether its generations are read to their end when the client leaves; None: as everybody's."""

    @property
    def scopes(self) -> tuple[Scope, Scope, Scope]:
        """Narrowest first: a refusal names the level closest to the caller."""
        return (self.key, self.team, self.org)


def digest_of(secret: str) -> bytes:
    """
    What stands for a key's secret in memory and in stores: its SHA-256.

    Keys are long random strings, so a fast hash is the right one: there is nothing to guess
    (reading the digest back would take 2¹²⁸ trials and more).
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
