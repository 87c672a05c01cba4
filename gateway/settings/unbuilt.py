"""
Which settings are accepted but not honoured yet, and by which part they will be.

The schema is whole from the first day, so that a configuration written today stays good; whoever builds a part
removes its lines here.
"""

from typing import Final

UNBUILT: Final[dict[str, str]] = {
    "server.max_concurrent": "the overload guard",
    "server.header_timeout_s": "the connection guard",
    "server.body_timeout_s": "the connection guard",
    "server.trusted_proxies": "the connection guard",
    "upstream.transport=fast": "the fast transport",
    "upstream.on_disconnect": "flights",
    "upstream.orphan_limit_s": "flights",
    "upstream.max_orphans": "flights",
    "store": "the store",
    "cache": "the cache",
    "auth": "the admin API",
    "org.limits": "limits",
    "org.timezone": "limits",
    "team.limits": "limits",
    "key.limits": "limits",
    "key.on_disconnect": "flights",
    "key.inject_safety_identifier": "safety identifiers",
    "tenancy": "ownership",
    "catalog.unpriced": "accounting",
    "accounting": "accounting",
    "responses": "reservations",
    "metrics": "metrics",
}
"""A setting, a section, or `setting=value` -> the part that will honour it."""


def is_unbuilt(name: str, value: object) -> bool:
    """
    Whether nothing honours a setting yet.

    Args:
        name: dotted, such as `cache.ttl_s` or `key.limits`.
        value: what it is set to; matters where only some values wait.
    """
    return bool({name, f"{name}={value}", _section(name)} & UNBUILT.keys())


def waits_for(name: str) -> str:
    """The part that an unbuilt setting waits for. Raises LookupError for a setting that is honoured."""
    for key, part in UNBUILT.items():
        if key.partition("=")[0] in {name, _section(name)}:
            return part
    raise LookupError(f"{name} waits for nothing")


def _section(name: str) -> str:
    return name.partition(".")[0]
