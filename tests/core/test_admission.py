import pytest

from gateway.core.admission import (
    DefaultModels,
    narrows_models,
    refusal_of,
    refusal_of_model,
    refusal_of_route,
    visible_models,
)
from gateway.core.call import Call, read_json
from gateway.core.errors import Code
from gateway.core.principal import Allow, Principal, Scope
from gateway.core.routes import match

DEFAULTS = DefaultModels(
    {"images.generations": "dall-e-2", "images.edits": "gpt-image-1.5"}, "gpt-image-2.6-sunburst"
)


def principal(key: Allow = Allow(), team: Allow = Allow(), org: Allow = Allow()) -> Principal:  # noqa: B008 - frozen values
    return Principal(Scope("org", "default", org), Scope("team", "design", team), Scope("key", "k1", key))


def judge(who: Principal, path: str, body: object) -> tuple[Code, str | None] | None:
    found = match("POST", path)
    assert found is not None
    refusal = refusal_of(who, read_json(found, body), DEFAULTS)
    return None if refusal is None else (refusal.code, refusal.param)


def image_tool(**fields: object) -> dict[str, object]:
    return {"model": "gpt-5", "tools": [{"type": "image_generation", **fields}]}


@pytest.mark.parametrize(
    ("allow", "path", "body", "param"),
    [
        pytest.param(
            Allow(), "/images/generations", {"model": "anything", "n": 10}, None, id="nothing narrowed"
        ),
        pytest.param(
            Allow(models=("gpt-image-*",)), "/images/generations", {"model": "gpt-image-2"}, None, id="glob"
        ),
        pytest.param(
            Allow(models=("gpt-image-*",)), "/images/generations", {"model": "dall-e-3"}, "model", id="model"
        ),
        pytest.param(
            Allow(models=("gpt-image-*",)), "/images/generations", {}, "model", id="default model refused"
        ),
        pytest.param(
            Allow(models=("dall-e-2",)), "/images/generations", {}, None, id="default model allowed"
        ),
        pytest.param(Allow(models=()), "/images/generations", {"model": "x"}, "model", id="no model at all"),
        pytest.param(
            Allow(models=("gpt-5",)), "/responses", image_tool(), "tools[0].model", id="default tool model"
        ),
        pytest.param(
            Allow(models=("gpt-5", "gpt-image-2")),
            "/responses",
            image_tool(model="gpt-image-2"),
            None,
            id="both models",
        ),
        pytest.param(
            Allow(models=("gpt-image-*",)), "/responses", image_tool(), "model", id="mainline model"
        ),
        pytest.param(
            Allow(models=("gpt-*",)), "/responses", {"input": "x"}, "model", id="unknown mainline model"
        ),
        pytest.param(
            Allow(models=("gpt-image-*",)),
            "/images/generations",
            {"model": "gpt-image-2", "svg": {"model": "gpt-9"}},
            "svg.model",
            id="author of an SVG",
        ),
        pytest.param(
            Allow(), "/responses", {"tools": [{"type": "web_search"}]}, "tools[0].type", id="hosted tool"
        ),
        pytest.param(
            Allow(tools=("web_search",)),
            "/responses",
            image_tool(),
            "tools[0].type",
            id="image tool not listed",
        ),
        pytest.param(
            Allow(tools=("*",)), "/responses", {"tools": [{"type": "mcp"}]}, None, id="every tool listed"
        ),
        pytest.param(
            Allow(sizes=("1024x1024",)), "/images/generations", {"size": "1024x1024"}, None, id="size"
        ),
        pytest.param(
            Allow(sizes=("1024x1024",)), "/images/generations", {"size": "auto"}, "size", id="auto size"
        ),
        pytest.param(
            Allow(sizes=("1024x1024",)), "/images/generations", {}, "size", id="missing size is auto"
        ),
        pytest.param(Allow(sizes=("auto",)), "/images/generations", {}, None, id="auto is listed"),
        pytest.param(
            Allow(qualities=("low",)), "/responses", image_tool(), "tools[0].quality", id="tool's quality"
        ),
        pytest.param(Allow(max_n=1), "/images/generations", {"n": 2}, "n", id="n"),
        pytest.param(Allow(max_n=1), "/images/generations", {}, None, id="missing n is one"),
        pytest.param(Allow(max_n=0), "/images/generations", {}, "n", id="not even one"),
        pytest.param(
            Allow(max_partial_images=1),
            "/images/generations",
            {"partial_images": 2},
            "partial_images",
            id="partials",
        ),
        pytest.param(
            Allow(max_partial_images=0),
            "/responses",
            image_tool(partial_images=1),
            "tools[0].partial_images",
            id="tool's partials",
        ),
        pytest.param(Allow(), "/responses", {"prompt": {"id": "p"}}, "prompt", id="stored prompt"),
        pytest.param(
            Allow(prompts=True), "/responses", {"prompt": {"id": "p"}}, None, id="stored prompt allowed"
        ),
    ],
)
@pytest.mark.parametrize("level", ["key", "team", "org"])
def test_an_allow_list_holds_at_every_level(
    allow: Allow, path: str, body: object, param: str | None, level: str
) -> None:
    verdict = judge(principal(**{level: allow}), path, body)
    assert verdict == (None if param is None else (Code.NOT_ALLOWED, param))


def test_a_tool_must_be_listed_by_every_level_that_lists_tools() -> None:
    body = {"tools": [{"type": "web_search"}]}
    listed, other = Allow(tools=("web_*",)), Allow(tools=("image_generation",))
    assert judge(principal(key=listed, org=listed), "/responses", body) is None
    assert judge(principal(key=listed, org=other), "/responses", body) == (Code.NOT_ALLOWED, "tools[0].type")


def test_the_narrowest_level_wins_and_is_named() -> None:
    who = principal(key=Allow(models=("gpt-image-2",)), org=Allow(models=("gpt-image-*",)))
    found = match("POST", "/images/generations")
    assert found is not None
    refusal = refusal_of(who, read_json(found, {"model": "gpt-image-1"}), DEFAULTS)
    assert refusal is not None
    assert "key 'k1'" in refusal.message
    assert "gpt-image-2" in refusal.message
    assert refusal.scope == "key"


def test_a_no_to_stored_prompts_beats_a_yes() -> None:
    who = principal(key=Allow(prompts=True), org=Allow(prompts=False))
    assert judge(who, "/responses", {"prompt": {"id": "p"}}) == (Code.NOT_ALLOWED, "prompt")


def test_a_call_that_no_model_works_for_needs_none() -> None:
    who = principal(Allow(models=("gpt-image-2",)))
    for method, path in (("GET", "/models"), ("POST", "/files"), ("GET", "/responses/resp_1")):
        found = match(method, path)
        assert found is not None
        assert refusal_of(who, Call(found), DEFAULTS) is None


def test_routes_are_closed_by_name_or_glob() -> None:
    who = principal(team=Allow(routes=("images.*", "models.list")))
    assert refusal_of_route(who, "images.edits") is None
    assert refusal_of_route(who, "models.list") is None
    refusal = refusal_of_route(who, "responses.create")
    assert refusal is not None
    assert refusal.param == "route"


def test_only_models_that_every_level_allows_are_seen() -> None:
    who = principal(key=Allow(models=("gpt-image-*",)), org=Allow(models=("*-2", "dall-e-*")))
    assert visible_models(who, ["gpt-image-1", "gpt-image-2", "dall-e-2"]) == {"gpt-image-2"}
    assert narrows_models(who)
    assert not narrows_models(principal())
    assert refusal_of_model(who, "gpt-image-2") is None
    assert refusal_of_model(who, "gpt-image-1") is not None


def test_a_refusal_shows_no_more_of_a_value_than_it_must() -> None:
    who = principal(key=Allow(models=("a",)))
    found = match("POST", "/images/generations")
    assert found is not None
    refusal = refusal_of(who, read_json(found, {"model": "x" * 1000 + "\n\ud800"}), DEFAULTS)
    assert refusal is not None
    assert len(refusal.message) < 250
    refusal.message.encode()
