"""
What pydantic found wrong, said to a person.

Not here: what is wrong; only the words.
"""

import difflib
from typing import TYPE_CHECKING

from pydantic import SecretStr

from gateway.settings.draft import Draft
from gateway.settings.faults import Fault, WrongError
from gateway.settings.shape import Node, Place, names_in, node_at

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


def faults_of(error: "ValidationError", draft: Draft) -> list[Fault]:
    """A fault for each error, but for places that have theirs already."""
    details = error.errors(include_url=False, include_input=False)
    return [_fault(one, draft) for one in details if one["loc"] not in draft.broken]


def _fault(error: "ErrorDetails", draft: Draft) -> Fault:
    place: Place = error["loc"]
    node = node_at(place)
    if node is None:
        return _unknown(place, draft)
    if error["type"] == "missing":
        example = node.field.examples if node.field is not None else None
        return draft.fault(place, "is missing.", f'Add {place[-1]} = "{example[0] if example else "..."}".')
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
            if place[-1] == "allow" or isinstance(place[-1], int):
                return (
                    "is not a table.",
                    'Write a table in braces, such as allow = { models = ["gpt-image-*"] }.',
                )
            return (
                "is not a table.",
                f"Write the section's name on a line of its own, [{name}], and its settings below.",
            )
        case "tables" if not isinstance(value, list):
            return "is not a list of tables.", f"Begin each of them with double brackets: [[{name}]]."
        case "list" if not isinstance(value, list):
            return "is not a list.", f'Write it in brackets, such as {place[-1]} = ["..."].'
        case _:
            return None


def _wrong_value(error: "ErrorDetails", place: Place, node: Node) -> tuple[str, str]:
    """Problem and fix, by the type of pydantic's error."""
    context = error.get("ctx", {})
    default = node.field.default if node.has_default and node.field is not None else None
    such_as = f", such as {default}" if isinstance(default, int | float) else ""
    kind = error["type"]
    if isinstance(wrong := context.get("error"), WrongError):
        return wrong.problem, wrong.fix
    if kind == "literal_error":
        return "is not one of the choices.", f"Write one of {context['expected']}."
    if kind.startswith("bool"):
        return "is neither true nor false.", "Write true or false, without quotes."
    if kind.startswith("int"):
        return "is not a whole number.", f"Write a whole number without quotes{such_as}."
    if kind.startswith(("float", "finite")):
        return "is not a number.", f"Write a number without quotes{such_as}."
    bounds = {
        "greater_than_equal": "of at least {ge}",
        "less_than_equal": "of at most {le}",
        "greater_than": "above {gt}",
    }
    if kind in bounds:
        side = "large" if kind == "less_than_equal" else "small"
        return f"is too {side}.", f"Write a number {bounds[kind].format(**context)}{such_as}."
    if kind == "string_type" or (kind.startswith("path") and node.type is not SecretStr):
        return "is not a text.", f'Write it in quotes, such as {place[-1]} = "...".'
    return f"cannot be used: {error['msg'].lower()}.", "Write it as docs/configuration.md shows it."
