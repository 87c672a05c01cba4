"""OpenAI's lists: `limit`, `order` and `after` in, `first_id`, `last_id` and `has_more` out."""

from gateway.sandbox import errors
from gateway.sandbox.call import Call


def page(
    call: Call, oldest_first: list[dict[str, object]], *, limit: int = 20, most: int = 100
) -> dict[str, object]:
    """
    One page of these objects, newest first unless the call says `order=asc`.

    Args:
        call: whose query says which page.
        oldest_first: everything there is.
        limit: where the call gives none.
        most: the largest limit that is allowed.

    Raises:
        ApiError: 400 for a limit or an order that the API does not take.
    """
    asked = call.query("limit")
    if asked is not None:
        if not asked.isdigit() or not 1 <= int(asked) <= most:
            raise errors.invalid("limit", asked, f"1 to {most}")
        limit = int(asked)
    order = call.query("order") or "desc"
    if order not in {"asc", "desc"}:
        raise errors.invalid("order", order, "'asc', 'desc'")
    ordered = oldest_first if order == "asc" else oldest_first[::-1]
    after = call.query("after")
    if after is not None:
        places = [number for number, item in enumerate(ordered) if item.get("id") == after]
        ordered = ordered[places[0] + 1 :] if places else []
    shown = ordered[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(ordered) > len(shown),
    }
