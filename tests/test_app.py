"""The introductions: settings become rules, keys and accounts."""

import hashlib
from pathlib import Path

from gateway import app
from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.catalog import load as load_catalog
from gateway.core.principal import digest_of
from gateway.settings import Settings, load
from tests.support.clock import FakeClock

CONFIG = """
[upstream]
retries = 3
[[upstream.credential]]
name = "a"
api_key = "sk-a"
weight = 2
[[upstream.credential]]
name = "b"
api_key = "sk-b"
[org]
allow = {{ models = ["gpt-*"] }}
[[team]]
id = "design"
allow = {{ max_n = 2 }}
[[key]]
id = "plain"
team = "design"
secret = "sk-1"
[[key]]
id = "hashed"
team = "design"
secret_sha256 = "{digest}"
expires_at = 2030-01-01T00:00:00Z
"""


def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "imagegate.toml"
    path.write_text(CONFIG.format(digest=hashlib.sha256(b"sk-2").hexdigest()))
    return load(path, {})


def test_a_key_is_known_by_its_secret_or_its_digest(tmp_path: Path) -> None:
    holders = app._holders(settings(tmp_path))
    plain, hashed = holders[digest_of("sk-1")], holders[digest_of("sk-2")]
    assert (plain.key.id, plain.team.id, plain.org.id) == ("plain", "design", "default")
    assert plain.team.allow.max_n == 2
    assert plain.org.allow.models == ("gpt-*",)
    assert (plain.expires_at, hashed.expires_at) == (None, 1_893_456_000.0)


def test_rules_come_from_settings_and_catalogue(tmp_path: Path) -> None:
    rules = app._rules(settings(tmp_path), load_catalog())
    assert rules.retries == 3
    assert [(one.name, one.weight) for one in rules.credentials] == [("a", 2), ("b", 1)]
    assert rules.default_models.by_route["images.variations"] == "dall-e-2"


def test_the_only_key_is_the_default_credential() -> None:
    only = load(None, {"OPENAI_API_KEY": "sk-1"})
    rules = app._rules(only, load_catalog())
    assert [one.name for one in rules.credentials] == [app.ONLY_CREDENTIAL]


async def test_the_admin_api_shows_usage_limits_and_scopes(tmp_path: Path) -> None:
    clock = FakeClock()
    ledger = SqliteLedger.open(tmp_path, clock.now)
    routes = app._admin(settings(tmp_path), ledger, ZoneCalendar("UTC"), clock, "token")
    found = {(route.path, method) for route in routes for method in route.methods or () if method != "HEAD"}
    assert found == {
        ("/admin/ledger", "GET"),
        ("/admin/usage", "GET"),
        ("/admin/limits", "GET"),
        ("/admin/teams", "GET"),
        ("/admin/teams/{id}", "GET"),
        ("/admin/teams/{id}", "PUT"),
        ("/admin/teams/{id}", "DELETE"),
        ("/admin/org", "GET"),
        ("/admin/org", "PUT"),
    }
    await ledger.aclose()
