from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from gateway.settings.addresses import StoreAddress, parse_store_url
from gateway.settings.faults import WrongError

SECRET = SecretStr("p/w:@ß")
QUOTED = "p%2Fw%3A%40%C3%9F"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("sqlite:///data", StoreAddress("sqlite", folder=Path("data"))),
        ("sqlite:///a/b", StoreAddress("sqlite", folder=Path("a/b"))),
        ("sqlite:////var/lib/imagegate", StoreAddress("sqlite", folder=Path("/var/lib/imagegate"))),
        ("redis://h", StoreAddress("redis", hosts=(("h", 6379),))),
        ("redis://h:1/3", StoreAddress("redis", hosts=(("h", 1),), database=3)),
        ("redis://[::1]:7000", StoreAddress("redis", hosts=(("::1", 7000),))),
        ("rediss://u:pw@h:1/", StoreAddress("rediss", hosts=(("h", 1),), user="u", password=SecretStr("pw"))),
        (f"redis://:{QUOTED}@h", StoreAddress("redis", hosts=(("h", 6379),), password=SECRET)),
        (
            "redis+sentinel://u:pw@h1:1,h2/mymaster/4",
            StoreAddress(
                "redis+sentinel",
                hosts=(("h1", 1), ("h2", 26379)),
                user="u",
                password=SecretStr("pw"),
                database=4,
                master="mymaster",
            ),
        ),
        ("redis+cluster://h1:1,h2", StoreAddress("redis+cluster", hosts=(("h1", 1), ("h2", 6379)))),
    ],
)
def test_every_form_of_a_stores_url_is_taken_apart(url: str, address: StoreAddress) -> None:
    assert parse_store_url(url) == address
    assert parse_store_url(url).is_redis is not url.startswith("sqlite")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "is not a store's URL"),
        ("data", "is not a store's URL"),
        ("mysql://h", "a kind of store that there is none of"),
        ("sqlite://data", "names no folder"),
        ("sqlite:///", "names no folder"),
        ("sqlite:///data?mode=ro", "carries options"),
        ("redis://", "a host or port that cannot be read"),
        ("redis://h:0", "a host or port that cannot be read"),
        ("redis://h:65536", "a host or port that cannot be read"),
        ("redis://a b", "a host or port that cannot be read"),
        ("redis://h/x", "a database that is not a number"),
        ("redis://h/0?ssl=1", "carries options"),
        ("redis://h1,h2/0", "several hosts"),
        ("redis://user@h", "a user without a password"),
        ("redis+sentinel://h1,h2", "does not name the master"),
        ("redis+cluster://h1,h2/0", "has only one"),
    ],
)
def test_any_other_url_is_refused_and_not_quoted(url: str, problem: str) -> None:
    with pytest.raises(WrongError) as wrong:
        parse_store_url(url)

    assert problem in wrong.value.problem
    assert wrong.value.fix.endswith(".")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/x", "sqlite:////var/lib/x"),
        ("redis://h", "redis://h:6379/0"),
        ("rediss://u:hunter2@[::1]:1/2", "rediss://u:***@[::1]:1/2"),
        ("redis+sentinel://:hunter2@h1,h2:2/m", "redis+sentinel://:***@h1:26379,h2:2/m/0"),
        ("redis+cluster://h1,h2", "redis+cluster://h1:6379,h2:6379"),
    ],
)
def test_an_address_shows_itself_without_its_password(url: str, shown: str) -> None:
    address = parse_store_url(url)

    assert str(address) == shown
    assert "hunter2" not in repr(address)


@given(
    rest=st.text(max_size=40), scheme=st.sampled_from(["redis", "redis+sentinel", "redis+cluster", "sqlite"])
)
def test_any_text_is_an_address_or_says_what_to_write(rest: str, scheme: str) -> None:
    try:
        address = parse_store_url(f"{scheme}://{rest}")
    except WrongError as wrong:
        fix = wrong.fix
    else:
        fix = str(address)
    assert fix
