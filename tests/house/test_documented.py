"""What a reader needs is written down, and stays written down."""

import re
from pathlib import Path

import pytest

from deploy import metrics_page
from gateway.cli.main import COMMANDS
from gateway.core.errors import Code
from gateway.core.routes import ROUTES
from gateway.core.spans import Stage
from gateway.settings.changes import NEW_WORKERS, RESTART

ROOT = Path(__file__).parents[2]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", Code, ids=lambda code: code.code)
def test_every_error_code_is_documented_with_its_status_and_type(code: Code) -> None:
    row = next(
        (line for line in text("docs/errors.md").splitlines() if line.startswith(f"| `{code.code}` |")), ""
    )
    assert f"| {code.status} | `{code.kind}` |" in row


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_is_documented(route: object) -> None:
    one = next(known for known in ROUTES if known is route)
    assert f"| `{one.name}` | {one.method} `{one.template}` |" in text("docs/http.md")


@pytest.mark.parametrize(
    "target", ["run", "demo", "test", "check", "check-all", "bench", "lock", "generated", "help"]
)
def test_every_make_target_says_what_it_does(target: str) -> None:
    assert any(line.startswith(f"{target}:") and "## " in line for line in text("Makefile").splitlines())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_mentioned_to_a_newcomer(command: str) -> None:
    pages = text("README.md") + text("CHANGELOG.md")
    assert f"imagegate {command}" in pages or f"`{command}`" in pages


def test_the_page_about_metrics_is_what_the_code_says() -> None:
    """`make generated` writes it."""
    assert text("docs/metrics.md") == metrics_page.page()


def test_every_span_and_every_attribute_is_documented() -> None:
    code, page = text("gateway/core/spans.py"), text("docs/tracing.md")
    attributes = set(re.findall(r'"((?:error|gen_ai|http|imagegate)\.[a-z_.]+)"', code))
    assert attributes == set(re.findall(r"`((?:error|gen_ai|http|imagegate)\.[a-z_.]+)`", page)) - {
        "gen_ai.response.model",
        "imagegate.traces",
    }
    assert [stage for stage in Stage if f"| `{stage.value}` |" not in page] == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = text("README.md")
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"docs/{page.name}" not in readme] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for part in page.read_text(encoding="utf-8").split("](")[1:]:
            target = part.partition(")")[0].partition("#")[0]
            if target and "://" not in target and not (page.parent / target).exists():
                broken.append((page.name, target))
    assert broken == []


@pytest.mark.parametrize("name", sorted(RESTART | NEW_WORKERS))
def test_every_setting_that_a_reload_leaves_alone_is_named(name: str) -> None:
    rows = [line for line in text("docs/operations.md").splitlines() if f"`{name}`" in line]
    wanted = "| a restart |" if name in RESTART else "| new workers, or a restart |"
    assert any(row.endswith(wanted) for row in rows)
