"""
What settings and catalogue come to: the values that requests are answered by, for those who are not to know settings.

Pure. Whoever reloads makes them anew.
"""

from typing import Final

from gateway.core.admission import DefaultModels
from gateway.core.catalog import Catalog
from gateway.core.credentials import Credential
from gateway.core.freshness import Rules as LifeRules
from gateway.core.pricing import AccountingRules
from gateway.core.principal import Allow, Principal, Scope, digest_of
from gateway.flow.pipeline import Rules
from gateway.flow.wanted import Terms
from gateway.settings import AllowSettings, Settings

ONLY_CREDENTIAL: Final = "default"
"""The name of `upstream.api_key` where there is no pool."""
_IMAGE_ROUTES: Final = ("images.generations", "images.edits", "images.variations")


def rules(settings: Settings, catalog: Catalog) -> Rules:
    """What a request is held against on its way."""
    upstream = settings.upstream
    named = ((route, catalog.default_model(route)) for route in _IMAGE_ROUTES)
    return Rules(
        max_body_bytes=settings.server.max_body_bytes,
        max_concurrent=settings.server.max_concurrent,
        retries=upstream.retries,
        sandbox=upstream.sandbox,
        credentials=tuple(Credential(one.name, one.weight) for one in upstream.credentials)
        or (Credential(ONLY_CREDENTIAL),),
        default_models=DefaultModels(
            {route: model for route, model in named if model is not None}, catalog.default_tool_model
        ),
    )


def accounting(settings: Settings) -> AccountingRules:
    """How what nobody reports is priced."""
    return AccountingRules(
        unpriced=settings.catalog.unpriced,
        reserve_images=settings.responses.reserve_images,
        reserve_output_tokens=settings.responses.reserve_output_tokens,
        overhead_tokens=settings.responses.overhead_tokens,
        bill_moderated=settings.accounting.bill_moderated,
    )


def holders(settings: Settings) -> dict[bytes, Principal]:
    """Who holds which key, by the digest of its secret."""
    org = Scope("org", settings.org.id, _allow(settings.org.allow), settings.org.limits)
    teams = {team.id: Scope("team", team.id, _allow(team.allow), team.limits) for team in settings.teams}
    holders = {}
    for key in settings.keys:
        digest = (
            digest_of(key.secret.get_secret_value())
            if key.secret is not None
            else bytes.fromhex(key.secret_sha256 or "")
        )
        holders[digest] = Principal(
            org,
            teams[key.team],
            Scope("key", key.id, _allow(key.allow), key.limits),
            None if key.expires_at is None else key.expires_at.timestamp(),
            None if key.on_disconnect is None else key.on_disconnect == "finish",
        )
    return holders


def _allow(settings: AllowSettings) -> Allow:
    return Allow(**settings.model_dump())


def terms(settings: Settings) -> Terms:
    """What is kept, and for whom."""
    cache = settings.cache
    return Terms(
        life=LifeRules(
            ttl_s=cache.ttl_s,
            alias_ttl_s=cache.alias_ttl_s,
            stale_if_error_s=cache.stale_if_error_s,
            max_entry_bytes=cache.max_entry_bytes,
            trust_remote_urls=cache.trust_remote_urls,
        ),
        enabled=cache.enabled,
        scope=cache.scope,
        owner=settings.tenancy.owner,
        base_url=settings.upstream.base_url,
        accounts={one.name: (one.organization, one.project) for one in settings.upstream.credentials},
        ignore_fields=frozenset(cache.ignore_fields),
        sandbox=settings.upstream.sandbox,
    )


def retention_s(settings: Settings) -> float:
    """For how many seconds records are kept."""
    return settings.store.ledger_retention_days * 86_400.0
