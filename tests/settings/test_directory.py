from pathlib import Path

from gateway.core.directory import Entry
from gateway.core.limits import parse_limit
from gateway.core.principal import Allow, Scope
from gateway.settings.directory import directory_of
from tests.support.config import PAID, load_text

CONFIG = (
    PAID
    + """
[org]
id = "acme"
limits = ["$500 per month"]
[[team]]
id = "b"
name = "The Bs"
allow = { models = ["gpt-*"], max_n = 2 }
limits = ["5 images per minute", "1 concurrent"]
[[team]]
id = "a"
[[key]]
id = "k"
team = "a"
secret = "sk-k"
limits = ["$1 per day soft"]
"""
)


def test_every_scope_of_a_configuration_is_there_in_order(tmp_path: Path) -> None:
    found = directory_of(load_text(tmp_path, CONFIG))
    assert [entry.counted_as for entry in found] == ["org", "team:b", "team:a", "key:k"]
    assert found.org == Entry(Scope("org", "acme", limits=(parse_limit("$500 per month"),)))
    assert found.team("b") == Entry(
        Scope(
            "team",
            "b",
            Allow(models=("gpt-*",), max_n=2),
            (parse_limit("5 images per minute"), parse_limit("1 concurrent")),
        ),
        "The Bs",
    )
    assert found.keys[0].limits == (parse_limit("$1 per day soft"),)
