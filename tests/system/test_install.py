"""`pip install .` into an empty environment: the wheel stands alone, from any folder."""

import os
import subprocess
import sys
import urllib.request
import venv
from pathlib import Path

import pytest

from tests.support.process import KEY, SETTINGS, running
from tests.support.tools import missing

pytestmark = [pytest.mark.system, pytest.mark.timeout(300), pytest.mark.xdist_group("install")]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with nothing but the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    binary = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    install = subprocess.run(
        [binary, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    if install.returncode != 0:
        missing("a package index", f"pip install failed: {install.stderr[-800:]}")
    return str(binary)


def test_sandbox_and_gateway_run_from_another_folder(python: str, tmp_path: Path) -> None:
    with running("sandbox", "--port", "0", "--speed", "0", folder=tmp_path, python=python) as sandbox:
        config = tmp_path / "gateway.toml"
        config.write_text(
            SETTINGS.format(
                base_url=f"{sandbox.url}/v1",
                api_key="sk-up",
                key=KEY,
                upstream="",
                rest="",
                cached="false",
                cache="",
            )
        )
        with running(
            "serve", "--config", str(config), "--port", "0", folder=tmp_path, python=python
        ) as gateway:
            request = urllib.request.Request(  # noqa: S310 - loopback
                f"{gateway.url}/v1/images/generations",
                data=b'{"model":"gpt-image-1","prompt":"a fox","quality":"low"}',
                headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
                assert answer.status == 200
                assert len(answer.read()) > 100_000


def test_the_demo_says_what_it_needs(python: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [python, "-m", "gateway", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1
    assert "imagegate[demo]" in run.stdout + run.stderr


def test_serving_without_any_config_is_refused_with_the_smallest_good_one(
    python: str, tmp_path: Path
) -> None:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("IMAGEGATE_", "OPENAI_"))
    }
    run = subprocess.run(
        [python, "-m", "gateway", "serve"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean,
    )
    assert run.returncode == 2
    assert '[[key]]\nid = "studio-1"' in "\n".join(line.strip() for line in run.stderr.splitlines())
