import os
import tempfile
from pathlib import Path

import pytest

from gateway.adapters.spool import BLOCK_BYTES, MEMORY_BYTES, FileSpool


async def test_a_small_body_touches_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    spool = FileSpool()
    await spool.write(b"x" * (MEMORY_BYTES - 1))
    assert [len(piece) async for piece in spool.pieces()] == [MEMORY_BYTES - 1]


async def test_a_large_body_is_not_held(tmp_path: Path) -> None:
    spool = FileSpool(tmp_path)
    for _ in range(200):
        await spool.write(b"x" * 65_536)
        assert spool._held_bytes < BLOCK_BYTES
    assert [len(piece) async for piece in spool.pieces()] == [BLOCK_BYTES] * 12 + [
        200 * 65_536 - 12 * BLOCK_BYTES
    ]
    assert os.listdir(tmp_path) == [], "the file has no name"  # noqa: PTH208 - pathlib's would block, says the linter
    spool.close()
