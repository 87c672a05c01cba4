"""The body of a request to the admin API: an object of JSON that can be read in one way only."""

from typing import Final

from starlette.requests import Request

from gateway.core import strictjson
from gateway.core.errors import Code, Refusal, Refused, quoted

MOST_BYTES: Final = 64 << 10
"""Of a body."""


async def read_object(request: Request) -> dict[str, object]:
    """
    The object that a body is; its Content-Type does not matter.

    Raises:
        Refused: it is too large, not JSON, no object, or has a key twice.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise Refused(Refusal(Code.REQUEST_TOO_LARGE, f"The body is larger than {MOST_BYTES} bytes."))
    try:
        value = strictjson.loads(bytes(body))
    except strictjson.InvalidJsonError as error:
        raise Refused(Refusal(Code.INVALID_JSON, f"The body is not JSON: {error}.")) from None
    except strictjson.RepeatedKeyError as error:
        message = f"The key {quoted(error.key)} is there twice."
        raise Refused(Refusal(Code.DUPLICATE_FIELD, message, param=error.key[:80])) from None
    if not isinstance(value, dict):
        raise Refused(Refusal(Code.INVALID_JSON, "The body is not an object of JSON."))
    return value
