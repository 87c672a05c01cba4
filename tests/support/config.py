"""Configurations as texts, loaded as a file is."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.settings import ConfigError, Fault, Settings, load

PAID = '[upstream]\napi_key = "sk-upstream"\n'
"""What every configuration needs: something to pay with."""


def write(folder: Path, text: str) -> Path:
    file = folder / "imagegate.toml"
    file.write_text(text, encoding="utf-8")
    return file


def load_text(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    return load(write(folder, text), environ or {})


def error_in(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_text(folder, text, environ)
    return caught.value


def faults_in(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> tuple[Fault, ...]:
    return error_in(folder, text, environ).faults
