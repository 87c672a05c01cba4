"""Rules about the house that no linter knows."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("core", "flow", "adapters", "web")
TESTED_ELSEWHERE = {
    "adapters/blob_body.py": "tests/contracts/test_cache.py",
    "adapters/blob_draft.py": "tests/contracts/test_cache.py",
    "adapters/room.py": "tests/adapters/sqlite/test_cache.py",
    "flow/sharing.py": "tests/system/test_sharing.py",
    "flow/aboard.py": "tests/system/test_sharing.py",
    "flow/crew.py": "tests/system/test_sharing.py",
    "flow/errand.py": "values, without behaviour",
    "flow/migrate.py": "tests/cli/test_migrate.py",
    "flow/reel.py": "tests/flow/test_tape.py",
    "flow/giving.py": "tests/system/test_stale.py",
    "flow/replays.py": "tests/system/test_idempotency.py",
    "flow/exchange.py": "values and a protocol, without behaviour",
    "flow/orphans.py": "tests/flow/test_pipeline.py",
    "flow/endings.py": "tests/flow/test_pipeline.py",
    "flow/identify.py": "tests/flow/test_pipeline.py",
    "flow/admit.py": "tests/flow/test_pipeline.py",
    "web/health.py": "tests/web/test_proxy.py",
    "web/listeners.py": "tests/system/test_streams.py",
    "web/ops.py": "tests/system/test_streams.py",
}
PARTS_OF_ADAPTERS = {
    "blob_body": "sqlite, redis",
    "blob_draft": "sqlite, redis",
    "blobs": "sqlite, redis",
    "connection": "transport",
    "dial": "transport",
    "pool": "transport",
    "room": "sqlite, redis",
    "wire": "transport",
    "workers": "sqlite, redis",
}
"""Module -> the adapters whose part it is."""
HOSTS = re.compile("|".join(["pythonho" + "sted", "registry\\.np" + "m", "pyp" + "i\\.org"]))


def modules(room: str) -> list[Path]:
    return [path for path in (ROOT / "gateway" / room).glob("*.py") if path.name != "__init__.py"]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("room", ROOMS)
def test_every_module_has_its_test_or_says_where_it_is(room: str) -> None:
    without = [
        path.name for path in modules(room) if not (ROOT / "tests" / room / f"test_{path.name}").exists()
    ]
    assert [name for name in without if f"{room}/{name}" not in TESTED_ELSEWHERE] == []


def test_every_adapter_stands_behind_the_wall_between_adapters() -> None:
    """A new adapter joins the import contract, or is named here as a part of another one."""
    contract = next(
        one
        for one in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
            "importlinter"
        ]["contracts"]
        if one["name"].startswith("adapters are strangers")
    )
    listed = {name.rpartition(".")[2] for name in contract["modules"]}
    folder = ROOT / "gateway" / "adapters"
    there = {path.stem for path in modules("adapters")} | {
        one.parent.name for one in folder.glob("*/__init__.py")
    }
    assert there - listed == set(PARTS_OF_ADAPTERS)


def test_every_module_begins_by_saying_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "gateway").rglob("*.py")
        if path.read_text(encoding="utf-8")
        and ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
    ]
    assert silent == []


def test_no_file_names_a_package_registry() -> None:
    """Whoever installs decides where packages come from."""
    named = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix not in {".png", ".jpg", ".webp"}
        and HOSTS.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert named == []


def test_locked_requirements_have_a_hash_each() -> None:
    for name in ("run.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        packages = re.findall(r"^[a-z0-9][a-z0-9._-]*==", text, re.MULTILINE)
        assert packages
        assert all(
            "--hash=sha256:" in part
            for part in re.split(r"^[a-z0-9][a-z0-9._-]*==", text, flags=re.MULTILINE)[1:]
        )
