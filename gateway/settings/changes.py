"""
What a new configuration changes, and what it takes for that to come into force.

Most of it holds from the next request on. What belongs to a worker process from its start on needs new workers, and what
all workers share, or what they could not disagree about without harm, needs a new gateway: a store is not exchanged
under calls that have money in it.

Pure: whoever reloads acts on what is said here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.settings.loading import Settings
from gateway.settings.schema import AllowSettings, Section, Sections

RESTART: Final = frozenset(
    {
        "server.host",
        "server.port",
        "server.workers",
        "ops.host",
        "ops.port",
        "store.url",
        "cache.url",
        "cache.bodies",
        "org.id",
    }
)
"""Settings that hold from the gateway's start to its end."""
NEW_WORKERS: Final = frozenset(
    {
        "server.drain_timeout_s",
        "server.header_timeout_s",
        "server.body_timeout_s",
        "server.trusted_proxies",
        "store.durability",
        "cache.max_bytes",
        "cache.stale_if_error_s",
        "auth.pepper",
        "metrics.enabled",
        "metrics.key_labels",
    }
)
"""Settings that hold from a worker's start to its end."""
CATALOGUE: Final = "the catalogue"


@dataclass(frozen=True, slots=True)
class Changes:
    """
    The dotted names of the settings that differ, by what it takes for them to come into force.

    Lists of tables (`team`, `key`, `upstream.credential`) and `allow` count as one setting each.
    """

    at_once: tuple[str, ...]
    with_new_workers: tuple[str, ...]
    with_restart: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.at_once or self.with_new_workers or self.with_restart)


def changes(old: Settings, new: Settings) -> Changes:
    """What differs between what is in force and what is wanted. Names only: values may be secret."""
    names = tuple(_differing(old, new))
    return Changes(
        tuple(name for name in names if name not in RESTART | NEW_WORKERS),
        tuple(name for name in names if name in NEW_WORKERS),
        tuple(name for name in names if name in RESTART),
    )


def in_force(old: Settings, new: Settings) -> Settings:
    """
    The new settings, as far as they can come into force while the gateway runs.

    What takes a restart stays as it was: a worker that is started later, for one that died, must not differ from the
    others there.
    """
    kept: dict[str, dict[str, object]] = {}
    for name in RESTART:
        section, _, setting = name.partition(".")
        kept.setdefault(section, {})[setting] = getattr(getattr(old, section), setting)
    sections = {
        section: getattr(new, section).model_copy(update=settings) for section, settings in kept.items()
    }
    return new.model_copy(update=sections)


def _differing(old: Section, new: Section, prefix: str = "") -> Iterator[str]:
    model = Sections if isinstance(new, Sections) else type(new)
    for attribute, field in model.model_fields.items():
        before, after = getattr(old, attribute), getattr(new, attribute)
        name = prefix + (field.alias or attribute)
        if isinstance(after, Section) and not isinstance(after, AllowSettings):
            yield from _differing(before, after, f"{name}.")
        elif before != after:
            yield name
