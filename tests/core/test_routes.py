import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.routes import NAMES, ROUTES, Body, match


@pytest.mark.parametrize("prefix", ["/v1", ""])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_is_found_under_v1_and_without_it(route: object, prefix: str) -> None:
    one = next(known for known in ROUTES if known is route)
    ids = tuple(f"id-{n}" for n in range(one.template.count("{id}")))
    path = one.template
    for name in ids:
        path = path.replace("{id}", name, 1)
    found = match(one.method, f"{prefix}/{path}")
    assert found is not None
    assert (found.route.name, found.ids, found.path) == (one.name, ids, f"/{path}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/images/generations"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/batches"),
        ("GET", "/v1/responses"),
        ("POST", "/v1/images/generations/"),
        ("POST", "/v1//images/generations"),
        ("POST", "/v1/v1/images/generations"),
        ("POST", "/V1/images/generations"),
        ("GET", "/v1/responses/.."),
        ("GET", "/v1/responses/."),
        ("GET", "/v1/responses/a/b"),
        ("GET", "/v1/responses/a%2Fb"),
        ("GET", "/v1/responses/a b"),
        ("GET", "/v1/responses/a\n"),
        ("GET", "/v1/responses/"),
        ("GET", "/v1/files/" + "a" * 257),
        ("GET", "/v1/files/ä"),
        ("GET", ""),
        ("GET", "*"),
        ("OPTIONS", "/v1/models"),
        ("HEAD", "/v1/models"),
    ],
)
def test_anything_else_is_no_route(method: str, path: str) -> None:
    assert match(method, path) is None


def test_what_costs_money_is_read_strictly() -> None:
    assert {route.name for route in ROUTES if route.metered} == {
        "images.generations",
        "images.edits",
        "images.variations",
        "responses.create",
        "responses.compact",
    }
    assert all(route.body not in {Body.NONE, Body.OPAQUE} for route in ROUTES if route.metered)


def test_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


@given(st.text(max_size=40))
def test_a_path_found_is_rebuilt_as_it_came(tail: str) -> None:
    found = match("GET", f"/v1/responses/{tail}")
    assert found is None or found.path == f"/responses/{tail}"
