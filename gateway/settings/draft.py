"""
A configuration before it is checked: what was written, where, and what it points to.

Every layer passes through here on its way to pydantic, so that every later fault can name the place a person has to
change. `env:NAME` and `file:PATH` are followed once, for settings that are one value.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from gateway.settings.addresses import StoreAddress
from gateway.settings.faults import Fault, WrongError, reason
from gateway.settings.shape import Place, node_at

NO_FILE: Final = "no configuration file"
_LABEL: Final = re.compile(r"(?!sk-)[A-Za-z0-9._-]{1,128}")
_SHOWN: Final = 60
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST: Final = 8  # allow inside a list of tables ends at 5
# The type of a setting -> the types that a file has for it. A number that is cut to a whole one is a slip too.
_KINDS: Final[dict[object, tuple[type, ...]]] = {int: (int,), float: (int, float), bool: (bool,)}


@dataclass(slots=True, repr=False)
class Draft:
    """
    What there is to read, and what was read so far.

    Attributes:
        path: the configuration file, if there is one.
        environ: the environment.
        overrides: dotted names -> values of the command line.
        values: all layers together; filled once they are.
        origins: places that another layer than the file wrote -> that layer. The strongest layer writes first.
        references: places whose value was read from elsewhere -> `env:NAME` or `file:PATH`.
        quoted: places of the file that hold a text, a number or a flag where another of these kinds belongs.
        broken: places that have their fault already, as problem and fix; nothing more is said about them.
        faults: what is wrong with variables as such.
    """

    path: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, object] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    origins: dict[Place, str] = field(default_factory=dict)
    references: dict[Place, str] = field(default_factory=dict)
    quoted: list[Place] = field(default_factory=list)
    broken: dict[Place, tuple[str, str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def lay(
        self, layer: Mapping[str, object], origins: Mapping[Place, str], *, typed: bool = False
    ) -> dict[str, Any]:
        """
        A layer as it goes below the ones before it.

        What they wrote is left out, a table that they wrote whole too: `org.allow` in the environment takes the place
        of the file's, where a deep merge alone would mix the two. References are followed.

        Args:
            layer: its tables.
            origins: what it is called, by place.
            typed: it tells numbers and flags from texts, as a file does and a variable cannot.
        """
        counting = self._table(layer, ())
        if typed:
            self._look_for_quoted(counting, ())
        self.origins = {**origins, **self.origins}
        return counting

    def get(self, *place: str | int) -> object:
        """What stands at a place; None where nothing does."""
        value: object = self.values
        for step in place:
            if isinstance(step, str):
                value = value.get(step) if isinstance(value, dict) else None
            else:
                value = value[step] if isinstance(value, list) and step < len(value) else None
        return value

    def tables(self, *place: str | int) -> list[tuple[Place, Mapping[str, object]]]:
        """The tables of a list of tables, each with its place; whatever is no table is left out."""
        items = self.get(*place)
        if not isinstance(items, list):
            return []
        return [((*place, number), item) for number, item in enumerate(items) if isinstance(item, dict)]

    def name(self, place: Place) -> str:
        """The dotted name by which a person finds a place: `server.port`, `key[alice].team`, `key[#2].team`."""
        name = ""
        for position, step in enumerate(place):
            if isinstance(step, str):
                name += f".{step}" if name else step
                continue
            table = self.get(*place[: position + 1])
            if isinstance(table, dict):
                label = table.get("id", table.get("name"))
                known = isinstance(label, str) and _LABEL.fullmatch(label) is not None
                name += f"[{label}]" if known else f"[#{step + 1}]"
        return name

    def fault(self, place: Place, problem: str, fix: str) -> Fault:
        """A fault at a place."""
        sources = (self.origins.get(place[:length]) for length in range(len(place), 0, -1))
        file = NO_FILE if self.path is None else str(self.path)
        return Fault(next(filter(None, sources), file), self.name(place), problem, fix)

    def show(self, place: Place) -> str:
        """The value at a place, for a sentence; `the value` where it is or might be a secret."""
        node = node_at(place)
        if place in self.references:
            return f"the value of {self.references[place]}"
        if node is None or node.kind in {"table", "tables"} or node.type is SecretStr:
            return "the value"
        if node.field is not None and not node.field.repr:
            return "the value"
        return _shown(self.get(*place), is_address=node.type is StoreAddress)

    def _table(self, table: Mapping[str, object], place: Place) -> dict[str, Any]:
        return {
            name: self._value(item, (*place, name))
            for name, item in table.items()
            if (*place, name) not in self.origins
        }

    def _value(self, value: object, place: Place) -> object:
        match value:
            case dict() if len(place) < _DEEPEST:
                return self._table(value, place)
            case list() if len(place) < _DEEPEST:
                return [self._value(item, (*place, number)) for number, item in enumerate(value)]
            case str():
                return self._text(value, place)
            case _:
                return value

    def _text(self, text: str, place: Place) -> str:
        node = node_at(place)
        if node is None or node.kind != "value" or not isinstance(place[-1], str):
            return text
        kind, _, target = text.partition(":")
        shown = _shown(text)
        if kind in {"env", "file"}:
            try:
                value = self._from_variable(target) if kind == "env" else self._from_file(target)
            except WrongError as lost:
                self.broken[place] = (lost.problem, lost.fix)
                return text
            self.references[place], shown, text = text, f"the value of {text}", value
        if node.type is Path:
            file = self.folder / text
            if not file.is_file():
                self.broken[place] = (f"{shown} is not a file.", f"There has to be a file at {file}.")
            return str(file)
        return text

    def _look_for_quoted(self, value: object, place: Place) -> None:
        match value:
            case dict():
                for name, item in value.items():
                    self._look_for_quoted(item, (*place, name))
            case list():
                for number, item in enumerate(value):
                    self._look_for_quoted(item, (*place, number))
            case str() | bool() | int() | float() if (
                place not in self.references and place not in self.broken
            ):
                node = node_at(place)
                kinds = _KINDS.get(node.type) if node is not None and node.kind == "value" else None
                if kinds is not None and type(value) not in kinds:
                    self.quoted.append(place)
            case _:
                pass

    @property
    def folder(self) -> Path:
        """What relative paths start from: the configuration file's folder."""
        return Path.cwd() if self.path is None else self.path.absolute().parent

    def _from_variable(self, name: str) -> str:
        value = self.environ.get(name)
        if not value and _VARIABLE.fullmatch(name) is None:
            raise WrongError(
                "does not name an environment variable after env:.",
                'Write "env:NAME", where NAME is made of letters, digits and underscores.',
            )
        if not value:
            state = "is not set" if value is None else "is empty"
            problem = f'points to environment variable "{name}", which {state}.'
            raise WrongError(problem, f"Set it before you start: export {name}=...")
        return value

    def _from_file(self, name: str) -> str:
        if not name:
            raise WrongError("does not name a file after file:.", 'Write "file:PATH".')
        file = self.folder / name
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            problem = f"points to file {file}, which cannot be read: {reason(error)}."
            raise WrongError(problem, "Create it, or correct the path.") from None
        return text.removesuffix("\n").removesuffix("\r")


def _shown(value: object, *, is_address: bool = False) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str() if is_address:
            scheme, separator, _ = value.partition("://")
            return f'"{scheme}://…"' if separator and re.fullmatch(r"[a-z+]{1,20}", scheme) else "the value"
        case str() if "@" in value or value.startswith("sk-"):
            return "the value"
        case str():
            return json.dumps(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…", ensure_ascii=False)
        case int() | float() | date() | time():
            return str(value)[:_SHOWN]
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return "the value"
