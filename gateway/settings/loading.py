"""From a file, the environment and the command line to `Settings`, or to every fault at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from gateway.settings.checks import cross_checks
from gateway.settings.draft import Draft
from gateway.settings.faults import ConfigError
from gateway.settings.schema import Settings, UpstreamSettings
from gateway.settings.sources import (
    CONFIG_VARIABLE,
    NO_FILE,
    anchor_paths,
    environment,
    follow_references,
    lay_command_line,
    lay_environment,
    read_file,
)
from gateway.settings.translate import faults_of

_API_KEY: Final = ("upstream", "api_key")
_API_KEY_VARIABLE: Final = "OPENAI_API_KEY"


def config_path(flag: Path | None, environ: Mapping[str, str] | None = None) -> Path | None:
    """
    Which configuration file to read: the flag's, else the one of `IMAGEGATE_CONFIG`, else none.

    Args:
        flag: what `--config` said.
        environ: None for the process's environment.
    """
    if flag is not None:
        return flag
    named = (environment() if environ is None else environ).get(CONFIG_VARIABLE)
    return Path(named) if named else None


def load(
    path: Path | None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
) -> Settings:
    """
    The settings, read and checked.

    Args:
        path: the configuration file; None for defaults and environment only.
        environ: None for the process's environment. It beats the file.
        overrides: dotted names -> values from the command line, such as `{"server.port": 9000}`; they beat both.
            None as a value is an option that was not given.

    Raises:
        ConfigError: with every fault that was found. It names files and variables, never a secret.
    """
    environ = environment() if environ is None else environ
    folder = path.absolute().parent if path is not None else Path.cwd()
    draft = Draft(NO_FILE, {}) if path is None else Draft(str(path), read_file(path))
    faults = lay_environment(draft, environ)
    lay_command_line(draft, overrides or {})
    faults += follow_references(draft, environ, folder)
    faults += anchor_paths(draft, folder)
    _default_api_key(draft, environ)
    settings = None
    try:
        settings = Settings.model_validate(draft.values)
    except ValidationError as error:
        faults += faults_of(error, draft)
    faults += cross_checks(draft)
    if settings is None or faults:
        raise ConfigError(tuple(faults), path=path, overlay=_overlay(draft))
    return settings


def _default_api_key(draft: Draft, environ: Mapping[str, str]) -> None:
    """`OPENAI_API_KEY` is the default credential towards OpenAI, and is never sent to anybody else unasked."""
    value = environ.get(_API_KEY_VARIABLE)
    if not value or draft.get(*_API_KEY) is not None or draft.get("upstream", "credential"):
        return
    base_url = draft.get("upstream", "base_url")
    if base_url is None or (
        isinstance(base_url, str) and _host(base_url) == _host(UpstreamSettings().base_url)
    ):
        draft.put(_API_KEY, value, f"environment variable {_API_KEY_VARIABLE}")


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return parts.hostname if parts.scheme == "https" else None
    except ValueError:
        return None


def _overlay(draft: Draft) -> Path | None:
    place = ("catalog", "path")
    path = draft.get(*place)
    return Path(path) if isinstance(path, str) and place not in draft.broken else None
