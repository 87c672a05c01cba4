"""
The schema seen from outside: which names there are, and what belongs where.

A place is a path of names as they stand in the file, with positions in lists: `("key", 0, "team")`.
"""

from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.settings.schema import AllowSettings, Sections

Place = tuple[str | int, ...]
PREFIX: Final = "IMAGEGATE_"
DELIMITER: Final = "__"


@dataclass(frozen=True, slots=True)
class Node:
    """
    What belongs at a place.

    Attributes:
        kind: one value, a list of values, a table, or a list of tables.
        model: of a table or of each table in the list; else None.
        field: of the setting; None for an item of a list.
        type: of a value, the Python type it becomes; of a list, its items' type.
    """

    kind: Literal["value", "list", "table", "tables"]
    model: type[BaseModel] | None
    field: FieldInfo | None
    type: object


ROOT = Node("table", Sections, None, Sections)


def node_at(place: Place) -> Node | None:
    """What belongs at a place; None if the schema has no such place."""
    node = ROOT
    for step in place:
        if isinstance(step, int):
            if node.kind not in {"list", "tables"}:
                return None
            node = Node("table" if node.kind == "tables" else "value", node.model, None, node.type)
        else:
            field = _fields(node).get(step) if node.kind == "table" else None
            if field is None:
                return None
            node = _node(field.annotation, field)
    return node


def names_in(place: Place) -> tuple[str, ...]:
    """The names that a table may hold, in the order of the schema; nothing where no table belongs."""
    node = node_at(place)
    return tuple(_fields(node)) if node is not None and node.kind == "table" else ()


def setting_names() -> tuple[str, ...]:
    """Every setting by its dotted name, such as `server.port`, `upstream.credential.weight`, `key.allow` as a whole."""
    return tuple(".".join(path) for path in _leaves(ROOT) if "allow" not in path[:-1])


def variables() -> dict[str, Place]:
    """The environment variables that are settings -> their places. Lists of tables are one variable each."""
    return {PREFIX + DELIMITER.join(path).upper(): path for path in _leaves(ROOT, lists=False)}


def default_of(name: str) -> object:
    """What a setting, by its dotted name, is without being given; None for nothing."""
    node = ROOT
    for step in name.split("."):
        field = _fields(node)[step]
        node = _node(field.annotation, field)
    return None if node.field is None or node.field.is_required() else node.field.default


def _leaves(node: Node, path: tuple[str, ...] = (), *, lists: bool = True) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, field in _fields(node).items():
        child, place = _node(field.annotation, field), (*path, name)
        if child.kind in {"value", "list"}:
            found.append(place)
        elif child.kind == "tables":
            found += _leaves(child, place) if lists else [place]
        else:
            found += [place] if child.model is AllowSettings else []
            found += _leaves(child, place, lists=lists)
    return found


def _fields(node: Node) -> dict[str, FieldInfo]:
    if node.model is None:
        return {}
    return {field.alias or attribute: field for attribute, field in node.model.model_fields.items()}


def _node(annotation: object, field: FieldInfo | None) -> Node:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _node(arguments[0], field)
    if origin in {Union, UnionType}:
        return _node(next(one for one in arguments if one is not type(None)), field)
    if origin is tuple:
        item = _node(arguments[0], None)
        return Node("tables" if item.model is not None else "list", item.model, field, item.type)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Node("table", annotation, field, annotation)
    return Node("value", None, field, annotation)
