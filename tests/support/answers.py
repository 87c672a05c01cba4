"""Answers read off the wire, whatever their framing."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.core.errors import Code
from tests.support.raw import Wire

CODES = {code.code: code for code in Code}


@dataclass
class Answer:
    """One answer as it lay on the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    whole: bool = True
    """False: the connection ended before the framing said so."""
    chunks: list[bytes] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known == name]
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        """Whether it is the last one on its connection."""
        return self.header("connection") == "close"

    @property
    def code(self) -> str | None:
        """The error's code, its shape and headers checked; None for what is no error."""
        if self.status < 400:
            return None
        body: dict[str, dict[str, Any]] = orjson.loads(self.body)
        assert set(body) == {"error"}
        assert set(body["error"]) == {"message", "type", "param", "code"}
        code = CODES[body["error"]["code"]]
        assert (self.status, body["error"]["type"]) == (code.status, code.kind)
        assert self.header("x-should-retry") in ({"true"} if code.retry else {"true", "false"})
        assert self.header("content-type") == "application/json"
        assert (self.header("x-imagegate-id") or "").startswith("igr_")
        assert self.header("x-request-id") == self.header("x-imagegate-id")
        assert self.header("date") is not None
        return code.code


async def read_head(wire: Wire) -> Answer:
    """The head of the next answer."""
    head = await wire.read_until(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")[:-2]
    version, status, _ = line.split(" ", 2)
    assert version == "HTTP/1.1"
    return Answer(int(status), [(name.lower(), value.strip()) for name, _, value in map(_halves, fields)])


async def read_answer(wire: Wire, *, to_head: bool = False) -> Answer:
    """
    The next answer, read to the end of its body or of the connection.

    Args:
        to_head: it answers a HEAD: no body comes.
    """
    answer = await read_head(wire)
    if to_head or answer.status < 200 or answer.status in {204, 304}:
        return answer
    try:
        if answer.header("transfer-encoding") == "chunked":
            await _read_chunks(wire, answer)
        elif (length := answer.header("content-length")) is not None:
            answer.body = await wire.read(int(length))
        else:
            answer.body = await wire.read_all()
    except (EOFError, ConnectionError) as error:
        answer.body += getattr(error, "partial", b"")
        answer.whole = False
    return answer


async def _read_chunks(wire: Wire, answer: Answer) -> None:
    while True:
        size = int(await wire.read_until(b"\r\n"), 16)
        chunk = (await wire.read(size + 2))[:-2]
        if not chunk:
            return
        answer.chunks.append(chunk)
        answer.body += chunk


def _halves(field_: str) -> tuple[str, str, str]:
    return field_.partition(":")
