"""
Input images, however they come: as a part of a form, a data URL, a file id, or a URL of our own.

The sandbox never fetches anything. A URL must be one of this server's own `/_sandbox/images/`; any other gets the
error that OpenAI gives for an image it could not download.
"""

import asyncio
import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from gateway.sandbox import errors, studio
from gateway.sandbox.call import Call
from gateway.sandbox.draw import Motif
from gateway.sandbox.studio import Film
from gateway.sandbox.world import World

GALLERY: Final = "/_sandbox/images/"
MAX_IMAGE_BYTES: Final = 50 << 20
_DATA_URL: Final = re.compile(r"data:image/[a-zA-Z0-9.+-]+;base64,")
_NAME: Final = re.compile(
    r"(?P<words>[A-Za-z0-9._~-]{1,120}?)(-(?P<width>\d{2,4})x(?P<height>\d{2,4}))?\.(?P<kind>png|jpe?g|webp|gif)"
)
_EDGES: Final = range(16, 4097)


@dataclass(frozen=True, slots=True)
class Source:
    """An input image and its size in pixels."""

    data: bytes
    size: tuple[int, int]
    alpha: bool


async def source(data: bytes, number: int, param: str = "image") -> Source:
    """
    These bytes as an input image.

    Raises:
        ApiError: 400 if they are none, or too many.
    """
    if len(data) >= MAX_IMAGE_BYTES:
        raise errors.ApiError(
            400, f"Image {number} is {len(data)} bytes; images must be smaller than 50 MB.", param=param
        )
    # Decoding a large image takes its time, and streams must go on meanwhile.
    found = await asyncio.to_thread(studio.measured, data)
    if found is None:
        raise errors.ApiError(
            400,
            f"Invalid image file or mode for image {number}, please check your image file.",
            param=param,
            code="invalid_image_file",
        )
    return Source(data, found[:2], found[2])


async def mask(data: bytes, first: Source) -> Source:
    """
    These bytes as the mask of the first image.

    Raises:
        ApiError: 400 if it is no image, has another size, or no alpha channel.
    """
    found = await source(data, 1, "mask")
    if found.size != first.size:
        raise errors.ApiError(
            400, "Invalid mask image format - mask size does not match image size", param="mask"
        )
    if not found.alpha:
        raise errors.ApiError(
            400, "Invalid mask image format - mask image missing alpha channel", param="mask"
        )
    return found


async def referenced(world: World, call: Call, reference: object, param: str) -> bytes:
    """
    The image behind `{"image_url": …}` or `{"file_id": …}`.

    Raises:
        ApiError: 400 where it is neither, or cannot be had.
    """
    if not isinstance(reference, dict):
        raise errors.wrong_type(param, "an object", reference)
    url, file_id = reference.get("image_url"), reference.get("file_id")
    if isinstance(url, str) and file_id is None:
        return await by_url(world, call, url, param)
    if isinstance(file_id, str) and url is None:
        stored = world.files.get(file_id)
        if stored is None:
            raise errors.ApiError(
                400, f"File '{file_id}' was not found.", param=param, code="image_file_not_found"
            )
        return stored.data
    raise errors.ApiError(
        400, f"'{param}' needs exactly one of 'image_url' and 'file_id'.", param=param, code="invalid_value"
    )


async def by_url(world: World, call: Call, url: str, param: str) -> bytes:
    """The image behind a data URL or a URL of our own."""
    head = _DATA_URL.match(url)
    if head is not None:
        try:
            return base64.b64decode(url[head.end() :], validate=True)
        except binascii.Error as error:
            raise errors.ApiError(
                400, "Invalid base64 image.", param=param, code="invalid_base64_image"
            ) from error
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise errors.ApiError(
            400, f"Invalid '{param}': expected a URL or a data URL.", param=param, code="invalid_image_url"
        )
    if parts.netloc not in call.own_hosts() or not parts.path.startswith(GALLERY):
        raise errors.not_downloaded(url)
    found = await gallery(world, unquote(parts.path.removeprefix(GALLERY)))
    if found is None:
        raise errors.not_downloaded(url)
    return found[0]


async def gallery(world: World, name: str) -> tuple[bytes, str] | None:
    """
    A picture of the gallery and its media type.

    What was put there under this name, else one drawn from the name: `red-fox-512x256.webp` is a red fox of that
    size. None for a name that is no picture's.
    """
    spelled = _NAME.fullmatch(name)
    if spelled is None:
        return None
    kind = spelled["kind"].replace("jpg", "jpeg")
    kept = world.gallery.get(name)
    if kept is not None:
        return kept, f"image/{kind}"
    width, height = int(spelled["width"] or 1024), int(spelled["height"] or 1024)
    if width not in _EDGES or height not in _EDGES:
        return None
    motif = Motif(spelled["words"].replace("-", " "), width, height, "low")
    return (await world.studio.picture(motif, Film(kind, 90))).data, f"image/{kind}"
