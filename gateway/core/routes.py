"""
The public routes: what may be asked, and under which name rules speak of it.

The table is closed: a path that is not in it is answered 404 and never forwarded, so there is no way to the
upstream past admission and accounting. Paths are matched as received (percent-decoded), ids by a narrow
alphabet, so that the URL built for the upstream can only be one of these templates.

Not here: what a route's body means (call.py), who may use it (admission.py).
"""

import re
from dataclasses import dataclass
from enum import Enum

ID = re.compile(r"[A-Za-z0-9._:-]{1,256}\Z")
"""What a path id may look like. `.` and `..` match too and are refused apart."""


class Body(Enum):
    """How a route's request body is read."""

    NONE = "none"
    """No body goes up; what the client sends is dropped."""
    OPAQUE = "opaque"
    """Forwarded unread."""
    JSON = "json"
    """One JSON object: read for what we decide by, forwarded byte for byte."""
    FORM = "form"
    """multipart/form-data, likewise."""
    JSON_OR_FORM = "json or form"
    """The Content-Type says which of the two."""


@dataclass(frozen=True, slots=True)
class Route:
    """One public route."""

    name: str
    """What `allow.routes`, the ledger and the metrics call it."""
    method: str
    template: str
    """Below the base URL, without a leading slash; `{id}` stands for one path segment."""
    body: Body = Body.NONE
    metered: bool = False
    """A call that can cost money: its body is read strictly."""

    @property
    def counted(self) -> bool:
        """Whether a call counts as a request where requests are limited: every POST to images and responses."""
        return self.method == "POST" and self.name.startswith(("images.", "responses."))


@dataclass(frozen=True, slots=True)
class Match:
    """A route found, with the ids of its path in order."""

    route: Route
    ids: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The path below the base URL, rebuilt from the template: `/responses/resp_1/cancel`."""
        path = self.route.template
        for one in self.ids:
            path = path.replace("{id}", one, 1)
        return f"/{path}"


ROUTES = (
    Route("images.generations", "POST", "images/generations", Body.JSON, metered=True),
    Route("images.edits", "POST", "images/edits", Body.JSON_OR_FORM, metered=True),
    Route("images.variations", "POST", "images/variations", Body.FORM, metered=True),
    Route("responses.create", "POST", "responses", Body.JSON, metered=True),
    Route("responses.compact", "POST", "responses/compact", Body.JSON, metered=True),
    Route("responses.input_tokens", "POST", "responses/input_tokens", Body.JSON),
    Route("responses.retrieve", "GET", "responses/{id}"),
    Route("responses.delete", "DELETE", "responses/{id}"),
    Route("responses.cancel", "POST", "responses/{id}/cancel", Body.OPAQUE),
    Route("responses.input_items", "GET", "responses/{id}/input_items"),
    Route("files.create", "POST", "files", Body.OPAQUE),
    Route("files.list", "GET", "files"),
    Route("files.retrieve", "GET", "files/{id}"),
    Route("files.content", "GET", "files/{id}/content"),
    Route("files.delete", "DELETE", "files/{id}"),
    Route("conversations.create", "POST", "conversations", Body.JSON),
    Route("conversations.retrieve", "GET", "conversations/{id}"),
    Route("conversations.update", "POST", "conversations/{id}", Body.OPAQUE),
    Route("conversations.delete", "DELETE", "conversations/{id}"),
    Route("conversations.items.create", "POST", "conversations/{id}/items", Body.JSON),
    Route("conversations.items.list", "GET", "conversations/{id}/items"),
    Route("conversations.items.retrieve", "GET", "conversations/{id}/items/{id}"),
    Route("conversations.items.delete", "DELETE", "conversations/{id}/items/{id}"),
    Route("models.list", "GET", "models"),
    Route("models.retrieve", "GET", "models/{id}"),
)

NAMES: tuple[str, ...] = tuple(route.name for route in ROUTES)
"""Every route name, in the order of the table."""

_EXACT = {(route.method, route.template): route for route in ROUTES if "{id}" not in route.template}
_TEMPLATES = tuple((route, tuple(route.template.split("/"))) for route in ROUTES if "{id}" in route.template)


def match(method: str, path: str) -> Match | None:
    """
    The route a request asks for, under `/v1` or without it; None where there is none.

    Args:
        method: as on the request line.
        path: percent-decoded, without the query.
    """
    if not path.startswith("/"):
        return None
    rest = path.removeprefix("/v1/") if path.startswith("/v1/") else path[1:]
    exact = _EXACT.get((method, rest))
    if exact is not None:
        return Match(exact)
    segments = rest.split("/")
    for route, template in _TEMPLATES:
        if route.method != method or len(template) != len(segments):
            continue
        if all(ours in {"{id}", theirs} for ours, theirs in zip(template, segments, strict=True)):
            pairs = zip(template, segments, strict=True)
            ids = tuple(theirs for ours, theirs in pairs if ours == "{id}")
            return Match(route, ids) if all(map(_is_id, ids)) else None
    return None


def _is_id(text: str) -> bool:
    return ID.match(text) is not None and text not in {".", ".."}
