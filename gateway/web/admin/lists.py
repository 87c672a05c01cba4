"""Lists in JSON: `{"object": "list", "data": […], "next_cursor": …}`, sent as they are made."""

from collections.abc import AsyncIterator
from typing import Final

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PIECE_BYTES: Final = 64 << 10


async def pieces(items: AsyncIterator[dict[str, object]], next_cursor: str | None) -> AsyncIterator[bytes]:
    """The list as JSON, an item a line, in pieces of some 64 KiB: it can be longer than memory."""
    piece = bytearray(b'{"object":"list","data":[')
    first = True
    async for item in items:
        piece += b"\n" if first else b",\n"
        piece += orjson.dumps(item)
        first = False
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    piece += b'\n],"next_cursor":' + orjson.dumps(next_cursor) + b"}\n"
    yield bytes(piece)


class ListResponse(Response):
    """
    A list as an answer. Made by `made`.

    Args:
        first: the first piece.
        rest: the others.
    """

    media_type = "application/json"

    def __init__(self, first: bytes, rest: AsyncIterator[bytes]) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._first = first
        self._rest = rest

    @classmethod
    async def made(
        cls, items: AsyncIterator[dict[str, object]], next_cursor: str | None = None
    ) -> "ListResponse":
        """
        The answer, its first piece made already: what fails by then can still be told.

        Args:
            items: what it lists.
            next_cursor: to go on; None: there is no more.
        """
        rest = pieces(items, next_cursor)
        return cls(await anext(rest), rest)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. An error in the middle leaves it unfinished, so that nobody takes a part for the whole."""
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for piece in self._rest:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
