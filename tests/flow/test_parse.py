"""A body that cannot be kept: refused in words, with nothing sent up and its record written."""

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.adapters.spool import FileSpool
from gateway.core.ledger import LedgerFilter
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.ports import Spool
from tests.support.answers import Answer, read_answer
from tests.support.gateway import LiveGateway, live_gateway
from tests.support.raw import raw_client, request_bytes
from tests.support.scripted import Reply, Scripted

SMALL = json.dumps({"model": "gpt-image-1", "prompt": "x"}).encode()
LARGE = json.dumps({"model": "gpt-image-1", "prompt": "x" * (3 << 20)}).encode()
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx\r\n'
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    + b"x" * (3 << 20)
    + b"\r\n--b--\r\n"
)
BODIES = {
    "json": ("/v1/images/generations", "application/json", LARGE),
    "form": ("/v1/images/edits", "multipart/form-data; boundary=b", FORM),
}


class FullSpool(FileSpool):
    """Its disk has room for two megabytes."""

    async def write(self, piece: bytes) -> None:
        if self.size + len(piece) > 2 << 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        await super().write(piece)


def nowhere(folder: Path) -> Callable[[], Spool]:
    """Spools in a folder where nothing can be made."""
    return lambda: FileSpool(folder / "gone")


def full(_: Path) -> Callable[[], Spool]:
    return FullSpool


async def post(gateway: LiveGateway, path: str, content_type: str, body: bytes) -> Answer:
    async with raw_client(gateway.port) as wire:
        request = request_bytes("POST", path, body, headers=(f"Content-Type: {content_type}",))
        # The answer comes, and the connection may end, before all of it has been taken.
        writing = asyncio.get_running_loop().create_task(wire.write(request))
        try:
            return await read_answer(wire)
        finally:
            writing.cancel()
            await asyncio.wait([writing])


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("disk", [nowhere, full])
async def test_a_body_that_finds_no_room_is_refused_and_nothing_goes_up(
    tmp_path: Path, disk: Callable[[Path], Callable[[], Spool]], kind: str
) -> None:
    upstream = Scripted([])
    async with live_gateway("http://unused", upstream=upstream, new_spool=disk(tmp_path)) as gateway:
        answer = await post(gateway, *BODIES[kind])
        assert answer.code == "store_unavailable"
        assert (answer.status, answer.header("retry-after")) == (503, "5")
        assert b"no room for this upload" in answer.body
        assert upstream.requests == []
        (record,) = await kept(gateway)
        assert [one.id for one in gateway.records] == [record.id]
        assert (record.outcome, record.status, record.code) == (Outcome.REFUSED, 503, "store_unavailable")
        assert (record.cost_nusd, record.tokens_from) == (0, TokensFrom.NONE)
        assert await gateway.ledger.open_calls() == ()


async def test_what_is_small_needs_no_room_on_the_disk(tmp_path: Path) -> None:
    upstream = Scripted([Reply(script=[b"{}"])])
    async with live_gateway("http://unused", upstream=upstream, new_spool=nowhere(tmp_path)) as gateway:
        assert (await post(gateway, *BODIES["json"])).status == 503
        answer = await post(gateway, "/v1/images/generations", "application/json", SMALL)
        assert answer.status == 200
        assert upstream.bodies == [SMALL]
        assert [record.outcome for record in await kept(gateway, 2)] == [Outcome.REFUSED, Outcome.COMPLETED]


async def kept(gateway: LiveGateway, count: int = 1) -> list[Record]:
    """The ledger's records, oldest first, as soon as there are so many; a record is written after its answer."""
    while True:
        found = [record async for record in gateway.ledger.export(LedgerFilter())][::-1]
        if len(found) >= count:
            return found
        await asyncio.sleep(0)
