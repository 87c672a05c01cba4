from gateway.core.directory import Directory, Entry
from gateway.core.limits import parse_limit
from gateway.core.principal import Allow, Scope
from gateway.core.quota import Claimant

LIMIT = parse_limit("$5 per month")
ORG = Entry(Scope("org", "default"))
TEAM = Entry(Scope("team", "a", Allow(sizes=("auto",), max_n=2, prompts=False), (LIMIT,)), "The As")
KEY = Entry(Scope("key", "a"))
DIRECTORY = Directory(ORG, (TEAM,), (KEY,))


def test_scopes_are_found_by_the_names_they_are_counted_under() -> None:
    assert [DIRECTORY.find(name) for name in ("org", "team:a", "key:a")] == [ORG, TEAM, KEY]
    assert [DIRECTORY.find(name) for name in ("default", "org:default", "team:b", "a", "")] == [None] * 5


def test_a_team_is_found_by_its_id() -> None:
    assert (DIRECTORY.team("a"), DIRECTORY.team("org")) == (TEAM, None)


def test_the_widest_comes_first() -> None:
    assert list(DIRECTORY) == [ORG, TEAM, KEY]


def test_a_scope_claims_with_its_own_limits() -> None:
    assert TEAM.claimant == Claimant("team:a", (LIMIT,))
    assert TEAM.limits == (LIMIT,)


def test_what_is_allowed_is_told_as_the_configuration_has_it() -> None:
    assert TEAM.allowed() == {"sizes": ["auto"], "max_n": 2, "prompts": False}
    assert ORG.allowed() == {}
