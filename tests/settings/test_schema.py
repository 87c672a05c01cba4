from pathlib import Path

import pytest

from gateway.settings import UNBUILT, default_of, load, setting_names, waits_for
from tests.support.config import PAID, load_text

HONOURED = (
    PAID
    + """
max_connections = 10
transport = "httpx2"
[server]
port = 9000
workers = 2
max_body_bytes = 1000
[ops]
port = 9001
[org]
id = "acme"
allow = { max_n = 2 }
[[team]]
id = "a"
name = "A"
[[key]]
id = "k"
team = "a"
secret = "sk-k"
expires_at = 2030-01-01T00:00:00Z
[log]
level = "debug"
"""
)


def test_settings_that_work_already_are_not_named(tmp_path: Path) -> None:
    text = HONOURED + '[store]\non_failure = "open"\n[metrics]\nenabled = true\n'
    assert load_text(tmp_path, text).unbuilt() == ()


def test_settings_that_wait_for_their_part_are_named_once_even_at_their_default(tmp_path: Path) -> None:
    text = HONOURED + '[auth]\npepper = "salt-and-pepper-of-some-length"\n[store]\nurl = "redis://h"\n'
    text += '[[key]]\nid = "b"\nteam = "a"\nsecret = "sk-b"\ninject_safety_identifier = true\n'
    text += '[[key]]\nid = "c"\nteam = "a"\nsecret = "sk-c"\ninject_safety_identifier = false\n'

    unbuilt = load_text(tmp_path, text, {"IMAGEGATE_TENANCY__UNKNOWN_IDS": "refuse"}).unbuilt()

    assert unbuilt == (
        "auth.pepper",
        "key.inject_safety_identifier",
        "tenancy.unknown_ids",
    )


def test_nothing_given_is_nothing_unbuilt() -> None:
    assert load(None, {"OPENAI_API_KEY": "sk"}).unbuilt() == ()


def test_defaults_are_good_settings() -> None:
    """Defaults are not validated by pydantic; read back as values they are."""
    defaults = {name: default_of(name) for name in setting_names() if not name.startswith(("team", "key"))}
    given = {name: value for name, value in defaults.items() if isinstance(value, str | int | float)}

    read = load(None, {"OPENAI_API_KEY": "sk"}, {k: v for k, v in given.items() if "credential" not in k})

    assert read == load(None, {"OPENAI_API_KEY": "sk"})


def test_every_line_of_the_table_of_unbuilt_settings_is_about_a_setting() -> None:
    names = setting_names()
    sections = {name.partition(".")[0] for name in names}

    assert all(key.partition("=")[0] in {*names, *sections} for key in UNBUILT)
    assert all(waits_for(key.partition("=")[0]) == part for key, part in UNBUILT.items())


def test_a_setting_that_is_honoured_waits_for_nothing() -> None:
    with pytest.raises(LookupError, match="waits for nothing"):
        waits_for("server.port")
