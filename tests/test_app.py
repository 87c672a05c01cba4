"""The introductions: settings become rules, keys and accounts."""

import hashlib
from pathlib import Path

from gateway import app
from gateway.adapters.calendar import ZoneCalendar
from gateway.adapters.sqlite.ledger import SqliteLedger
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
