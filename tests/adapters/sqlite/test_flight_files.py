"""Files that one process writes and others read meanwhile."""

import errno
import os
from pathlib import Path

import pytest

from gateway.adapters.sqlite import flight_files
from gateway.adapters.sqlite.flight_files import FollowFile, LeadFile, remove_left
from gateway.core.flight import Lost, Stored
from gateway.ports import Began


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w-1.flight"


def test_a_frame_that_is_half_written_is_no_news_yet(path: Path) -> None:
    lead, follow = LeadFile(path), FollowFile(path)
    lead.write(b"whole")
    with path.open("ab", buffering=0) as file:
        file.write(b"\x00\x00\x00\x05\x01hal")
        assert follow.read() == (b"whole",)
        assert follow.read() == ()
        file.write(b"ve")
    assert follow.read() == (b"halve",)
    assert follow.size == 10
    lead.remove()


def test_large_pieces_come_in_blocks_and_nothing_is_lost(path: Path) -> None:
    lead, follow = LeadFile(path), FollowFile(path)
    piece = os.urandom(3 * flight_files.BLOCK_BYTES + 7)
    lead.write(piece)
    found = b""
    while news := follow.read():
        found += b"".join(one for one in news if isinstance(one, bytes))
    assert found == piece
    assert lead.size == follow.size == len(piece)
    lead.remove()


def test_a_file_that_was_given_up_says_so_even_at_its_beginning(path: Path) -> None:
    lead = LeadFile(path)
    early, late = FollowFile(path), FollowFile(path)
    lead.write(b"one")
    assert late.read() == (b"one",)
    lead.give_up()
    assert early.read() == late.read() == (Lost(),)
    assert not path.exists()


def test_who_reads_a_file_that_was_removed_reads_on(path: Path) -> None:
    lead, follow = LeadFile(path), FollowFile(path)
    lead.began(200, ((b"a", b"\xff"),))
    path.unlink()
    lead.end(Stored())
    lead.remove()
    assert follow.read() == (Began(200, ((b"a", b"\xff"),)), Stored())


def test_a_closed_file_has_no_news_and_takes_none(path: Path) -> None:
    lead, follow = LeadFile(path), FollowFile(path)
    follow.close()
    follow.close()
    assert follow.read() == (Lost(),)
    lead.remove()
    lead.write(b"too late")
    lead.give_up()


def test_a_file_that_cannot_be_begun_is_not_left_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space left"):
        LeadFile(path)
    assert list(path.parent.iterdir()) == []


def test_a_file_that_is_cleared_away_before_it_is_held_is_not_begun(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def cleared(fd: int, data: bytes) -> int:
        for other in path.parent.iterdir():
            other.unlink()
        return write(fd, data)

    monkeypatch.setattr(os, "write", cleared)
    with pytest.raises(FileNotFoundError):
        LeadFile(path)


def test_only_files_that_nobody_holds_are_removed(tmp_path: Path) -> None:
    held = LeadFile(tmp_path / "w-1.flight")
    for name in ("w-2.flight", "w-3.flight.new"):
        (tmp_path / name).write_bytes(b"left")
    (tmp_path / "other").write_bytes(b"of somebody else")
    remove_left(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "w-1.flight"]
    held.remove()
