"""
Where settings come from: the file, the environment, the command line; and values that point elsewhere.

The environment beats the file, the command line beats both. `env:NAME` and `file:PATH` are followed once, for
settings that are one value. This is the only file that reads the process's environment.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gateway.settings.draft import Draft
from gateway.settings.faults import ConfigError, Fault
from gateway.settings.shape import Place, node_at, variables

PREFIX: Final = "IMAGEGATE_"
CONFIG_VARIABLE: Final = "IMAGEGATE_CONFIG"
_DEEPEST: Final = 8  # allow inside a list of tables ends at 5
NO_FILE: Final = "no configuration file"
COMMAND_LINE: Final = "command line"


def environment() -> Mapping[str, str]:
    """The process's environment."""
    return os.environ  # noqa: TID251 - the one reader of the environment


def read_file(path: Path) -> dict[str, object]:
    """
    The tables of a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML; then nothing else can be said about it.
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        problem, fix = (
            f"is not valid TOML: {error}.",
            "Correct that line; texts need quotes, lists need brackets.",
        )
    except RecursionError:
        problem, fix = "nests too deep.", "Settings are at most a few brackets deep."
    except UnicodeDecodeError:
        problem, fix = "is not UTF-8 text.", "Save it as UTF-8."
    except FileNotFoundError:
        problem = "does not exist."
        fix = f"Name an existing file with --config or {CONFIG_VARIABLE}, or leave both away to use the environment only."
    except (OSError, ValueError) as error:
        problem, fix = f"cannot be read: {_reason(error)}.", "Name a readable file with --config."
    raise ConfigError((Fault(str(path), "", problem, fix),), path=path)


def lay_environment(draft: Draft, environ: Mapping[str, str]) -> list[Fault]:
    """
    Lay `IMAGEGATE_SECTION__NAME` over the draft, wider settings first; empty variables count as not set.

    Returns:
        A fault for each variable that looks like a setting and is none, or that is not the JSON it should be.
    """
    places, faults = variables(), []
    given = [name for name in environ if name.startswith(PREFIX) and environ[name]]
    for name in sorted(given, key=lambda name: (name.count("__"), name)):
        place = places.get(name)
        origin = f"environment variable {name}"
        if place is not None:
            value, fault = _decoded(place, environ[name], origin)
            if fault is None:
                draft.put(place, value, origin)
            else:
                faults.append(fault)
        elif "__" in name:
            known = [place.removeprefix(PREFIX) for place in places]
            near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
            other = "Remove it, or look up the name in docs/configuration.md."
            fix = f"Did you mean {PREFIX}{near[0]}?" if near else other
            faults.append(Fault(origin, "", "is no setting.", fix))
    return faults


def lay_command_line(draft: Draft, overrides: Mapping[str, object]) -> None:
    """Lay dotted names over the draft; None is an option that was not given."""
    for name, value in overrides.items():
        if value is not None:
            draft.put(tuple(name.split(".")), value, COMMAND_LINE)


def follow_references(draft: Draft, environ: Mapping[str, str], folder: Path) -> list[Fault]:
    """
    Put what `env:NAME` and `file:PATH` point to in their place.

    Args:
        draft: as laid together; changed in place.
        environ: where NAME is looked up.
        folder: what a relative PATH starts from.

    Returns:
        A fault for each that leads nowhere. Such a place is marked broken and keeps its text.
    """
    faults = []
    for place, text in list(_texts(draft.values)):
        kind, _, target = text.partition(":")
        if kind not in {"env", "file"} or not _is_one_value(place):
            continue
        value, problem, fix = _from_variable(target, environ) if kind == "env" else _from_file(target, folder)
        if value is None:
            draft.broken.add(place)
            faults.append(draft.fault(place, problem, fix))
        else:
            _replace(draft.values, place, value)
            draft.references[place] = text
    return faults


def anchor_paths(draft: Draft, folder: Path) -> list[Fault]:
    """Make the files that settings name absolute, from the configuration file's folder; each has to be there."""
    faults = []
    for place, text in list(_texts(draft.values)):
        node = node_at(place)
        if node is None or node.type is not Path or place in draft.broken:
            continue
        file = folder / text
        if not file.is_file():
            draft.broken.add(place)
            faults.append(
                draft.fault(
                    place, f"{draft.show(place)} is not a file.", f"There has to be a file at {file}."
                )
            )
        _replace(draft.values, place, str(file))
    return faults


def _decoded(place: Place, text: str, origin: str) -> tuple[object, Fault | None]:
    node = node_at(place)
    if node is None or node.kind == "value":
        return text, None
    value = _json(text)
    if isinstance(value, dict if node.kind == "table" else list):
        return value, None
    kind, example = _JSON_EXAMPLES[node.kind]
    fault = Fault(
        origin, ".".join(map(str, place)), f"the value is not {kind} in JSON.", f"Write it like {example}."
    )
    return None, fault


_JSON_EXAMPLES: Final = {
    "list": ("a list", '["one", "two"]'),
    "table": ("a table", '{"models": ["gpt-image-*"]}'),
    "tables": ("a list of tables", '[{"id": "one"}, {"id": "two"}]'),
}


def _json(text: str) -> object:
    """What a JSON text says; None where it is none."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


def _texts(value: object, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text in a tree of tables and lists, no deeper than settings can lie."""
    if len(place) > _DEEPEST:
        return
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, (*place, name))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, (*place, number))


def _is_one_value(place: Place) -> bool:
    node = node_at(place)
    return node is not None and node.kind == "value" and isinstance(place[-1], str)


def _replace(values: object, place: Place, value: str) -> None:
    *way, last = place
    for step in way:
        values = values[step]  # type: ignore[index]  # the place was found by walking these very values
    values[last] = value  # type: ignore[index]


def _from_variable(name: str, environ: Mapping[str, str]) -> tuple[str | None, str, str]:
    value = environ.get(name)
    if value:
        return value, "", ""
    state = "is not set" if value is None else "is empty"
    return (
        None,
        f'points to environment variable "{name}", which {state}.',
        f"Set it before you start: export {name}=...",
    )


def _from_file(name: str, folder: Path) -> tuple[str | None, str, str]:
    file = folder / name
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        return (
            None,
            f"points to file {file}, which cannot be read: {_reason(error)}.",
            "Create it, or correct the path.",
        )
    return text.removesuffix("\n").removesuffix("\r"), "", ""


def _reason(error: OSError | ValueError) -> str:
    """Why, in a few words and without the contents of the file."""
    return (
        (error.strerror or "unknown reason").lower() if isinstance(error, OSError) else "it is not UTF-8 text"
    )
