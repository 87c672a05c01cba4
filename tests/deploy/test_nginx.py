"""nginx in front: streams come through piece by piece, uploads as they come, and nothing is sent twice."""

import json
from pathlib import Path

import pytest

from tests.support.nginx import SNIPPET, complaints, nginx
from tests.support.ports import free_port
from tests.support.process import KEY, gateway_process
from tests.support.raw import raw_client, raw_upstream, request_bytes

pytestmark = pytest.mark.system
COMPOSE = Path(__file__).parents[2] / "deploy" / "compose" / "nginx.conf"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = request_bytes(
    "POST", "/v1/images/generations", b'{"prompt":"x","stream":true,"partial_images":2}', key=KEY
)


def event(kind: str, number: int) -> bytes:
    data = {"type": f"image_generation.{kind}", "partial_image_index": number, "b64_json": "A" * 2000}
    return f"event: image_generation.{kind}\ndata: {json.dumps(data)}\n\n".encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def test_each_partial_picture_comes_through_before_the_next_one_is_made(tmp_path: Path) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path) as gateway, nginx(tmp_path, gateway.port) as port:
            async with raw_client(port) as client:
                await client.write(STREAM)
                wire, _ = await upstream.request()
                await wire.write(HEAD)
                assert (await client.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
                for number in range(3):
                    piece = event("partial_image" if number < 2 else "completed", number)
                    await wire.write(chunk(piece))
                    # The next one is not written before this has come: whatever holds it back stops the test.
                    assert piece in await client.read_until(piece)
                await wire.write(b"0\r\n\r\n")
                await client.read_until(b"0\r\n\r\n")


async def test_a_stream_that_breaks_upstream_breaks_for_the_client(tmp_path: Path) -> None:
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path) as gateway, nginx(tmp_path, gateway.port) as port:
            async with raw_client(port) as client:
                await client.write(STREAM)
                wire, _ = await upstream.request()
                await wire.write(HEAD, chunk(event("partial_image", 0)))
                await client.read_until(b"\n\n\r\n")
                wire.reset()
                assert b"0\r\n\r\n" not in await client.read_all(), "no clean end"


async def test_a_request_that_got_no_answer_is_not_sent_again(tmp_path: Path) -> None:
    """It may have been paid for."""
    async with raw_upstream() as upstream:
        with gateway_process(upstream.base_url, tmp_path) as gateway, nginx(tmp_path, gateway.port) as port:
            async with raw_client(port) as client:
                await client.write(STREAM)
                wire, _ = await upstream.request()
                wire.reset()
                assert b" 502 " in await client.read_until(b"\r\n\r\n")
                assert upstream.connections == 1


def test_nginx_takes_the_settings_of_compose(tmp_path: Path) -> None:
    site = COMPOSE.read_text()
    for name in ("gateway-1", "gateway-2"):
        # Looking names up again is something that an nginx before 1.27.3 cannot do: this one may be older.
        assert f"server {name}:8080 resolve;" in site
        site = site.replace(f"{name}:8080 resolve", "127.0.0.1:8080")
    site = site.replace("/etc/nginx/imagegate.conf", str(SNIPPET))
    assert "listen 80;" in site
    assert complaints(tmp_path, site.replace("listen 80;", f"listen 127.0.0.1:{free_port()};")) == ""
