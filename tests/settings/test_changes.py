"""What a new configuration changes, and when that comes into force."""

import tempfile
from pathlib import Path

import pytest

from gateway.settings import Settings, load, setting_names
from gateway.settings.changes import NEW_WORKERS, RESTART, Changes, changes, in_force

PEOPLE = '[[team]]\nid = "t"\n[[key]]\nid = "k"\nteam = "t"\nsecret = "sk-k"\n'


def settings(text: str = "", *, people: str = PEOPLE) -> Settings:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "imagegate.toml"
        path.write_text(f"{text}\n{people}")
        return load(path, {"OPENAI_API_KEY": "sk-up"})


def test_nothing_changes_nothing() -> None:
    assert not changes(settings(), settings())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[upstream]\nretries = 3", "upstream.retries"),
        ('[upstream]\napi_key = "sk-other"', "upstream.api_key"),
        ('[org]\nlimits = ["$1 per day"]', "org.limits"),
        ("[org]\nallow = { max_n = 1 }", "org.allow"),
        ("[cache]\nttl_s = 5", "cache.ttl_s"),
        ('[log]\nlevel = "debug"', "log.level"),
        ('[store]\non_failure = "open"', "store.on_failure"),
        ("[server]\nmax_concurrent = 5", "server.max_concurrent"),
    ],
)
def test_most_settings_come_into_force_at_once(text: str, name: str) -> None:
    assert changes(settings(), settings(text)) == Changes((name,), (), ())


@pytest.mark.parametrize(
    "people",
    [
        PEOPLE.replace("sk-k", "sk-other"),
        f'{PEOPLE}[[key]]\nid = "l"\nteam = "t"\nsecret = "sk-l"\n',
        f"{PEOPLE}expires_at = 2030-01-01T00:00:00Z\n",
    ],
    ids=["another secret", "one more", "an end"],
)
def test_keys_come_into_force_at_once_and_are_not_shown(people: str) -> None:
    found = changes(settings(), settings(people=people))

    assert found == Changes(("key",), (), ())
    assert "sk-" not in repr(found)


def test_what_a_worker_is_made_with_waits_for_new_workers() -> None:
    found = changes(settings(), settings("[server]\ndrain_timeout_s = 5\n[cache]\nmax_bytes = 5000000000"))
    assert found == Changes((), ("server.drain_timeout_s", "cache.max_bytes"), ())


def test_what_all_workers_share_waits_for_a_restart() -> None:
    found = changes(
        settings(), settings('[server]\nport = 9\n[store]\nurl = "sqlite:///elsewhere"\n[org]\nid = "b"')
    )
    assert found == Changes((), (), ("server.port", "store.url", "org.id"))


def test_in_force_is_the_new_one_but_for_what_takes_a_restart() -> None:
    old, new = (
        settings(),
        settings(
            '[server]\nport = 9\nmax_concurrent = 5\n[store]\nurl = "sqlite:///elsewhere"\non_failure = "open"'
        ),
    )

    found = in_force(old, new)

    assert (found.server.port, found.server.max_concurrent) == (8080, 5)
    assert (str(found.store.url), found.store.on_failure) == (str(old.store.url), "open")
    assert changes(old, found).with_restart == ()
    assert changes(found, new).at_once == ()


def test_every_setting_that_waits_is_a_setting() -> None:
    assert set(setting_names()) >= RESTART | NEW_WORKERS
    assert not RESTART & NEW_WORKERS
