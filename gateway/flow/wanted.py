"""
What the cache is to be asked for on behalf of a call: its key and form, what the client wants of it, or why nothing.

Decided in core (cachekey.py, freshness.py, cachecontrol.py); here it is put together from what a request brings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core import cachecontrol, cachekey, freshness
from gateway.core.artefact import PLAIN, Form, form_of
from gateway.core.cachecontrol import Directives
from gateway.core.cachekey import CacheKey, Level, Surroundings
from gateway.core.call import Call
from gateway.core.freshness import Reason
from gateway.core.headers import STEERING, first
from gateway.core.multipart import Form as FormBody
from gateway.core.principal import Principal
from gateway.flow.exchange import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the operator decided."""

    life: freshness.Rules
    scope: Level
    owner: Level
    base_url: str
    """Of the upstream."""
    accounts: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """Organisation and project of each credential, by its name."""
    ignore_fields: frozenset[str] = frozenset()
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class Content:
    """What a body is, as far as answers depend on it."""

    digest: bytes
    bypass: Reason | None


def content_of_json(call: Call, body: Mapping[str, object], terms: Terms) -> Content:
    """Of a JSON body, as `strictjson` has read it."""
    reason = freshness.why_bypass_json(call, body, trust_remote_urls=terms.life.trust_remote_urls)
    if reason is not None:
        return Content(b"", reason)
    left_out = cachekey.left_out(call.match.route.name, terms.ignore_fields)
    return Content(cachekey.json_content(body, left_out), None)


def content_of_form(call: Call, form: FormBody, terms: Terms) -> Content:
    """Of a form."""
    reason = freshness.why_bypass_form(call, form, trust_remote_urls=terms.life.trust_remote_urls)
    if reason is not None:
        return Content(b"", reason)
    left_out = cachekey.left_out(call.match.route.name, terms.ignore_fields)
    return Content(cachekey.form_content(form, left_out), None)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for."""

    key: CacheKey | None
    """None: nothing is, and nothing is kept."""
    form: Form
    directives: Directives
    bypass: Reason | None


def wanted(
    arrival: Arrival, call: Call, content: Content | None, principal: Principal, credential: str, terms: Terms
) -> Wanted:
    """
    What is looked for on behalf of a call.

    Args:
        arrival: its head.
        call: as it was read.
        content: of its body; None: its route is none whose answers are kept.
        principal: its caller.
        credential: the one that it goes up with first.
        terms: the operator's.

    Raises:
        Refused: 400 `invalid_header`, a seed that cannot be one.
    """
    directives = cachecontrol.read(arrival.headers)
    reason = Reason.ROUTE if content is None else content.bypass
    if directives.no_store:
        reason = Reason.NO_STORE
    if content is None or reason is not None:
        return Wanted(None, PLAIN, directives, reason)
    route = call.match.route.name
    organization, project = terms.accounts.get(credential, (None, None))
    surroundings = Surroundings(
        share=cachekey.share(principal, route, scope=terms.scope, owner=terms.owner),
        base_url=terms.base_url,
        organization=organization,
        project=project,
        route=route,
        query=arrival.query,
        openai_beta=first(arrival.headers, b"openai-beta"),
        seed=cachekey.seed_of(arrival.headers),
        steering=first(arrival.headers, STEERING) if terms.sandbox else None,
        stream=call.stream,
    )
    return Wanted(cachekey.key_of(surroundings, content.digest), form_of(call), directives, None)
