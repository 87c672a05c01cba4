"""The list of models, without those that the caller may not use: the one answer whose body is not the upstream's."""

import orjson

from gateway.core.admission import visible_models
from gateway.core.principal import Principal


def filter_models(body: bytes, principal: Principal) -> bytes:
    """
    A `GET /v1/models` answer, cut down to what the caller may use.

    A body that is not the list we know comes back empty of models: what cannot be read cannot be checked.
    """
    try:
        listing = orjson.loads(body)
    except orjson.JSONDecodeError:
        listing = None
    if not isinstance(listing, dict) or not isinstance(listing.get("data"), list):
        return orjson.dumps({"object": "list", "data": []})
    rows = [row for row in listing["data"] if isinstance(row, dict) and isinstance(row.get("id"), str)]
    visible = visible_models(principal, (row["id"] for row in rows))
    return orjson.dumps({**listing, "data": [row for row in rows if row["id"] in visible]})
