"""
What the operator wants: one TOML file, the environment, the command line; read whole and checked whole.

Files, in the order in which they work: `sources` reads and lays over each other, `draft` remembers what came from
where, `schema` has every setting with its kind (`values`, `addresses`) and default, `checks` has the rules over
several settings, `translate` and `faults` tell a person, `loading` orders it all. `unbuilt` lists what is accepted
and not honoured yet.
"""

from gateway.settings.addresses import StoreAddress
from gateway.settings.faults import SMALLEST_CONFIG, ConfigError, Fault, report_faults
from gateway.settings.loading import config_path, load
from gateway.settings.schema import (
    AllowSettings,
    CredentialSettings,
    KeySettings,
    OrgSettings,
    Settings,
    TeamSettings,
    UpstreamSettings,
)
from gateway.settings.shape import default_of, setting_names
from gateway.settings.unbuilt import UNBUILT, waits_for

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
    "load",
    "report_faults",
    "setting_names",
    "waits_for",
]
