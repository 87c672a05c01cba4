"""
What is wrong with a draft, said to a person: what pydantic found in single settings, and rules over several.

The rules look at the draft, not at finished settings, so that they speak even where something else is wrong: a person
gets every fault at once. A place whose own value is wrong is passed over here; it has its fault already.
"""

import difflib
from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr, TypeAdapter, ValidationError

from gateway.core.limits import NUSD_PER_USD, Unit, parse_limit
from gateway.settings.draft import Draft
from gateway.settings.faults import Fault, WrongError
from gateway.settings.shape import Node, Place, default_of, names_in, node_at
from gateway.settings.values import Natural

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_REDIS_USD: Final = 9_000_000
"""Redis' scripts count in doubles, exact to 2^53: nine million dollars are 9·10^15 nano-dollars."""


def cross_checks(draft: Draft, *, serves: bool = True) -> list[Fault]:
    """Every fault that lies between settings. `serves`: somebody is to be served by them, which takes credentials."""
    return [
        *_upstream_credentials(draft, serves=serves),
        *_ports(draft),
        *_cache_sizes(draft),
        *_cache_bodies(draft),
        *_taken_names(draft, ("upstream", "credential"), "name"),
        *_taken_names(draft, ("team",), "id"),
        *_taken_names(draft, ("key",), "id"),
        *_teams_of_keys(draft),
        *_secrets(draft),
        *_money_on_redis(draft),
    ]


def _upstream_credentials(draft: Draft, *, serves: bool) -> Iterator[Fault]:
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
    if serves and alone is None and not pool:
        yield draft.fault(
            ("upstream", "api_key"),
            "is missing: there is nothing to pay the upstream with.",
            'Write api_key = "env:OPENAI_API_KEY" under [upstream] and set that variable.',
        )


def _ports(draft: Draft) -> Iterator[Fault]:
    public, ops = _number(draft, "server", "port"), _number(draft, "ops", "port")
    if public and public == ops:
        yield draft.fault(
            ("ops" if draft.get("ops", "port") is not None else "server", "port"),
            f"{public} is the port of both server and ops.",
            "Give them different ports: metrics and the admin API never share the public listener.",
        )


def _cache_sizes(draft: Draft) -> Iterator[Fault]:
    entry, whole = _number(draft, "cache", "max_entry_bytes"), _number(draft, "cache", "max_bytes")
    if entry and whole and entry > whole:
        yield draft.fault(
            ("cache", "max_bytes" if draft.get("cache", "max_bytes") is not None else "max_entry_bytes"),
            f"the largest entry ({entry} bytes) is larger than the whole cache ({whole} bytes).",
            "Make max_bytes larger or max_entry_bytes smaller.",
        )


def _cache_bodies(draft: Draft) -> Iterator[Fault]:
    if draft.get("cache", "bodies") != "redis":
        return
    own = draft.get("cache", "url")
    place: Place = ("store", "url") if own is None else ("cache", "url")
    url = draft.get(*place)
    if place in draft.broken or not (url is None or (isinstance(url, str) and url.startswith("sqlite:"))):
        return
    lies = f"{draft.name(place)} is {draft.show(place)}" if url is not None else "store.url is not set"
    yield draft.fault(
        ("cache", "bodies"),
        f'"redis" cannot be: {lies}, so the cache lies in a folder, and its bodies in files there.',
        "Remove it, or name a Redis in cache.url, such as redis://localhost:6379/0.",
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


def _number(draft: Draft, section: str, name: str) -> int | None:
    """A whole number as the schema would read it; None if it would not."""
    given = draft.get(section, name)
    try:
        return TypeAdapter(Natural).validate_python(
            default_of(f"{section}.{name}") if given is None else given
        )
    except ValidationError:
        return None


def faults_of(error: ValidationError, draft: Draft) -> list[Fault]:
    """A fault for each error, but for places that have theirs already."""
    details = error.errors(include_url=False, include_input=False)
    found = [_fault(one, draft) for one in details if one["loc"] not in draft.broken]
    return list(dict.fromkeys(found))  # a list of what are no tables is one fault


def quoted_faults(draft: Draft, told: Collection[str]) -> list[Fault]:
    """
    A fault for each text in the file where a number or a flag belongs, and the like, that pydantic would take.

    Args:
        draft: what was read.
        told: the names of settings that have their fault already.
    """
    found = []
    for place in draft.quoted:
        node = node_at(place)
        if node is not None and draft.name(place) not in told:
            problem, fix = _wrong_kind(node)
            found.append(draft.fault(place, f"{draft.show(place)} {problem}", fix))
    return found


def _fault(error: "ErrorDetails", draft: Draft) -> Fault:
    place: Place = error["loc"]
    node = node_at(place)
    if node is None:
        return _unknown(place, draft)
    if error["type"] == "missing":
        example = node.field.examples if node.field is not None else None
        return draft.fault(place, "is missing.", f'Add {place[-1]} = "{example[0] if example else "..."}".')
    if node.kind == "table" and isinstance(place[-1], int):  # in a list of tables is something else
        place, node = place[:-1], Node("tables", node.model, None, node.type)
    problem, fix = _wrong_shape(place, node, draft) or _wrong_value(error, place, node)
    return draft.fault(place, f"{draft.show(place)} {problem}", fix)


def _unknown(place: Place, draft: Draft) -> Fault:
    """A name that the schema does not have."""
    *way, name = place
    known = names_in(tuple(way))
    near = difflib.get_close_matches(str(name), known, n=1)
    homes = [section for section in names_in(()) if name in names_in((section,))]
    if near:
        fix = f'Did you mean "{near[0]}"?'
    elif homes and len(way) <= 1:
        fix = f'"{name}" is a setting of [{homes[0]}]; move it there.'
    else:
        fix = f"Remove it. Known here: {', '.join(known)}."
    return draft.fault(place, "is not a setting.", fix)


def _wrong_shape(place: Place, node: Node, draft: Draft) -> tuple[str, str] | None:
    """What to say where a table, a list of tables or a list belongs and something else stands."""
    value, name = draft.get(*place), ".".join(step for step in place if isinstance(step, str))
    match node.kind:
        case "table" if not isinstance(value, dict):
            if place[-1] == "allow":
                return (
                    "is not a table.",
                    'Write a table in braces, such as allow = { models = ["gpt-image-*"] }.',
                )
            return (
                "is not a table.",
                f"Write the section's name on a line of its own, [{name}], and its settings below.",
            )
        case "tables":
            if place in draft.origins:  # a variable is JSON
                return "is not a list of tables.", 'Write it like [{"id": "one"}, {"id": "two"}].'
            return "is not a list of tables.", f"Begin each of them with double brackets: [[{name}]]."
        case "list" if not isinstance(value, list):
            return "is not a list.", f'Write it in brackets, such as {place[-1]} = ["..."].'
        case _:
            return None


def _wrong_value(error: "ErrorDetails", place: Place, node: Node) -> tuple[str, str]:
    """Problem and fix, by the type of pydantic's error."""
    context = error.get("ctx", {})
    such_as = _such_as(node)
    kind = error["type"]
    if isinstance(wrong := context.get("error"), WrongError):
        return wrong.problem, wrong.fix
    if kind == "literal_error":
        return "is not one of the choices.", f"Write one of {context['expected']}."
    if kind.startswith(("bool", "int", "float", "finite")):
        return _wrong_kind(node)
    bounds = {
        "greater_than_equal": "of at least {ge}",
        "less_than_equal": "of at most {le}",
        "greater_than": "above {gt}",
    }
    if kind in bounds:
        side = "large" if kind == "less_than_equal" else "small"
        return f"is too {side}.", f"Write a number {bounds[kind].format(**context)}{such_as}."
    if kind == "string_type" or (kind.startswith("path") and node.type is not SecretStr):
        example = '"..."' if isinstance(place[-1], int) else f'{place[-1]} = "..."'
        return "is not a text.", f"Write it in quotes, such as {example}."
    return f"cannot be used: {error['msg'].lower()}.", "Write it as docs/configuration.md shows it."


def _wrong_kind(node: Node) -> tuple[str, str]:
    """What to say where a number or a flag belongs and something else stands."""
    if node.type is bool:
        return "is neither true nor false.", "Write true or false, without quotes."
    if node.type is int:
        return "is not a whole number.", f"Write a whole number without quotes{_such_as(node)}."
    return "is not a number.", f"Write a number without quotes{_such_as(node)}."


def _such_as(node: Node) -> str:
    default = node.field.default if node.field is not None else None
    return f", such as {default}" if isinstance(default, int | float) else ""
