"""What tests ask of a sandbox beside the API: its bill, its visitors, its streams as lists of events."""

import base64
import io
import json
import struct
import zlib
from typing import Any

import httpx2
from PIL import Image


def invoice(http: httpx2.Client) -> dict[str, Any]:
    """The sandbox's bill."""
    found: dict[str, Any] = http.get("/_sandbox/invoice").json()
    return found


def billed(http: httpx2.Client, requests: int) -> dict[str, Any]:
    """The bill, as soon as it has so many requests; asking again is all the waiting there is."""
    for _ in range(20_000):
        found = invoice(http)
        if found["requests"] >= requests:
            return found
    raise TimeoutError(f"the sandbox never billed {requests} requests")


def visitors(http: httpx2.Client) -> list[dict[str, Any]]:
    """What arrived, newest last."""
    found: list[dict[str, Any]] = http.get("/_sandbox/requests").json()["data"]
    return found


def events(body: str) -> list[dict[str, Any]]:
    """The events of a stream; each frame must be an `event` line and a `data` line that agree."""
    found = []
    for frame in body.split("\n\n")[:-1]:
        first, second = frame.split("\n")
        payload: dict[str, Any] = json.loads(second.removeprefix("data: "))
        assert first == f"event: {payload['type']}"
        found.append(payload)
    return found


def opened(b64: str) -> Image.Image:
    """A base64 picture, decoded in full."""
    image = Image.open(io.BytesIO(base64.b64decode(b64, validate=True)))
    image.load()
    return image


def png(size: tuple[int, int] = (64, 64), colour: tuple[int, ...] = (200, 40, 40)) -> bytes:
    """A plain PNG of this colour; four numbers make one with an alpha channel."""
    out = io.BytesIO()
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def padded_png(bytes_more: int) -> bytes:
    """A small PNG made heavy by a comment that every reader skips."""
    plain, text = png(), b"Comment\0" + b"x" * bytes_more
    chunk = struct.pack(">I", len(text)) + b"tEXt" + text + struct.pack(">I", zlib.crc32(b"tEXt" + text))
    return plain[:33] + chunk + plain[33:]


def data_url(data: bytes) -> str:
    """These PNG bytes as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
