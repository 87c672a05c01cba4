"""
Every setting: its section, its name, its kind, its default, and whether a part honours it already.

A Python attribute is named as in the file, but for the three lists of tables, which are plural here
(`upstream.credentials`, `teams`, `keys`). Everything is frozen; secrets do not show in `repr`.

The schema is whole from the first day, so that a configuration written today stays good.

Not here: what values are good (values.py), rules over several settings (checks.py), where they come from
(sources.py).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.settings.addresses import StoreAddress
from gateway.settings.values import (
    BaseUrl,
    Digest,
    Host,
    Id,
    Instant,
    Limits,
    Natural,
    Network,
    Port,
    Positive,
    ProxyUrl,
    RoutePattern,
    Seconds,
    Secret,
    StoreUrl,
    TimeZone,
    Unpriced,
    Word,
)

OnDisconnect = Literal["finish", "cancel"]


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AllowSettings(Section):
    """What may be asked. None is no restriction at this level; org, team and key apply together."""

    models: tuple[Word, ...] | None = None
    routes: tuple[RoutePattern, ...] | None = None
    tools: tuple[Word, ...] | None = None
    sizes: tuple[Word, ...] | None = None
    qualities: tuple[Word, ...] | None = None
    max_n: Positive | None = None
    max_partial_images: Natural | None = None
    prompts: bool | None = None


class ServerSettings(Section):
    """The public listener."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    workers: Positive = 1
    max_body_bytes: Positive = 900_000_000
    max_concurrent: Positive = 4000
    drain_timeout_s: Seconds = 150
    header_timeout_s: Seconds = 10
    body_timeout_s: Seconds = 60
    trusted_proxies: tuple[Network, ...] = ()


class OpsSettings(Section):
    """The operators' listener."""

    host: Host = "127.0.0.1"
    port: Port = 8081


class CredentialSettings(Section):
    """One account of the upstream, of a pool."""

    name: Id = Field(examples=["main"])
    api_key: Secret = Field(examples=["env:OPENAI_API_KEY"])
    organization: Word | None = None
    project: Word | None = None
    weight: Positive = 1


class UpstreamSettings(Section):
    """Whom the gateway asks, and as whom. Exactly one of `api_key` and `credentials` is there."""

    base_url: BaseUrl = "https://api.openai.com/v1"
    api_key: Secret | None = None
    connect_timeout_s: Seconds = 5
    read_timeout_s: Seconds = 600
    max_connections: Positive = 5000
    retries: Natural = 1
    proxy: ProxyUrl | None = None
    ca_file: Path | None = None
    transport: Literal["fast", "httpx2"] = "fast"
    sandbox: bool = False
    on_disconnect: OnDisconnect = "finish"
    orphan_limit_s: Seconds = 600
    max_orphans: Natural = 256
    credentials: tuple[CredentialSettings, ...] = Field(default=(), alias="credential")


class StoreSettings(Section):
    """Where money, keys and owners are kept."""

    url: StoreUrl = StoreAddress("sqlite", folder=Path("data"))
    on_failure: Literal["closed", "open"] = "closed"
    durability: Literal["normal", "strict"] = "normal"
    ca_file: Path | None = None
    ledger_retention_days: Positive = 400


class CacheSettings(Section):
    """
    What may be answered again, for how long and to whom. Without `url` it lies in the store.

    Without `bodies` they lie where the cache does: in the Redis, or as files in the folder.
    """

    enabled: bool = True
    url: StoreUrl | None = None
    bodies: Literal["redis", "files"] | None = None
    ttl_s: Positive = 86_400
    alias_ttl_s: Positive = 3600
    scope: Literal["team", "key", "org"] = "team"
    max_entry_bytes: Positive = 67_108_864
    max_bytes: Positive = 2_147_483_648
    stale_if_error_s: Natural = 0
    max_wait_s: Positive = 660
    hit_for_miss_s: Natural = 15
    trust_remote_urls: bool = False
    ignore_fields: tuple[str, ...] = ()


class AuthSettings(Section):
    """The admin API's token, and what keys are hashed under."""

    admin_token: Secret | None = None
    pepper: Secret | None = None


class OrgSettings(Section):
    """The organisation: what holds for everybody."""

    id: Id = "default"
    limits: Limits = ()
    allow: AllowSettings = AllowSettings()
    timezone: TimeZone = "UTC"


class TeamSettings(Section):
    """A team: the tenant that owns files, responses and conversations."""

    id: Id = Field(examples=["studio"])
    name: str | None = None
    limits: Limits = ()
    allow: AllowSettings = AllowSettings()


class KeySettings(Section):
    """A client's key. Exactly one of `secret` and `secret_sha256` is there."""

    id: Id = Field(examples=["studio-1"])
    team: Id = Field(examples=["studio"])
    secret: Secret | None = None
    secret_sha256: Digest | None = Field(default=None, repr=False)
    limits: Limits = ()
    allow: AllowSettings = AllowSettings()
    expires_at: Instant | None = None
    on_disconnect: OnDisconnect | None = None
    inject_safety_identifier: bool = False


class TenancySettings(Section):
    """Who owns what the upstream keeps."""

    owner: Literal["team", "key"] = "team"
    unknown_ids: Literal["refuse", "allow"] = "refuse"


class CatalogSettings(Section):
    """The models' prices and rules."""

    path: Path | None = None
    unpriced: Unpriced = "family"


class AccountingSettings(Section):
    """Rules of billing that the upstream leaves open."""

    bill_moderated: bool = False


class ResponsesSettings(Section):
    """What to reserve for a Responses call that bounds nothing itself."""

    reserve_images: Positive = 1
    reserve_output_tokens: Positive = 16_384
    overhead_tokens: Natural = 4096


class LogSettings(Section):
    """How the gateway speaks on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class MetricsSettings(Section):
    """What `/metrics` shows."""

    enabled: bool = True
    key_labels: bool = False


class Sections(Section):
    """The sections of a configuration."""

    server: ServerSettings = ServerSettings()
    ops: OpsSettings = OpsSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    store: StoreSettings = StoreSettings()
    cache: CacheSettings = CacheSettings()
    auth: AuthSettings = AuthSettings()
    org: OrgSettings = OrgSettings()
    teams: tuple[TeamSettings, ...] = Field(default=(), alias="team")
    keys: tuple[KeySettings, ...] = Field(default=(), alias="key")
    tenancy: TenancySettings = TenancySettings()
    catalog: CatalogSettings = CatalogSettings()
    accounting: AccountingSettings = AccountingSettings()
    responses: ResponsesSettings = ResponsesSettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()


UNBUILT: Final[dict[str, str]] = {
    "server.trusted_proxies": "client addresses",
    "auth.pepper": "keys in the store",
    "key.inject_safety_identifier": "safety identifiers",
    "tenancy.unknown_ids": "ownership",
}
"""
What is accepted and not honoured yet: a setting or a section -> the part that will honour it.

Whoever builds a part removes its lines here.
"""


def unbuilt_in(section: Section, prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings that were given explicitly and no part honours; tables of a list repeat them."""
    for attribute, field in type(section).model_fields.items():
        if attribute not in section.model_fields_set:
            continue
        name, value = prefix + (field.alias or attribute), getattr(section, attribute)
        tables = [
            one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, Section)
        ]
        if tables and not isinstance(value, AllowSettings):
            for table in tables:
                yield from unbuilt_in(table, f"{name}.")
        elif {name, _section(name)} & UNBUILT.keys():
            yield name


def waits_for(name: str) -> str:
    """The part that an unbuilt setting waits for. Raises LookupError for a setting that is honoured."""
    for key, part in UNBUILT.items():
        if key in {name, _section(name)}:
            return part
    raise LookupError(f"{name} waits for nothing")


def _section(name: str) -> str:
    return name.partition(".")[0]
