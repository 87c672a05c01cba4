"""What the `Spool` port promises."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.spool import BLOCK_BYTES, FileSpool
from gateway.ports import Spool

MAKERS: dict[str, Callable[[], Spool]] = {"file": FileSpool}


@pytest.fixture(params=list(MAKERS.values()), ids=list(MAKERS))
def spool(request: pytest.FixtureRequest) -> Spool:
    make: Callable[[], Spool] = request.param
    return make()


async def whole(spool: Spool) -> bytes:
    return b"".join([piece async for piece in spool.pieces()])


async def test_nothing_written_is_nothing(spool: Spool) -> None:
    assert (await whole(spool), spool.size) == (b"", 0)
    spool.close()


@pytest.mark.parametrize("sizes", [[10, 20], [BLOCK_BYTES], [BLOCK_BYTES - 1, 1, 1], [65_536] * 100], ids=str)
async def test_what_was_written_comes_back_as_often_as_asked(spool: Spool, sizes: list[int]) -> None:
    pieces = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    for piece in pieces:
        await spool.write(piece)
    assert spool.size == sum(sizes)
    for _ in range(2):
        assert await whole(spool) == b"".join(pieces)
    spool.close()


async def test_it_is_closed_in_the_middle_and_twice(spool: Spool) -> None:
    await spool.write(b"x" * (3 * BLOCK_BYTES))
    assert await anext(aiter(spool.pieces()))
    spool.close()
    spool.close()


@given(st.lists(st.binary(max_size=50), max_size=20))
async def test_any_pieces_are_kept_in_order(pieces: list[bytes]) -> None:
    for make in MAKERS.values():
        spool = make()
        for piece in pieces:
            await spool.write(piece)
        assert await whole(spool) == b"".join(pieces)
        spool.close()
