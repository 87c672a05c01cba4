"""The image of the Dockerfile, built and run for real: as nobody, on a root that cannot be written to."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.conftest import FULL
from tests.support.image import UID, Image, build
from tests.support.process import KEY, SETTINGS, Running, sandbox_process

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("image"), pytest.mark.timeout(900)]
DOCKERFILE = (Path(__file__).parents[2] / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if not FULL and os.environ.get("IMAGEGATE_TESTS_NEED_ALL") != "1":
        # It takes two minutes and a gigabyte: CI sets IMAGEGATE_TESTS_NEED_ALL and builds it, a quick run at home need not.
        pytest.skip(
            "a Debian is made and an image built: in `make check-all`, and where nothing is to be left out"
        )
    folder = tmp_path_factory.mktemp("image")
    try:
        yield build(folder)
    finally:
        # A gigabyte, of which pytest would keep three.
        shutil.rmtree(folder)


def settings(upstream: str) -> str:
    return SETTINGS.format(
        base_url=upstream, api_key="sk-up", key=KEY, upstream="", rest="", cached="true", cache=""
    )


def gateway_in(container: Running) -> int:
    """Its process number outside: the only child of what made the container."""
    made_by = container.process.pid
    (pid,) = Path(f"/proc/{made_by}/task/{made_by}/children").read_text(encoding="ascii").split()
    return int(pid)


def test_the_base_is_named_by_arguments_and_no_index_is_named_at_all() -> None:
    """tests/house looks for the hosts of registries in every file."""
    assert (
        DOCKERFILE.count("FROM ${BASE_IMAGE}:${BASE_TAG}${BASE_DIGEST}") == DOCKERFILE.count("\nFROM ") == 2
    )
    assert "index-url" not in DOCKERFILE
    assert "--require-hashes" in DOCKERFILE


def test_it_runs_as_nobody_and_says_whether_it_lives(image: Image) -> None:
    config = image.config
    assert config["User"] == f"{UID}:{UID}"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8081/tcp"}
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["StopSignal"] == "SIGTERM"
    assert (config["Entrypoint"], config["Cmd"]) == (["imagegate"], ["serve"])


def test_nothing_in_it_installs_anything(image: Image) -> None:
    assert image.inside("python3", "-m", "pip", "--version").returncode != 0
    assert image.inside("imagegate", "--version").returncode == 0


def test_it_draws_a_picture_as_nobody_on_a_root_that_cannot_be_written_to(
    image: Image, tmp_path: Path
) -> None:
    with sandbox_process(tmp_path) as sandbox:
        ports = {"IMAGEGATE_SERVER__PORT": "0"}
        with image.running(tmp_path, settings(f"{sandbox.url}/v1"), ports) as container:
            answer = httpx2.post(
                f"http://127.0.0.1:{container.port}/v1/images/generations",
                headers={"authorization": f"Bearer {KEY}"},
                json={"model": "gpt-image-1", "prompt": "a fox", "size": "1024x1024", "quality": "low"},
                trust_env=False,
            )
            assert answer.status_code == 200
            assert answer.json()["data"][0]["b64_json"]
            pid = gateway_in(container)
            status = dict(
                line.split(":\t", 1)
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if ":\t" in line
            )
            assert status["Uid"].split() == [str(UID)] * 4
            assert status["NSpid"].split()[-1] == "1"
            mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
            (flags,) = {fields[5] for fields in mounts if fields[4] == "/"}
            assert "ro" in flags.split(",")
            with pytest.raises(OSError, match="Read-only"):
                Path(f"/proc/{pid}/root/opt/imagegate/new").touch()
            # What the image says of its health is asked of the port that the operators have here.
            _, *health = image.config["Healthcheck"]["Test"]
            ops = container.addresses[1].rsplit(":", 1)[1]
            assert image.inside("env", f"IMAGEGATE_OPS__PORT={ops}", *health).returncode == 0
            os.kill(pid, signal.SIGTERM)
            assert container.process.wait(30) == 0
        assert image.inside("env", f"IMAGEGATE_OPS__PORT={ops}", *health).returncode != 0
