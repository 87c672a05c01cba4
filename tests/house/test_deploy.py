"""What lies in deploy/ is what the code makes, and what the tools of Prometheus find good."""

import json
import re
from pathlib import Path

import pytest

from deploy.grafana import build
from gateway.core.metrics import METRICS, Kind
from tests.support.prometheus import RULES, check

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"\b(?:imagegate|process)_[a-z_]+")
SUFFIXES = ("", "_bucket", "_sum", "_count")
EXPOSED = {
    metric.name + suffix
    for metric in METRICS
    for suffix in SUFFIXES[: 4 if metric.kind is Kind.HISTOGRAM else 1]
}


def test_the_dashboards_are_what_the_code_makes() -> None:
    """`make generated` writes them."""
    made = dict(build.files())
    assert set(made) == set(build.FOLDER.glob("*.json"))
    assert all(path.read_text(encoding="utf-8") == text for path, text in made.items())


@pytest.mark.parametrize("path", sorted(build.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_asks_only_for_metrics_that_there_are(path: Path) -> None:
    queries = [
        target["expr"]
        for panel in json.loads(path.read_text())["panels"]
        for target in panel.get("targets", ())
    ]
    assert queries
    assert {name for query in queries for name in NAME.findall(query)} <= EXPOSED


def test_the_rules_ask_only_for_metrics_that_there_are() -> None:
    text = (RULES / "recording.yml").read_text() + (RULES / "alerts.yml").read_text()
    recorded = {one.rpartition(":")[2] for one in re.findall(r"record: (\S+)", text)}
    asked = {
        name
        for name in re.findall(
            r"(?<![:\w-])(?:imagegate|process)_[a-z_]+(?!:)\b(?!-)", re.sub(r"#.*", "", text)
        )
        if name not in recorded
    }
    assert (
        asked - {"imagegate_hits", "imagegate_limit_used", "imagegate_cost_usd", "imagegate_upstream_errors"}
        <= EXPOSED
    )


def test_the_rules_are_good_and_do_what_they_are_for() -> None:
    """Each alert is set off by what it is about, and by nothing else."""
    assert check("check", "rules", "recording.yml", "alerts.yml", folder=RULES).count("SUCCESS") == 2
    assert "SUCCESS" in check("test", "rules", "rules_test.yml", folder=RULES)


def test_every_alert_has_a_test_and_an_entry_in_the_runbook() -> None:
    alerts = re.findall(r"- alert: (\w+)", (RULES / "alerts.yml").read_text())
    tested = re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- ", (RULES / "rules_test.yml").read_text())
    written = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert alerts
    assert set(alerts) == set(tested)
    assert alerts == [one for one in written if one.startswith("Imagegate")]
    for alert in alerts:
        assert f"runbook: docs/operations.md#{alert.lower()}" in (RULES / "alerts.yml").read_text()
