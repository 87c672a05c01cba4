"""
Rules over several settings.

They look at the draft, not at finished settings, so that they speak even where something else is wrong: a person
gets every fault at once. A place whose own value is wrong is passed over here; it has its fault already.
"""

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from gateway.core.limits import NUSD_PER_USD, Unit, parse_limit
from gateway.settings.draft import Draft
from gateway.settings.faults import Fault
from gateway.settings.schema import CacheSettings, OpsSettings, ServerSettings
from gateway.settings.shape import Place

MAX_REDIS_USD: Final = 9_000_000
"""Redis' scripts count in doubles, exact to 2^53: nine million dollars are 9·10^15 nano-dollars."""


def cross_checks(draft: Draft) -> list[Fault]:
    """Every fault that lies between settings."""
    return [
        *_upstream_credentials(draft),
        *_ports(draft),
        *_cache_sizes(draft),
        *_taken_names(draft, ("upstream", "credential"), "name"),
        *_taken_names(draft, ("team",), "id"),
        *_taken_names(draft, ("key",), "id"),
        *_teams_of_keys(draft),
        *_secrets(draft),
        *_money_on_redis(draft),
    ]


def _upstream_credentials(draft: Draft) -> Iterator[Fault]:
    upstream = draft.get("upstream")
    if upstream is not None and not isinstance(upstream, dict):
        return
    alone, pool = draft.get("upstream", "api_key"), draft.get("upstream", "credential")
    if alone is not None and pool:
        yield draft.fault(
            ("upstream", "api_key"),
            "stands beside a pool of [[upstream.credential]].",
            "Keep one of the two: api_key for a single account, the pool for several.",
        )
    if alone is None and not pool:
        yield draft.fault(
            ("upstream", "api_key"),
            "is missing: there is nothing to pay the upstream with.",
            'Write api_key = "env:OPENAI_API_KEY" under [upstream] and set that variable.',
        )


def _ports(draft: Draft) -> Iterator[Fault]:
    public = _whole(draft.get("server", "port"), ServerSettings().port)
    if public and public == _whole(draft.get("ops", "port"), OpsSettings().port):
        place = ("ops", "port") if draft.get("ops", "port") is not None else ("server", "port")
        yield draft.fault(
            place,
            f"{public} is the port of both server and ops.",
            "Give them different ports: metrics and the admin API never share the public listener.",
        )


def _cache_sizes(draft: Draft) -> Iterator[Fault]:
    entry = _whole(draft.get("cache", "max_entry_bytes"), CacheSettings().max_entry_bytes)
    whole = _whole(draft.get("cache", "max_bytes"), CacheSettings().max_bytes)
    if entry and whole and entry > whole:
        place = (
            ("cache", "max_bytes")
            if draft.get("cache", "max_bytes") is not None
            else ("cache", "max_entry_bytes")
        )
        yield draft.fault(
            place,
            f"the largest entry ({entry} bytes) is larger than the whole cache ({whole} bytes).",
            "Make max_bytes larger or max_entry_bytes smaller.",
        )


def _taken_names(draft: Draft, tables: Place, name: str) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for number, (place, table) in enumerate(draft.tables(*tables), start=1):
        value = table.get(name)
        if not isinstance(value, str) or (*place, name) in draft.broken:
            continue
        if value in first:
            header = ".".join(map(str, tables))
            problem = f"[[{header}]] number {number} has the same {name} as number {first[value]}."
            yield draft.fault(
                (*place, name), problem, f"Give it {'an id' if name == 'id' else 'a name'} of its own."
            )
        first.setdefault(value, number)


def _teams_of_keys(draft: Draft) -> Iterator[Fault]:
    teams = [table["id"] for _, table in draft.tables("team") if isinstance(table.get("id"), str)]
    for place, table in draft.tables("key"):
        team = table.get("team")
        if isinstance(team, str) and team not in teams and (*place, "team") not in draft.broken:
            known = (
                f"one of: {', '.join(map(str, teams))}; or add"
                if teams
                else "a team that exists: there is none yet, so add"
            )
            shown = draft.show((*place, "team"))
            fix = f"Name {known} a table [[team]] with that id."
            yield draft.fault((*place, "team"), f"{shown} is not a team.", fix)


def _secrets(draft: Draft) -> Iterator[Fault]:
    """Each key has one secret, and no two have the same. Digests are compared; nothing of them is shown."""
    owners: dict[str, Place] = {}
    for place, table in draft.tables("key"):
        secret, digest = table.get("secret"), table.get("secret_sha256")
        if secret is None and digest is None:
            fix = 'Add secret = "env:NAME", or secret_sha256 with its SHA-256 digest in hexadecimal.'
            yield draft.fault((*place, "secret"), "is missing: nobody could use this key.", fix)
        if secret is not None and digest is not None:
            fix = "Keep one of them; secret_sha256 keeps the secret itself out of the file."
            yield draft.fault((*place, "secret_sha256"), "stands beside secret.", fix)
        for name, value in (("secret", secret), ("secret_sha256", digest)):
            if not isinstance(value, str) or not value or (*place, name) in draft.broken:
                continue
            fingerprint = (
                sha256(value.encode(errors="replace")).hexdigest() if name == "secret" else value.lower()
            )
            owner = owners.setdefault(fingerprint, place)
            if owner != place:
                fix = "Give each key a secret of its own, or nobody can tell who called."
                yield draft.fault((*place, name), f"is the same secret as that of {draft.name(owner)}.", fix)


def _money_on_redis(draft: Draft) -> Iterator[Fault]:
    url = draft.get("store", "url")
    if not isinstance(url, str) or not url.startswith("redis"):
        return
    scopes: list[Place] = [
        ("org",),
        *(place for place, _ in draft.tables("team")),
        *(place for place, _ in draft.tables("key")),
    ]
    for scope in scopes:
        limits = draft.get(*scope, "limits")
        for number, text in enumerate(limits if isinstance(limits, list) else []):
            if isinstance(text, str) and _dollars(text) > MAX_REDIS_USD:
                place = (*scope, "limits", number)
                problem = (
                    f"{draft.show(place)} is more than a Redis store can count exactly, ${MAX_REDIS_USD:,}."
                )
                yield draft.fault(
                    place, problem, "Lower it, or keep the money in the embedded store (sqlite:///...)."
                )


def _dollars(text: str) -> int:
    """A limit's dollars, rounded up; 0 for what is no limit in money."""
    try:
        limit = parse_limit(text)
    except ValueError:
        return 0
    return -(-limit.amount // NUSD_PER_USD) if limit.unit is Unit.USD else 0


def _whole(value: object, default: int) -> int | None:
    """A number as the schema would read it; None if it would not."""
    match value:
        case None:
            return default
        case bool():
            return None
        case int():
            return value
        case str() if value.isascii() and value.isdigit() and len(value) < 19:  # noqa: PLR2004 - fits 64 bits
            return int(value)
        case _:
            return None
