from gateway.core.principal import Principal, Scope, digest_of


def test_a_digest_stands_for_a_secret() -> None:
    assert digest_of("sk-demo").hex() == "f77894fdfa58e447c57e077eaa9708e8e009c84dc6aba2db80461275e9b85be7"
    assert digest_of("sk-demo") != digest_of("sk-demo ")
    assert len(digest_of("\udcff")) == 32


def test_scopes_are_told_narrowest_first() -> None:
    who = Principal(Scope("org", "o"), Scope("team", "t"), Scope("key", "k"))
    assert [str(scope) for scope in who.scopes] == ["key 'k'", "team 't'", "org 'o'"]
