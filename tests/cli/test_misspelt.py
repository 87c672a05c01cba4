"""Values that look like a slip of the pen."""

from pathlib import Path

import pytest

from gateway import catalog
from gateway.cli.misspelt import TOOLS, notes
from gateway.core.principal import DEFAULT_TOOLS
from tests.support.config import PAID, load_text

MODELS = catalog.load()


def notes_on(folder: Path, allow: str) -> tuple[str, ...]:
    return notes(load_text(folder, f"{PAID}[org]\nallow = {{ {allow} }}\n"), MODELS)


@pytest.mark.parametrize(
    ("allow", "near"),
    [
        ('qualities = ["low", "hihg"]', '"hihg" is none that we know; did you mean "high"?'),
        ('qualities = ["atuo"]', 'did you mean "auto"?'),
        ('tools = ["image_generaton"]', 'did you mean "image_generation"?'),
        ('tools = ["web-search"]', 'did you mean "web_search"?'),
    ],
)
def test_a_value_that_is_nearly_a_known_one_is_named_with_it(tmp_path: Path, allow: str, near: str) -> None:
    [note] = notes_on(tmp_path, allow)

    assert note.startswith(f"org.allow.{allow.partition(' ')[0]}: ")
    assert near in note


@pytest.mark.parametrize(
    "allow",
    [
        'qualities = ["auto", "low", "medium", "high", "hd", "standard"]',
        'tools = ["image_gen*", "web_searc?", "mcp"]',
        'qualities = ["stunning"]',
        'tools = ["telepathy"]',
        "tools = []",
    ],
)
def test_known_values_globs_and_what_is_like_nothing_are_left_alone(tmp_path: Path, allow: str) -> None:
    assert notes_on(tmp_path, allow) == ()


def test_every_level_is_looked_at(tmp_path: Path) -> None:
    text = PAID + (
        '[[team]]\nid = "a"\nallow = { tools = ["custm"] }\n'
        '[[key]]\nid = "k"\nteam = "a"\nsecret = "sk-k"\nallow = { qualities = ["medum"] }\n'
    )

    found = notes(load_text(tmp_path, text), MODELS)

    assert [note.partition(":")[0] for note in found] == ["team[a].allow.tools", "key[k].allow.qualities"]


def test_the_tools_of_the_default_list_are_known() -> None:
    assert set(DEFAULT_TOOLS) <= set(TOOLS)
