"""
The configuration as a command takes it: settings and catalogue read together, every fault of both at once.

Decided here: that the two fit together. What is good in each is said by gateway.settings and gateway.catalog.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from gateway.catalog import CatalogError
from gateway.catalog import load as load_catalog
from gateway.core.catalog import Catalog
from gateway.settings import ConfigError, Fault, Settings, environment, load

_STAND_IN: Final = "as:"
_UNPRICED_VARIABLE: Final = "IMAGEGATE_CATALOG__UNPRICED"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the operator wants, and the models it is about."""

    settings: Settings
    catalog: Catalog


def read(path: Path | None, overrides: Mapping[str, object] | None = None) -> Configuration:
    """
    Settings and catalogue.

    Args:
        path: the configuration file, None for none.
        overrides: dotted names and values from the command line.

    Raises:
        ConfigError: with every fault of both.
    """
    try:
        settings = load(path, overrides=overrides)
    except ConfigError as error:
        overlay = () if error.overlay is None else _catalogue(error.overlay)[1]
        raise ConfigError(error.faults + overlay, path=path) from None
    catalog, faults = _catalogue(settings.catalog.path)
    if catalog is not None:
        faults = _unpriced_faults(settings, catalog, path)
    if catalog is None or faults:
        raise ConfigError(faults, path=path)
    return Configuration(settings, catalog)


def _catalogue(overlay: Path | None) -> tuple[Catalog | None, tuple[Fault, ...]]:
    try:
        return load_catalog(overlay), ()
    except CatalogError as error:
        file = str(overlay)
        return None, tuple(Fault(file, "", words.removeprefix(f"{file}: "), "") for words in error.faults)


def _unpriced_faults(settings: Settings, catalog: Catalog, path: Path | None) -> tuple[Fault, ...]:
    """The stand-in for models without a price has one itself."""
    rule = settings.catalog.unpriced
    name = rule.removeprefix(_STAND_IN)
    if name == rule or catalog.find(name) is not None:
        return ()
    near = get_close_matches(name, catalog.models, n=1)
    fix = (
        f'Did you mean "{_STAND_IN}{near[0]}"?'
        if near
        else 'Name a model of the catalogue, or write "family" or "refuse".'
    )
    from_variable = bool(environment().get(_UNPRICED_VARIABLE))
    file = f"environment variable {_UNPRICED_VARIABLE}" if from_variable else str(path)
    return (Fault(file, "catalog.unpriced", f'"{rule}" names a model that is not in the catalogue.', fix),)
