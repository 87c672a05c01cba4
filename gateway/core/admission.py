"""
Whether a caller may make a call at all.

Everything a call would use is held against the allow-lists of its key, its team and the organisation; the first
that says no decides. What a call leaves open is judged as what OpenAI would make of it: a missing model is the
route's default, a missing size or quality is `auto`, and what cannot be known is refused where it is narrowed.

Not here: how much may be used (limits).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from gateway.core.call import Call, ImageAsk
from gateway.core.errors import Code, Refusal, quoted
from gateway.core.principal import DEFAULT_TOOLS, Allow, Principal, Scope

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class DefaultModels:
    """Which model OpenAI takes where a request names none."""

    by_route: dict[str, str]
    image_tool: str


def refusal_of_route(principal: Principal, route: str) -> Refusal | None:
    """Whether the route itself is closed to the caller: known before a byte of the body is read."""
    for scope in principal.scopes:
        routes = scope.allow.routes
        if routes is not None and not _listed(route, routes):
            return _not_allowed(scope, "route", f"The route {quoted(route)}", routes)
    return None


def refusal_of(principal: Principal, call: Call, defaults: DefaultModels) -> Refusal | None:
    """
    The first thing in the call that is not allowed; None if all of it is.

    Args:
        principal: the caller.
        call: what is asked.
        defaults: the catalogue's.
    """
    for scope in principal.scopes:
        refusal = next(_objections(scope, call, defaults), None)
        if refusal is not None:
            return refusal
    return _tool_objection(principal, call) or _prompt_objection(principal, call)


def visible_models(principal: Principal, names: Iterable[str]) -> frozenset[str]:
    """Those of the models that every scope of the caller allows."""
    lists = [scope.allow.models for scope in principal.scopes if scope.allow.models is not None]
    return frozenset(name for name in names if all(_listed(name, models) for models in lists))


def narrows_models(principal: Principal) -> bool:
    """Whether any scope of the caller limits the models."""
    return any(scope.allow.models is not None for scope in principal.scopes)


def refusal_of_model(principal: Principal, model: str) -> Refusal | None:
    """Whether a model named in a path is closed to the caller."""
    for scope in principal.scopes:
        models = scope.allow.models
        if models is not None and not _listed(model, models):
            return _not_allowed(scope, "model", f"The model {quoted(model)}", models)
    return None


def _objections(scope: Scope, call: Call, defaults: DefaultModels) -> Iterator[Refusal]:
    allow = scope.allow
    yield from _model_objections(scope, call, defaults)
    for ask in call.images:
        yield from _choice_objections(scope, ask)
        yield from _count_objections(scope, ask, allow)


def _model_objections(scope: Scope, call: Call, defaults: DefaultModels) -> Iterator[Refusal]:
    models = scope.allow.models
    if models is None:
        return
    route = call.match.route.name
    for param, name in _models_used(call, defaults):
        if name is None:
            message = f"No model is named, and {scope} limits the models. Name one of: {', '.join(models)}."
            yield Refusal(Code.NOT_ALLOWED, message, param, scope=scope.kind)
        elif not _listed(name, models):
            yield _not_allowed(scope, param, f"The model {quoted(name)} ({route})", models)


def _models_used(call: Call, defaults: DefaultModels) -> Iterator[tuple[str, str | None]]:
    if call.takes_model:
        yield "model", call.model or defaults.by_route.get(call.match.route.name)
    for ask in call.images:
        if ask.where:
            yield f"{ask.where}model", ask.model or defaults.image_tool
    for author in call.authors:
        yield author.param, author.value


def _choice_objections(scope: Scope, ask: ImageAsk) -> Iterator[Refusal]:
    for name, value, listed in (
        ("size", ask.size, scope.allow.sizes),
        ("quality", ask.quality, scope.allow.qualities),
    ):
        asked = AUTO if value is None else value
        if listed is not None and asked not in listed:
            yield _not_allowed(scope, f"{ask.where}{name}", f"The {name} {quoted(asked)}", listed)


def _count_objections(scope: Scope, ask: ImageAsk, allow: Allow) -> Iterator[Refusal]:
    for name, value, most in (
        ("n", 1 if ask.n is None else ask.n, allow.max_n),
        ("partial_images", ask.partial_images or 0, allow.max_partial_images),
    ):
        if most is not None and value > most:
            message = f"{name} = {value} is not allowed for {scope}: at most {most}."
            yield Refusal(Code.NOT_ALLOWED, message, f"{ask.where}{name}", scope=scope.kind)


def _tool_objection(principal: Principal, call: Call) -> Refusal | None:
    """Every level that lists tools must list them all; where none does, the default list holds."""
    listing = [scope for scope in principal.scopes if scope.allow.tools is not None]
    rules = [(scope, scope.allow.tools or ()) for scope in listing] or [(principal.key, DEFAULT_TOOLS)]
    for scope, tools in rules:
        for tool in call.tools:
            if not _listed(tool.value, tools):
                return _not_allowed(scope, tool.param, f"The tool {quoted(tool.value)}", tools)
    return None


def _prompt_objection(principal: Principal, call: Call) -> Refusal | None:
    """A stored template can bring any model and tool, unseen by us: somebody has to say yes, and nobody no."""
    if not call.stored_prompt:
        return None
    said = [scope.allow.prompts for scope in principal.scopes]
    if True in said and False not in said:
        return None
    message = (
        f"Stored prompt templates are not allowed for {principal.key}: their model and tools cannot be "
        "checked. Send the prompt itself, or ask for allow.prompts = true."
    )
    return Refusal(Code.NOT_ALLOWED, message, "prompt", scope=principal.key.kind)


def _listed(value: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(value, glob) for glob in globs)


def _not_allowed(scope: Scope, param: str, what: str, listed: Iterable[str]) -> Refusal:
    choice = ", ".join(listed) or "nothing"
    message = f"{what} is not allowed for {scope}. Allowed: {choice}."
    return Refusal(Code.NOT_ALLOWED, message, param, scope=scope.kind)
