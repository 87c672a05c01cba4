"""What Compose starts: by the schema of its own specification, and by what a ledger and a cache need."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.settings import load
from gateway.settings.shape import variables
from tests.support.prometheus import check

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
GATEWAYS = ("gateway-1", "gateway-2")
DRAIN_S = 150


def options(service: str) -> dict[str, str]:
    """Of a server's command line."""
    _, *words = SERVICES[service]["command"]
    return dict(zip(words[::2], words[1::2], strict=True))


def test_it_holds_to_the_specification() -> None:
    schema = json.loads(
        files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json").read_text()
    )
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)


def test_the_ledger_forgets_nothing_and_the_cache_may() -> None:
    assert options("ledger") == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--maxmemory-policy": "noeviction",
    }
    assert SERVICES["ledger"]["volumes"] == ["ledger:/data"]
    cache = options("cache")
    assert (cache["--appendonly"], cache["--maxmemory-policy"]) == ("no", "allkeys-lru")
    assert "volumes" not in SERVICES["cache"]


@pytest.mark.parametrize("name", GATEWAYS)
def test_each_gateway_is_nobodys_and_keeps_what_waits_for_itself(name: str) -> None:
    gateway = SERVICES[name]
    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert int(gateway["stop_grace_period"].removesuffix("s")) > 2 * DRAIN_S
    assert f"{name}:/var/lib/imagegate" in gateway["volumes"]
    known = {*variables(), "OPENAI_API_KEY", "STUDIO_KEY"}
    assert gateway["environment"].keys() <= known


def test_both_gateways_share_the_ledger_and_the_cache() -> None:
    first, second = (SERVICES[name]["environment"] for name in GATEWAYS)
    assert first == second
    assert first["IMAGEGATE_STORE__URL"] != first["IMAGEGATE_CACHE__URL"]


def test_only_proxy_and_dashboards_are_published_and_on_this_machine() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert set(published) == {"proxy", "prometheus", "grafana"}
    assert all("127.0.0.1:" in port for ports in published.values() for port in ports)
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert all(SERVICES[name]["networks"] == ["inside"] for name in ("ledger", "cache"))
    assert [name for name, one in SERVICES.items() if "inside" in one["networks"]] == [
        *GATEWAYS,
        "ledger",
        "cache",
    ]


def test_every_image_has_a_tag_and_a_variable_that_can_pin_it() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"\$\{[A-Z]+_IMAGE:-[a-z0-9./-]+:[a-z0-9.-]+\}", service["image"]), name
        assert not service["image"].endswith(":latest}")


def test_what_is_mounted_is_there() -> None:
    mounted = {
        path.partition(":")[0]
        for service in SERVICES.values()
        for path in service.get("volumes", ())
        if path.startswith("./")
    }
    assert {"./grafana", "./prometheus"} <= mounted
    # Whose keys there are is for the operator to say.
    mounted.remove("./compose/imagegate.toml")
    assert [path for path in mounted if not (DEPLOY / path).exists()] == []


def test_the_example_of_a_configuration_is_a_good_one(tmp_path: Path) -> None:
    example = (DEPLOY / "compose" / "imagegate.toml.example").read_text()
    path = tmp_path / "imagegate.toml"
    path.write_text(example)
    environment = {"OPENAI_API_KEY": "sk-up", "STUDIO_KEY": "sk-studio"}
    settings = load(path, {**environment, "IMAGEGATE_STORE__URL": "redis://ledger:6379/0"})
    assert [key.id for key in settings.keys] == ["studio-1"]


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    text = (DEPLOY / "compose" / "prometheus.yml").read_text()
    targets = yaml.safe_load(text)["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == [f"{name}:8081" for name in GATEWAYS]
    (tmp_path / "prometheus.yml").write_text(
        text.replace("/etc/prometheus/rules", str(DEPLOY / "prometheus"))
    )
    assert "SUCCESS" in check("check", "config", "prometheus.yml", folder=tmp_path)


def test_grafana_finds_its_dashboards_where_they_are_mounted() -> None:
    (provider,) = yaml.safe_load((DEPLOY / "compose" / "grafana" / "dashboards.yaml").read_text())[
        "providers"
    ]
    assert f"./grafana:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
