"""From a file, the environment and the command line to `Settings`, or to every fault at once."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.settings.checks import cross_checks, faults_of, quoted_faults
from gateway.settings.draft import Draft
from gateway.settings.faults import ConfigError
from gateway.settings.schema import Sections, unbuilt_in
from gateway.settings.shape import DELIMITER, PREFIX, Place, node_at
from gateway.settings.sources import (
    CONFIG_VARIABLE,
    DefaultKey,
    Environment,
    command_line,
    environment,
    read_file,
)


class Settings(BaseSettings, Sections):
    """The whole configuration, read and checked. Made by `load`, never by hand."""

    model_config = SettingsConfigDict(case_sensitive=True, env_prefix=PREFIX, env_nested_delimiter=DELIMITER)

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft=draft)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the draft has to be read from, the strongest first; the library's own sources are not asked."""
        draft: Draft = init_settings()["draft"]
        return (  # each is laid below the ones before it as it is made
            *(InitSettingsSource(settings_cls, tables) for tables in command_line(draft)),
            Environment(settings_cls, draft),
            InitSettingsSource(settings_cls, draft.lay(read_file(draft.path), {}, typed=True)),
            DefaultKey(settings_cls, draft),
        )

    def unbuilt(self) -> tuple[str, ...]:
        """The dotted names of the settings that the operator gave and no part of this version honours yet."""
        return tuple(dict.fromkeys(unbuilt_in(self)))


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
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    serves: bool = True,
) -> Settings:
    """
    The settings, read and checked.

    Args:
        path: the configuration file; None for defaults and environment only.
        environ: None for the process's environment. It beats the file.
        overrides: dotted names -> values from the command line, such as `{"server.port": 9000}`; they beat both.
            None as a value is an option that was not given.
        serves: False: nobody is served by it, so that no secret has to be there, the upstream's key neither. One whose
            variable or file is missing is then the text that names these.

    Raises:
        ConfigError: with every fault that was found. It names files and variables, never a secret.
    """
    draft = Draft(path, environment() if environ is None else environ, overrides or {})
    settings, wrong = None, []
    try:
        settings = Settings(draft)
    except ValidationError as error:
        wrong = faults_of(error, draft)
    broken = [
        draft.fault(place, problem, fix)
        for place, (problem, fix) in draft.broken.items()
        if serves or settings is None or not _is_secret(place)
    ]
    quoted = quoted_faults(draft, {fault.key for fault in wrong})
    faults = (*draft.faults, *broken, *wrong, *quoted, *cross_checks(draft, serves=serves))
    if settings is None or faults:
        raise ConfigError(faults, path=path, overlay=_overlay(draft))
    return settings


def _is_secret(place: Place) -> bool:
    node = node_at(place)
    return node is not None and node.type is SecretStr


def _overlay(draft: Draft) -> Path | None:
    place = ("catalog", "path")
    path = draft.get(*place)
    return Path(path) if isinstance(path, str) and place not in draft.broken else None
