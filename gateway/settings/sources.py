"""
Where settings come from: the file, the environment, the command line, as sources of pydantic-settings.

The library lays them over each other (loading.py has the order). Here is what each of them has to say, once the draft
has left out what does not count and followed what points elsewhere. What the library would do otherwise:

- its TOML source passes over a file that is not there, and over a pipe, and takes a byte-order mark for a mistake:
  the file is read here, and goes in as the library's plain source of given values;
- its environment source stops at the first variable that is not the JSON it should be, takes a store's URL for
  JSON, and leaves out variables that are misspelt: they are looked through and decoded here; what they are called,
  nested and merged is its doing.

This is the only file that reads the process's environment.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic.fields import FieldInfo
from pydantic_core import from_json
from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource

from gateway.settings.draft import Draft
from gateway.settings.faults import ConfigError, Fault, WrongError, reason
from gateway.settings.schema import UpstreamSettings
from gateway.settings.shape import DELIMITER, PREFIX, Place, node_at, variables

CONFIG_VARIABLE: Final = "IMAGEGATE_CONFIG"
_API_KEY_VARIABLE: Final = "OPENAI_API_KEY"
_TRACES_VARIABLES: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_OPENAI: Final = UpstreamSettings().base_url


def environment() -> Mapping[str, str]:
    """The process's environment."""
    return os.environ  # noqa: TID251 - the one reader of the environment


def wants_traces(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the standard variables of OpenTelemetry name a receiver of traces. `environ`: None is the process's."""
    given = environment() if environ is None else environ
    is_off = given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    goes_elsewhere = given.get("OTEL_TRACES_EXPORTER", "").strip().lower() not in {"", "otlp"}
    return not is_off and not goes_elsewhere and any(given.get(name) for name in _TRACES_VARIABLES)


def command_line(draft: Draft) -> Iterator[dict[str, Any]]:
    """The tables of each option, given by its dotted name; None is an option that was not given."""
    for name, value in draft.overrides.items():
        place: Place = tuple(name.split("."))
        tables: Any = reduce(lambda inner, step: {step: inner}, reversed(place), value)
        if value is not None:
            yield draft.lay(tables, {place: "command line"})


class Environment(EnvSettingsSource):
    """Variables `IMAGEGATE_SECTION__NAME`; an empty one counts as not set."""

    def __init__(self, model: type[BaseSettings], draft: Draft) -> None:
        # Names are compared in lower case, as the schema has them; what JSON says inside is not folded. The prefix
        # goes before aliases too: IMAGEGATE_TEAM is `team`, which Python calls `teams`.
        super().__init__(model, case_sensitive=True, env_prefix=PREFIX.lower(), env_prefix_target="all")
        places = variables()
        given = {name: text for name, text in draft.environ.items() if name.startswith(PREFIX) and text}
        draft.faults += [_unknown(name) for name in sorted(given.keys() - places) if DELIMITER in name]
        found: dict[str, Any] = {}
        origins: dict[Place, str] = {}
        for name, place in places.items():
            try:
                found[name.lower()] = _decoded(place, given[name])
                origins[place] = _variable(name)
            except KeyError:
                continue
            except WrongError as wrong:
                fault = Fault(_variable(name), draft.name(place), wrong.problem, wrong.fix)
                draft.faults.append(fault)
        self.env_vars = found
        self.tables = draft.lay(super().__call__(), origins)

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401, ARG002 - the library's signature
        """The value as it is: it is decoded."""
        return value

    def __call__(self) -> dict[str, Any]:
        """The tables that the variables make."""
        return self.tables


class DefaultKey(InitSettingsSource):
    """
    `OPENAI_API_KEY`: the default credential towards OpenAI, and never sent to anybody else unasked.

    It is the last to speak, and so shows the draft what all said together.
    """

    def __init__(self, model: type[BaseSettings], draft: Draft) -> None:
        super().__init__(model, {})
        self.draft = draft

    def __call__(self) -> dict[str, Any]:
        """The credential, where the others name none and no other upstream."""
        self.draft.values = self.current_state
        key, upstream = self.draft.environ.get(_API_KEY_VARIABLE), self.current_state.get("upstream", {})
        if not key or not isinstance(upstream, dict) or upstream.get("credential"):
            return {}
        if upstream.get("api_key") is not None or not _is_openai(upstream.get("base_url", _OPENAI)):
            return {}
        self.draft.values = {**self.current_state, "upstream": {**upstream, "api_key": key}}
        self.draft.origins["upstream", "api_key"] = _variable(_API_KEY_VARIABLE)
        return {"upstream": {"api_key": key}}


def read_file(path: Path | None) -> dict[str, Any]:
    """
    The tables of a TOML file; none without a file.

    Raises:
        ConfigError: there is no such file, or it is not TOML; then nothing else can be said about it.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        problem, fix = (
            f"is not valid TOML: {error}.",
            "Correct that line; texts need quotes, lists need brackets.",
        )
    except RecursionError:
        problem, fix = "nests too deep.", "Settings are at most a few brackets deep."
    except FileNotFoundError:
        problem = "does not exist."
        fix = f"Name an existing file with --config or {CONFIG_VARIABLE}, or leave both away to use the environment only."
    except (OSError, ValueError) as error:
        problem, fix = f"cannot be read: {reason(error)}.", "Name a readable UTF-8 file with --config."
    raise ConfigError((Fault(str(path), "", problem, fix),), path=path)


def _variable(name: str) -> str:
    return f"environment variable {name}"


def _unknown(name: str) -> Fault:
    known = [variable.removeprefix(PREFIX) for variable in variables()]
    near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
    other = "Remove it, or look up the name in docs/configuration.md."
    return Fault(_variable(name), "", "is no setting.", f"Did you mean {PREFIX}{near[0]}?" if near else other)


def _decoded(place: Place, text: str) -> object:
    """What a variable says: its text, or JSON where a list or a table belongs."""
    node = node_at(place)
    if node is None or node.kind == "value":
        return text
    kind, example = _JSON_EXAMPLES[node.kind]
    wrong = WrongError(f"the value is not {kind} in JSON.", f"Write it like {example}.")
    try:
        value: object = from_json(text)
    except (ValueError, TypeError):  # TypeError: a variable may hold bytes that are no text
        raise wrong from None
    if not isinstance(value, dict if node.kind == "table" else list):
        raise wrong
    return value


_JSON_EXAMPLES: Final = {
    "list": ("a list", '["one", "two"]'),
    "table": ("a table", '{"models": ["gpt-image-*"]}'),
    "tables": ("a list of tables", '[{"id": "one"}, {"id": "two"}]'),
}


def _is_openai(url: object) -> bool:
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return False
    return (parts.scheme, parts.hostname) == ("https", "api.openai.com")
