from pathlib import Path

import pytest

from gateway.settings.draft import Draft


def test_a_place_is_named_by_the_id_of_its_table() -> None:
    draft = Draft(
        values={
            "key": [{"id": "alice"}, {"name": "bob"}, {}, {"id": "sk-secret"}, {"id": "a b"}],
            "x": ["one"],
        }
    )

    names = [draft.name(("key", number, "team")) for number in range(5)]

    assert names == ["key[alice].team", "key[bob].team", "key[#3].team", "key[#4].team", "key[#5].team"]
    assert draft.name(("x", 0)) == "x"


def test_a_fault_stands_where_its_value_was_written() -> None:
    draft = Draft(Path("f"))
    draft.lay({"org": {"allow": {"max_n": 2}}}, {("org", "allow", "max_n"): "command line"})
    draft.lay({"org": {"allow": {"prompts": True}}}, {("org", "allow"): "environment variable A"})
    draft.lay({"org": {"id": "a"}}, {})

    places = [("org", "id"), ("org", "allow", "prompts"), ("org", "allow", "max_n")]

    assert [draft.fault(place, "p", "f").file for place in places] == [
        "f",
        "environment variable A",
        "command line",
    ]
    assert Draft().fault(("org",), "p", "f").file == "no configuration file"


def test_a_layer_counts_only_where_no_stronger_one_spoke() -> None:
    draft = Draft()
    whole = {"allow": {"max_n": 1, "sizes": ["auto"]}, "id": "a"}

    first = draft.lay({"org": {"allow": {"max_n": 2}}}, {("org", "allow", "max_n"): "command line"})
    second = draft.lay({"org": {"allow": whole["allow"]}}, {("org", "allow"): "environment variable A"})
    third = draft.lay({"org": whole, "log": {}}, {})

    assert first == {"org": {"allow": {"max_n": 2}}}
    assert second == {"org": {"allow": {"sizes": ["auto"]}}}
    assert third == {"org": {"id": "a"}, "log": {}}
    assert whole == {"allow": {"max_n": 1, "sizes": ["auto"]}, "id": "a"}


@pytest.mark.parametrize("place", [("server", "port"), ("team", 0, "name")])
def test_references_are_followed_once(place: tuple[str | int, ...]) -> None:
    draft = Draft(environ={"A": "env:B", "B": "b"})

    laid = draft.lay({"server": {"port": "env:A"}, "team": [{"name": "env:A", "limits": ["env:A"]}]}, {})

    assert laid == {"server": {"port": "env:B"}, "team": [{"name": "env:B", "limits": ["env:A"]}]}
    assert draft.references[place] == "env:A"


def test_a_value_is_shown_unless_it_may_be_a_secret() -> None:
    draft = Draft(
        values={
            "server": {"host": "a\nb", "port": 1},
            "upstream": {"api_key": "x", "base_url": "https://u:p@h"},
            "store": {"url": "redis://:p@h"},
            "log": {"level": "sk-x", "format": "x" * 100},
            "unknown": "x",
        },
        references={("server", "port"): "env:PORT"},
    )

    assert draft.show(("server", "host")) == r'"a\nb"'
    assert draft.show(("server", "port")) == "the value of env:PORT"
    assert draft.show(("store", "url")) == '"redis://…"'
    assert draft.show(("log", "format")) == f'"{"x" * 60}…"'
    hidden = [("upstream", "api_key"), ("upstream", "base_url"), ("log", "level"), ("unknown",)]
    assert [draft.show(place) for place in hidden] == ["the value"] * 4
    assert "u:p@h" not in repr(draft)
