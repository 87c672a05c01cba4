"""
Whether what came back is what had to come back, in sentences.

Not here: what only one call can judge (that an edit kept what its mask covers); such a call brings its own sentences.
"""

from collections.abc import Sequence

from gateway.cli.guide.album import opened, see_through
from gateway.cli.guide.step import Answer, Want
from gateway.core.catalog import Catalog, ImageModel
from gateway.core.tokens import PARTIAL_IMAGE_TOKENS

ID_HEADER = "x-imagegate-id"


def faults(want: Want, answer: Answer, ids: Sequence[str | None], catalog: Catalog) -> list[str]:
    """
    Everything that is wrong with an answer, one sentence each; nothing if it is right.

    Args:
        want: what had to come back.
        answer: what did.
        ids: of every HTTP answer that the call got, its `x-imagegate-id`.
        catalog: whose token rules count.
    """
    return [
        *_of_the_way(ids),
        *_of_the_numbers(want, answer),
        *_of_the_pictures(want, answer),
        *_of_the_partials(want, answer),
        *_of_the_tokens(want, answer, catalog),
        *answer.faults,
    ]


def wanted_tokens(want: Want, catalog: Catalog) -> int | None:
    """Output image tokens by the catalogue's rule, partial images included; None if no rule says."""
    if want.counted_as is None or want.quality is None:
        return None
    model = catalog.find(want.counted_as)
    each = model.tokens(want.quality, want.size) if isinstance(model, ImageModel) else None
    return None if each is None else want.images * each + want.partials * PARTIAL_IMAGE_TOKENS


def _of_the_way(ids: Sequence[str | None]) -> list[str]:
    if not ids or None in ids:
        return [f"the answer did not come through the gateway: it has no {ID_HEADER} header"]
    return (
        [] if len(set(ids)) == len(ids) else [f"two answers share an {ID_HEADER}: {', '.join(map(str, ids))}"]
    )


def _of_the_numbers(want: Want, answer: Answer) -> list[str]:
    pairs = (
        ("images", want.images, len(answer.pictures)),
        ("different images", want.images, len(set(answer.pictures))),
        ("partial images", want.partials, len(answer.partials)),
    )
    found = [f"{came} {what}, not {wanted}" for what, wanted, came in pairs if came != wanted]
    said = (("size", want.size, answer.size), ("quality", want.quality, answer.quality))
    return found + [
        f"the answer names {what} {came}, not {wanted}"
        for what, wanted, came in said
        if came is not None and came != wanted
    ]


def _of_the_pictures(want: Want, answer: Answer) -> list[str]:
    found = []
    for number, data in enumerate(answer.pictures, start=1):
        found += _of_one(f"image {number}", want, data)
    return found


def _of_one(what: str, want: Want, data: bytes) -> list[str]:
    image = opened(data)
    if image is None:
        return [f"{what} is no picture: {len(data)} bytes that Pillow cannot read"]
    found = []
    if f"{image.width}x{image.height}" != want.size:
        found.append(f"{what} is {image.width}x{image.height}, not {want.size}")
    if image.format != want.file_format:
        found.append(f"{what} is {image.format}, not {want.file_format}")
    if want.transparent and not see_through(image):
        found.append(f"{what} has no transparent background")
    return found


def _of_the_partials(want: Want, answer: Answer) -> list[str]:
    order = [index for index, _ in answer.partials]
    found = [] if order == sorted(set(order)) else [f"partial images came in the order {order}"]
    for index, data in answer.partials:
        found += _of_one(f"partial image {index}", want, data)
    if {data for _, data in answer.partials} & set(answer.pictures):
        found.append("a partial image is the finished one")
    return found


def _of_the_tokens(want: Want, answer: Answer, catalog: Catalog) -> list[str]:
    wanted = wanted_tokens(want, catalog)
    if wanted is None and want.counted_as is not None:
        return [f"the catalogue has no rule for {want.counted_as} at {want.quality} {want.size}"]
    if answer.tokens == wanted:
        return []
    return [f"{answer.tokens} output image tokens, but the catalogue's rule says {wanted}"]
