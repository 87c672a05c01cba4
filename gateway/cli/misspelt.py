"""
Values of `allow` that are good as far as anybody can know, and look like a slip of the pen.

A quality or a tool may be one that we have never heard of, so none of this is a fault. But a value that nothing can
match because a letter is wrong shuts somebody out, and nobody would see why.
"""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Final

from gateway.core.catalog import Catalog, ImageModel, PerImageModel
from gateway.settings import AllowSettings, Settings

TOOLS: Final = (
    "image_generation",
    "function",
    "custom",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "file_search",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "mcp",
    "shell",
    "local_shell",
    "apply_patch",
    "namespace",
    "tool_search",
    "programmatic_tool_calling",
)
"""Tools of the Responses API, as the official SDK's types name them (openai 3.54)."""
_GLOB: Final = frozenset("*?[")


def notes(settings: Settings, catalog: Catalog) -> tuple[str, ...]:
    """A sentence for each value that is nearly a known one."""
    known = {"tools": TOOLS, "qualities": _qualities(catalog)}
    return tuple(
        f'{scope}.allow.{name}: "{value}" is none that we know; did you mean "{near}"?'
        for scope, allow in _levels(settings)
        for name, words in known.items()
        for value, near in _near(getattr(allow, name) or (), words)
    )


def _levels(settings: Settings) -> Iterator[tuple[str, AllowSettings]]:
    yield "org", settings.org.allow
    for team in settings.teams:
        yield f"team[{team.id}]", team.allow
    for key in settings.keys:
        yield f"key[{key.id}]", key.allow


def _qualities(catalog: Catalog) -> tuple[str, ...]:
    found = {"auto"}
    for model in catalog.models.values():
        match model:
            case ImageModel():
                found.update(model.qualities)
            case PerImageModel():
                found.update(quality for quality, _ in model.prices)
            case _:
                pass
    return tuple(sorted(found))


def _near(values: Collection[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        near = get_close_matches(value, known, n=1)
        if near and value not in known and not _GLOB & set(value):
            yield value, near[0]
