"""
What the cache is to be asked for on behalf of a call: its key and form, what the client wants of it, or why nothing.

Decided in core (cachekey.py, freshness.py, cachecontrol.py); here it is put together from what a request brings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gateway.core import cachecontrol, cachekey, freshness, idempotency
from gateway.core.artefact import PLAIN, Form, form_of
from gateway.core.cachecontrol import Directives
from gateway.core.cachekey import CacheKey, Level, Surroundings
from gateway.core.call import Call
from gateway.core.freshness import Reason
from gateway.core.headers import STEERING, first
from gateway.core.idempotency import Once
from gateway.core.multipart import Form as FormBody
from gateway.core.principal import Principal
from gateway.flow.exchange import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the operator decided."""

    life: freshness.Rules
    enabled: bool = True
    """Whether anything is kept, but for the answers to calls with an `Idempotency-Key`."""
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
    whole: bytes | None = None
    """Every field of it, those that ask for a form of the answer too; None: nobody wants to know."""


def content_of_json(call: Call, body: Mapping[str, object], terms: Terms, *, whole: bool = False) -> Content:
    """Of a JSON body, as `strictjson` has read it. `whole`: of every field."""
    all_of_it = cachekey.json_content(body) if whole else None
    reason = freshness.why_bypass_json(call, body, trust_remote_urls=terms.life.trust_remote_urls)
    if reason is not None:
        return Content(b"", reason, all_of_it)
    left_out = cachekey.left_out(call.match.route.name, terms.ignore_fields)
    return Content(cachekey.json_content(body, left_out), None, all_of_it)


def content_of_form(call: Call, form: FormBody, terms: Terms, *, whole: bool = False) -> Content:
    """Of a form. `whole`: of every field."""
    all_of_it = cachekey.form_content(form) if whole else None
    reason = freshness.why_bypass_form(call, form, trust_remote_urls=terms.life.trust_remote_urls)
    if reason is not None:
        return Content(b"", reason, all_of_it)
    left_out = cachekey.left_out(call.match.route.name, terms.ignore_fields)
    return Content(cachekey.form_content(form, left_out), None, all_of_it)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for."""

    key: CacheKey | None
    """None: nothing is, and nothing is kept."""
    form: Form
    directives: Directives
    bypass: Reason | None
    once: Once | None = None
    """The `Idempotency-Key` of the request."""

    @property
    def shares(self) -> bool:
        """Whether it may be given what was made for somebody else."""
        return self.key is not None and self.directives.may_follow


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
        Refused: 400 `invalid_header`, a seed or an `Idempotency-Key` that cannot be one.
    """
    directives = cachecontrol.read(arrival.headers)
    if content is None:
        return Wanted(None, PLAIN, directives, Reason.ROUTE if terms.enabled else None)
    around = _surroundings(arrival, call, principal, credential, terms)
    once = _once(arrival, principal, content, around, terms)
    form = form_of(call)
    if not terms.enabled:
        return Wanted(None, form, directives, None, once)
    reason = Reason.NO_STORE if directives.no_store else content.bypass
    key = None if reason is not None else cachekey.key_of(around, content.digest)
    return Wanted(key, form, directives, reason, once)


def _surroundings(
    arrival: Arrival, call: Call, principal: Principal, credential: str, terms: Terms
) -> Surroundings:
    route = call.match.route.name
    organization, project = terms.accounts.get(credential, (None, None))
    return Surroundings(
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


def _once(
    arrival: Arrival, principal: Principal, content: Content, around: Surroundings, terms: Terms
) -> Once | None:
    key = idempotency.read(arrival.headers)
    if key is None or content.whole is None:
        return None
    owner = cachekey.share(principal, around.route, scope=terms.owner, owner=terms.owner)
    name = idempotency.name_of(owner, arrival.method, around.route, key)
    # What the client sent, and nothing that an operator may change meanwhile.
    sent = replace(around, share=(), base_url="", organization=None, project=None)
    return Once(name, cachekey.key_of(sent, content.whole))
