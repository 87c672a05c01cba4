"""
The files that ship with the package: the model catalogue and the annotated configuration.

In a checkout they lie in `config/` beside the package, in an installed wheel inside it. Nothing depends on
the working directory.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def path(name: str) -> Path:
    """
    Where a shipped file of `config/` lies.

    Args:
        name: a file name such as `models.toml`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for folder in (_PACKAGE / "config", _PACKAGE.parent / "config"):
        candidate = folder / name
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"{name} is missing from this installation of imagegate")


def text(name: str) -> str:
    """The contents of a shipped file of `config/`, UTF-8."""
    return path(name).read_text(encoding="utf-8")
