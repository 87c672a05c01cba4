"""
What the sandbox remembers, all of it in memory: objects, books, and who called.

One `World` for each application. Shelves that hold pictures are bounded by bytes, so that a long load test does not
eat the machine; what fell off a shelf is answered like what never was.
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Generic, TypeVar

from gateway.sandbox import clock
from gateway.sandbox.call import Call
from gateway.sandbox.invoice import Books
from gateway.sandbox.stored import Stored
from gateway.sandbox.studio import Studio

Kept = TypeVar("Kept")

_MIB: Final = 1 << 20
_SHOWN_BODY: Final = 64 * 1024
_VISITORS: Final = 2000


class Shelf(Generic[Kept]):
    """
    Things by id, in the order they came; the oldest fall off when the bytes exceed the limit.

    Args:
        max_bytes: of all things together; one alone may exceed it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._held = 0
        self._things: OrderedDict[str, tuple[Kept, int]] = OrderedDict()

    def put(self, key: str, thing: Kept, size: int) -> None:
        """Keeps this under its id, in place of what was there."""
        self.take(key)
        self._things[key] = (thing, size)
        self._held += size
        while self._held > self._max and len(self._things) > 1:
            _, (_, freed) = self._things.popitem(last=False)
            self._held -= freed

    def get(self, key: str) -> Kept | None:
        """What lies there, or nothing."""
        found = self._things.get(key)
        return found[0] if found else None

    def take(self, key: str) -> Kept | None:
        """Removes and gives what lies there, or nothing."""
        found = self._things.pop(key, None)
        if found is None:
            return None
        self._held -= found[1]
        return found[0]

    def __iter__(self) -> Iterator[Kept]:
        return iter([thing for thing, _ in self._things.values()])


class Ids:
    """
    Ids in OpenAI's forms: a counter under a hash.

    Salted by the moment of the start, because a gateway that outlives this process must never meet an id twice.
    """

    def __init__(self) -> None:
        self._salt = f"{clock.now():.9f}"
        self._next = count()

    def new(self, prefix: str) -> str:
        """A fresh id: `resp_`, `ig_`, `msg_`, `rs_`, `fc_`, `conv_` and `req_` with hex, `file-` with a shorter one."""
        digest = hashlib.sha256(f"{self._salt}:{next(self._next)}".encode()).hexdigest()
        match prefix:
            case "file-":
                return prefix + digest[:22]
            case "req_":
                return prefix + digest[:32]
            case _:
                return prefix + digest[:48]


@dataclass(slots=True)
class StoredFile:
    """An uploaded file: the object as the API shows it, and its bytes."""

    shown: dict[str, object]
    data: bytes


@dataclass(slots=True)
class Conversation:
    """A conversation: the object as the API shows it, and its items, oldest first."""

    shown: dict[str, object]
    items: list[dict[str, object]] = field(default_factory=list)


@dataclass(slots=True)
class World:
    """Everything that one sandbox knows."""

    speed: float
    studio: Studio = field(default_factory=Studio)
    ids: Ids = field(default_factory=Ids)
    books: Books = field(default_factory=Books)
    visitors: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=_VISITORS))
    files: Shelf[StoredFile] = field(default_factory=lambda: Shelf(1024 * _MIB))
    conversations: Shelf[Conversation] = field(default_factory=lambda: Shelf(256 * _MIB))
    responses: Shelf[Stored] = field(default_factory=lambda: Shelf(384 * _MIB))
    gallery: Shelf[bytes] = field(default_factory=lambda: Shelf(128 * _MIB))
    # An item of a response by its id, so that a later call can name it.
    items: Shelf[dict[str, object]] = field(default_factory=lambda: Shelf(256 * _MIB))

    def note(self, call: Call) -> None:
        """Writes down what arrived, without the secret."""
        headers = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in call.scope["headers"]]
        kind = call.header("content-type")
        found: dict[str, object] = {
            "request_id": call.request_id,
            "method": call.scope["method"],
            "path": call.scope["path"],
            "query": call.scope["query_string"].decode("latin-1"),
            "headers": [[name, _without_secret(name, value)] for name, value in headers],
            "content_type": kind,
            "body_bytes": len(call.body),
            "body_sha256": hashlib.sha256(call.body).hexdigest(),
        }
        textual = "json" in kind or "multipart" in kind
        if textual and len(call.body) <= _SHOWN_BODY:
            found["body"] = call.body.decode("utf-8", "replace")
        self.visitors.append(found)

    def reset(self) -> None:
        """Empties the books and the list of visitors; objects stay."""
        self.books.clear()
        self.visitors.clear()


def _without_secret(name: str, value: str) -> str:
    if name not in {"authorization", "api-key"}:
        return value
    return f"sha256:{hashlib.sha256(value.encode()).hexdigest()[:12]}"
