"""OpenAI's lists, through the items of a conversation."""

import httpx2
import pytest


@pytest.fixture
def items(http: httpx2.Client) -> str:
    """The path of a conversation's three items `a`, `b` and `c`."""
    given = [{"id": f"msg_{name}", "role": "user", "content": name} for name in "abc"]
    made = http.post("/v1/conversations", json={"items": given}).json()
    return f"/v1/conversations/{made['id']}/items"


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", "cba", False),
        ("?order=asc", "abc", False),
        ("?order=asc&limit=2", "ab", True),
        ("?order=asc&after=msg_b", "c", False),
        ("?limit=1&after=msg_c", "b", True),
        ("?after=msg_none", "", False),
    ],
)
def test_a_page_is_what_the_query_says(
    http: httpx2.Client, items: str, query: str, ids: str, more: bool
) -> None:
    found = http.get(items + query).json()

    assert "".join(item["id"][-1] for item in found["data"]) == ids
    assert found["has_more"] is more
    assert (found["first_id"], found["last_id"]) == (
        (f"msg_{ids[0]}", f"msg_{ids[-1]}") if ids else (None, None)
    )


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up"])
def test_a_query_that_makes_no_sense_is_refused(http: httpx2.Client, items: str, query: str) -> None:
    assert http.get(f"{items}?{query}").status_code == 400
