"""
A configuration before it is checked: what was written, and where.

File, environment and command line are laid over each other here, so that every later fault can name the place a
person has to change.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Final

from pydantic import SecretStr

from gateway.settings.addresses import StoreAddress
from gateway.settings.faults import Fault
from gateway.settings.shape import Place, node_at

_LABEL: Final = re.compile(r"(?!sk-)[A-Za-z0-9._-]{1,128}")
_SHOWN: Final = 60


@dataclass(slots=True)
class Draft:
    """
    The values as written, by place.

    Attributes:
        file: how faults name the configuration file, or that there is none.
        values: the table of tables, as TOML gives it.
        origins: places that another source than the file wrote -> that source.
        references: places whose value was read from elsewhere -> `env:NAME` or `file:PATH`.
        broken: places that have their fault already; nothing more is said about them.
    """

    file: str
    values: dict[str, object]
    origins: dict[Place, str] = field(default_factory=dict)
    references: dict[Place, str] = field(default_factory=dict)
    broken: set[Place] = field(default_factory=set)

    def put(self, place: Place, value: object, origin: str) -> None:
        """Lay a value over what is there. Below something that is no table it is left out: that has its fault."""
        table: object = self.values
        for step in place[:-1]:
            if not isinstance(table, dict):
                return
            table = table.setdefault(step, {})
        if isinstance(table, dict):
            table[place[-1]] = value
            self.origins[place] = origin

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
        return Fault(next(filter(None, sources), self.file), self.name(place), problem, fix)

    def show(self, place: Place) -> str:
        """The value at a place, for a sentence; `the value` where it is or might be a secret."""
        value, node = self.get(*place), node_at(place)
        if place in self.references:
            return f"the value of {self.references[place]}"
        if node is None or node.kind in {"table", "tables"} or node.type is SecretStr:
            return "the value"
        if node.field is not None and not node.field.repr:
            return "the value"
        return _shown(value, is_address=node.type is StoreAddress)


def _shown(value: object, *, is_address: bool) -> str:
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
