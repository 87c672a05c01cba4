from gateway.settings.draft import Draft


def test_a_place_is_named_by_the_id_of_its_table() -> None:
    draft = Draft(
        "f", {"key": [{"id": "alice"}, {"name": "bob"}, {}, {"id": "sk-secret"}, {"id": "a b"}], "x": ["one"]}
    )

    names = [draft.name(("key", number, "team")) for number in range(5)]

    assert names == ["key[alice].team", "key[bob].team", "key[#3].team", "key[#4].team", "key[#5].team"]
    assert draft.name(("x", 0)) == "x"


def test_a_fault_stands_where_its_value_was_written() -> None:
    draft = Draft("f", {"org": {"id": "a"}})
    draft.put(("org", "allow"), {"max_n": 1}, "environment variable A")
    draft.put(("org", "allow", "max_n"), 2, "environment variable B")

    files = [
        draft.fault(place, "p", "f").file
        for place in [("org", "id"), ("org", "allow"), ("org", "allow", "max_n")]
    ]

    assert files == ["f", "environment variable A", "environment variable B"]
    assert draft.get("org", "allow", "max_n") == 2


def test_nothing_is_laid_below_what_is_no_table() -> None:
    draft = Draft("f", {"server": 1})
    draft.put(("server", "port"), 2, "command line")

    assert draft.values == {"server": 1}
    assert draft.get("server", "port") is None


def test_a_value_is_shown_unless_it_may_be_a_secret() -> None:
    draft = Draft(
        "f",
        {
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
