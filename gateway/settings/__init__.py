"""
What the operator wants: one TOML file, the environment, the command line; read whole and checked whole.

Files, in the order in which they work: `loading` puts it in order and has `Settings`; `sources` are where settings
come from, laid over each other by pydantic-settings; `draft` remembers what came from where; `schema` has every setting
with its kind (`values`, `addresses`) and default, `shape` finds its way in it; `checks` and `faults` tell a person.
"""

from gateway.settings.addresses import StoreAddress
from gateway.settings.faults import SMALLEST_CONFIG, ConfigError, Fault, report_faults, without_keys
from gateway.settings.loading import Settings, config_path, load
from gateway.settings.schema import (
    UNBUILT,
    AllowSettings,
    CredentialSettings,
    KeySettings,
    OrgSettings,
    TeamSettings,
    UpstreamSettings,
    waits_for,
)
from gateway.settings.shape import default_of, setting_names
from gateway.settings.sources import environment

__all__ = [
    "SMALLEST_CONFIG",
    "UNBUILT",
    "AllowSettings",
    "ConfigError",
    "CredentialSettings",
    "Fault",
    "KeySettings",
    "OrgSettings",
    "Settings",
    "StoreAddress",
    "TeamSettings",
    "UpstreamSettings",
    "config_path",
    "default_of",
    "environment",
    "load",
    "report_faults",
    "setting_names",
    "waits_for",
    "without_keys",
]
