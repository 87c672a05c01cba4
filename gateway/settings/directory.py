"""The scopes of a configuration as values, for those who are not to know settings."""

from gateway.core.directory import Directory, Entry
from gateway.core.principal import Allow, Scope
from gateway.settings.loading import Settings
from gateway.settings.schema import KeySettings, OrgSettings, TeamSettings


def directory_of(settings: Settings) -> Directory:
    """Who there is, as configured."""
    return Directory(
        Entry(_scope("org", settings.org)),
        tuple(Entry(_scope("team", team), team.name) for team in settings.teams),
        tuple(Entry(_scope("key", key)) for key in settings.keys),
    )


def _scope(kind: str, settings: OrgSettings | TeamSettings | KeySettings) -> Scope:
    return Scope(kind, settings.id, Allow(**settings.allow.model_dump()), settings.limits)
