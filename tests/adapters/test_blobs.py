"""Bodies as files, where no index gives a lock; the rest is proven through the adapters that have them."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.adapters.blobs import YOUNG_S, Blobs

NOW = 1_800_000_000.0


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path)


def laid(blobs: Blobs, body: bytes, now: float = NOW) -> str:
    handle, path = blobs.begin()
    handle.write(body, 0)
    handle.close()
    digest = hashlib.sha256(body).hexdigest()
    blobs.lay(path, digest, now)
    return digest


def test_a_body_that_was_laid_is_spared_while_it_is_young(blobs: Blobs) -> None:
    digest = laid(blobs, b"body")
    for now in (NOW, NOW + YOUNG_S - 1):
        assert blobs.old(now) == []
        blobs.remove_old(digest, now)
        assert blobs.has(digest)
    assert blobs.old(NOW + YOUNG_S) == [digest]
    blobs.remove_old(digest, NOW + YOUNG_S)
    assert not blobs.has(digest)
    blobs.remove_old(digest, NOW + YOUNG_S)


def test_one_that_is_laid_again_is_young_again(blobs: Blobs) -> None:
    laid(blobs, b"body", NOW)
    digest = laid(blobs, b"body", NOW + YOUNG_S)
    blobs.remove_old(digest, NOW + YOUNG_S)
    assert blobs.has(digest)


def test_one_of_the_future_is_not_young_for_ever(blobs: Blobs) -> None:
    digest = laid(blobs, b"body", NOW + YOUNG_S)
    assert blobs.old(NOW) == [digest], "the clock was set back"


def test_a_digest_that_leads_elsewhere_is_refused(blobs: Blobs) -> None:
    with pytest.raises(OSError, match="no digest"):
        blobs.has("../../etc/passwd")


def test_a_folder_has_one_mark_whoever_asks_first(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        marks = list(threads.map(lambda _: Blobs(tmp_path).mark(), range(32)))
    assert len(set(marks)) == 1
    assert len(marks[0]) == 16
    assert Blobs(tmp_path / "other").mark() != marks[0]


def test_a_mark_that_is_lost_or_damaged_is_chosen_anew_by_whoever_knew_it(
    blobs: Blobs, tmp_path: Path
) -> None:
    mark, file = blobs.mark(), tmp_path / "blobs" / "mark"
    file.unlink()
    assert blobs.mark(mark) == mark
    file.write_bytes(b"\xff\n")
    assert blobs.mark(mark) == mark
    file.write_text("")
    assert blobs.mark() != mark
    assert blobs.mark(mark) != mark
