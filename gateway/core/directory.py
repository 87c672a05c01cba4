"""
Who there is: the organisation, its teams and keys as configured, by the names under which they are counted.

Not here: what was set while running (the ledger knows), whose secret is whose (the KeyStore port).
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from gateway.core.limits import Limit
from gateway.core.principal import Allow, Scope
from gateway.core.quota import Claimant, scope_name


@dataclass(frozen=True, slots=True)
class Entry:
    """A scope as configured."""

    scope: Scope
    name: str | None = None
    """What people call it."""

    @property
    def counted_as(self) -> str:
        """`org`, `team:ID` or `key:ID`."""
        return scope_name(self.scope)

    @property
    def claimant(self) -> Claimant:
        """The scope with its limits as configured."""
        return Claimant(self.counted_as, self.scope.limits)

    @property
    def limits(self) -> tuple[Limit, ...]:
        """As configured."""
        return self.scope.limits

    def allowed(self) -> dict[str, object]:
        """What is narrowed here, by name, as the configuration has it: lists, numbers, truths."""
        allow = self.scope.allow
        given = {field.name: getattr(allow, field.name) for field in fields(Allow)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Directory:
    """All scopes of a configuration, each list in its order there."""

    org: Entry
    teams: tuple[Entry, ...] = ()
    keys: tuple[Entry, ...] = ()

    def __iter__(self) -> Iterator[Entry]:
        """Widest first."""
        yield self.org
        yield from self.teams
        yield from self.keys

    def find(self, name: str) -> Entry | None:
        """The one that is counted as `org`, `team:ID` or `key:ID`."""
        return next((entry for entry in self if entry.counted_as == name), None)

    def team(self, team_id: str) -> Entry | None:
        """The team with this id."""
        return next((entry for entry in self.teams if entry.scope.id == team_id), None)
