"""From files and variables to settings: precedence, references, secrets, and every fault at once."""

import pickle
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.limits import Limit, Unit, Window, parse_limit
from gateway.settings import (
    SMALLEST_CONFIG,
    ConfigError,
    Settings,
    config_path,
    load,
    setting_names,
)
from tests.support.config import PAID, error_in, faults_in, load_text, write

KEYED = """
[[team]]
id = "a"
[[key]]
id = "k"
team = "a"
secret = "sk-k"
"""

EVERY_SETTING = """
[server]
host = "0.0.0.0"
port = 9000
trusted_proxies = ["10.0.0.0/8", "::1"]
[ops]
port = 0
[upstream]
base_url = "http://127.0.0.1:9999/v1/"
proxy = "http://user:pw@proxy:3128"
read_timeout_s = 1.5
transport = "fast"
[[upstream.credential]]
name = "one"
api_key = "sk-one"
[[upstream.credential]]
name = "two"
api_key = "sk-two"
organization = "org-1"
project = "proj_1"
weight = 3
[store]
url = "redis://:pw@h/1"
[cache]
url = "sqlite:////srv/cache"
ignore_fields = ["user"]
[auth]
admin_token = "admin"
pepper = "pepper"
[org]
limits = ["$500 per month", "4 concurrent soft"]
allow = { models = ["gpt-image-*"], routes = ["files.*", "images.edits"], max_n = 4, prompts = true }
timezone = "UTC"
[[team]]
id = "a"
name = "A team"
limits = ["1 image per second"]
allow = { tools = [], sizes = ["auto"], qualities = ["low"], max_partial_images = 0 }
[[key]]
id = "k"
team = "a"
secret_sha256 = "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
expires_at = 2030-01-01T00:00:00+01:00
on_disconnect = "cancel"
[catalog]
unpriced = "as:gpt-image-2"
"""


def test_every_section_is_read(tmp_path: Path) -> None:
    read = load_text(tmp_path, EVERY_SETTING)

    assert (read.server.host, read.server.port, read.server.workers) == ("0.0.0.0", 9000, 1)
    assert read.server.trusted_proxies == ("10.0.0.0/8", "::1/128")
    assert read.upstream.base_url == "http://127.0.0.1:9999/v1"
    assert read.upstream.read_timeout_s == 1.5
    assert [credential.name for credential in read.upstream.credentials] == ["one", "two"]
    assert read.upstream.credentials[1].weight == 3
    assert str(read.store.url) == "redis://:***@h:6379/1"
    assert read.cache.url is not None
    assert read.cache.url.folder == Path("/srv/cache")
    assert read.org.limits == (parse_limit("$500 per month"), Limit(4, Unit.CONCURRENT, None, soft=True))
    assert read.org.allow.models == ("gpt-image-*",)
    assert read.org.allow.routes == ("files.*", "images.edits")
    assert (read.org.allow.max_n, read.org.allow.prompts, read.org.allow.tools) == (4, True, None)
    assert read.teams[0].limits == (Limit(1, Unit.IMAGES, Window.SECOND),)
    assert read.teams[0].allow.tools == ()
    assert read.keys[0].secret_sha256 == "abcdef0123456789" * 4
    assert read.keys[0].expires_at == datetime(2029, 12, 31, 23, tzinfo=UTC)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    read = load_text(tmp_path, PAID)

    with pytest.raises(ValidationError):
        read.server.port = 1  # type: ignore[misc]  # that is what must not work


def test_settings_travel_to_worker_processes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = load_text(tmp_path, EVERY_SETTING)
    monkeypatch.setenv("IMAGEGATE_SERVER__PORT", "1")  # a worker does not read again

    arrived = pickle.loads(pickle.dumps(read))  # noqa: S301 - our own

    assert arrived == read
    assert arrived.upstream.credentials[0].api_key.get_secret_value() == "sk-one"
    assert arrived.unbuilt() == read.unbuilt()


def test_the_smallest_configuration_loads(tmp_path: Path) -> None:
    read = load_text(tmp_path, SMALLEST_CONFIG, {"OPENAI_API_KEY": "sk-up", "STUDIO_KEY": "sk-client"})

    assert read.upstream.api_key is not None
    assert read.upstream.api_key.get_secret_value() == "sk-up"
    assert read.keys[0].team == read.teams[0].id


def test_what_serves_nobody_needs_no_secret(tmp_path: Path) -> None:
    assert load(None, {}, serves=False).upstream.api_key is None
    file = write(tmp_path, '[upstream]\napi_key = "env:KEY"\n')
    assert load(file, {}, serves=False).upstream.api_key is not None
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert [fault.key for fault in caught.value.faults] == ["upstream.api_key"]


def test_a_proxy_that_is_not_named_is_a_fault_all_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, '[upstream]\nproxy = "env:PROXY"\n')
    with pytest.raises(ConfigError) as caught:
        load(file, {}, serves=False)
    assert [fault.key for fault in caught.value.faults] == ["upstream.proxy"], "what cannot be read is told"


def test_what_serves_nobody_has_its_other_faults_told(tmp_path: Path) -> None:
    file = write(tmp_path, '[upstream]\napi_key = "env:KEY"\n[server]\nport = "env:PORT"\n')
    with pytest.raises(ConfigError) as caught:
        load(file, {}, serves=False)
    assert "server.port" in {fault.key for fault in caught.value.faults}


def test_without_configuration_the_openai_key_of_the_environment_is_used() -> None:
    read = load(None, {"OPENAI_API_KEY": "sk-env"})

    assert read.upstream.api_key is not None
    assert read.upstream.api_key.get_secret_value() == "sk-env"


@pytest.mark.parametrize(
    "url", ["https://other.example/v1", "http://api.openai.com/v1", "https://api.openai.com.x/v1"]
)
def test_the_openai_key_is_never_sent_elsewhere_unasked(tmp_path: Path, url: str) -> None:
    faults = faults_in(tmp_path, f'[upstream]\nbase_url = "{url}"', {"OPENAI_API_KEY": "sk-env"})

    assert [fault.key for fault in faults] == ["upstream.api_key"]


def test_the_environment_beats_the_file_and_the_command_line_beats_both(tmp_path: Path) -> None:
    file = write(tmp_path, PAID + "[server]\nport = 1001\nworkers = 2\n[ops]\nport = 1003\n")
    environ = {"IMAGEGATE_SERVER__PORT": "2001", "IMAGEGATE_SERVER__WORKERS": "4"}

    read = load(file, environ, {"server.port": 3001, "server.host": None})

    assert (read.server.port, read.server.workers, read.ops.port) == (3001, 4, 1003)
    assert read.server.host == "127.0.0.1"


def test_lists_and_tables_of_a_stronger_layer_take_the_place_of_weaker_ones(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        f"{PAID}{KEYED}[org]\nlimits = ['1 image per day']\nallow = {{ max_n = 1, sizes = ['auto'] }}",
    )
    environ = {
        "IMAGEGATE_TEAM": '[{"id": "b"}]',
        "IMAGEGATE_KEY": '[{"id": "l", "team": "b", "secret": "sk-l"}]',
        "IMAGEGATE_ORG__ALLOW": '{"max_n": "env:NOWHERE", "prompts": true}',
        "IMAGEGATE_ORG__LIMITS": "[]",
    }

    read = load(file, environ, {"org.allow.max_n": 3})

    assert ([team.id for team in read.teams], [key.id for key in read.keys]) == (["b"], ["l"])
    assert (read.org.allow.max_n, read.org.allow.prompts, read.org.allow.sizes) == (3, True, None)
    assert read.org.limits == ()


def test_what_a_stronger_layer_says_is_not_looked_for_in_weaker_ones(tmp_path: Path) -> None:
    """A reference that leads nowhere is no fault where nobody follows it."""
    text = '[upstream]\napi_key = "env:NOWHERE"\nca_file = "nowhere.pem"\n'
    (tmp_path / "ca.pem").write_text("")
    environ = {"IMAGEGATE_UPSTREAM__API_KEY": "sk-env", "IMAGEGATE_UPSTREAM__CA_FILE": "ca.pem"}

    assert load_text(tmp_path, text, environ).upstream.ca_file == tmp_path / "ca.pem"


def test_the_command_line_can_bring_whole_tables() -> None:
    keys = [{"id": "demo", "team": "demo", "secret": "sk-demo"}]
    overrides = {
        "upstream.api_key": "sk",
        "team": [{"id": "demo"}],
        "key": keys,
        "org.limits": ["$5 per day"],
    }

    read = load(None, {}, overrides)

    assert [key.team for key in read.keys] == ["demo"]
    assert read.org.limits == (parse_limit("$5 per day"),)


def test_the_flag_names_the_file_and_else_the_environment_does() -> None:
    environ = {"IMAGEGATE_CONFIG": "/etc/imagegate.toml"}

    assert config_path(Path("mine.toml"), environ) == Path("mine.toml")
    assert config_path(None, environ) == Path("/etc/imagegate.toml")
    assert config_path(None, {"IMAGEGATE_CONFIG": ""}) is None
    assert config_path(None, {}) is None


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    text = """
[server]
port = "eighty"
wrkers = 2
[upstream]
base_url = "api.openai.com"
api_key = "env:MISSING"
[org]
limits = ["$500 per month", "20 imags per minute"]
[[team]]
id = "a"
[[key]]
id = "k"
team = "b"
"""
    error = error_in(tmp_path, text, {"IMAGEGATE_CACHE__TTL": "5"})

    assert sorted(fault.key for fault in error.faults) == [
        "",
        "key[k].secret",
        "key[k].team",
        "org.limits",
        "server.port",
        "server.wrkers",
        "upstream.api_key",
        "upstream.base_url",
    ]
    assert "8 faults" in str(error)
    assert {fault.file for fault in error.faults} == {
        str(tmp_path / "imagegate.toml"),
        "environment variable IMAGEGATE_CACHE__TTL",
    }


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["env:A", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "team", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(
    given_values=st.dictionaries(
        st.sampled_from(sorted({*setting_names(), "team", "key", "log", "x.y"})), values
    )
)
def test_whatever_is_given_becomes_settings_or_faults_with_words(given_values: dict[str, object]) -> None:
    outcome = settings_or_error(given_values)

    if isinstance(outcome, ConfigError):
        assert all(fault.problem and fault.fix for fault in outcome.faults)
        assert f"{len(outcome.faults)} fault" in str(outcome)
    else:
        assert set(outcome.unbuilt()) <= set(setting_names())


def settings_or_error(given_values: dict[str, object]) -> Settings | ConfigError:
    try:
        return load(None, {"A": "b", "OPENAI_API_KEY": "sk"}, given_values)
    except ConfigError as error:
        return error
