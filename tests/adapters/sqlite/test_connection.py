from pathlib import Path

import pytest

from gateway.adapters.sqlite.connection import guard
from gateway.ports import UnfitError

MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/export /srv/shared\\040files nfs4 rw 0 0
server:/other /srv/local nfs rw 0 0
/dev/vdb /srv/local xfs rw 0 0
me@host:/home /home/far fuse.sshfs rw 0 0
broken
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mounts"
    file.write_text(MOUNTS)
    return file


@pytest.mark.parametrize("folder", ["/srv/shared files/data", "/srv/shared files", "/home/far/data"])
def test_a_network_filesystem_is_refused_with_what_to_do(mounts: Path, folder: str) -> None:
    with pytest.raises(UnfitError, match=r"lies on a network filesystem .* use redis://"):
        guard(Path(folder), mounts)


@pytest.mark.parametrize("folder", ["/srv/data", "/srv/local/data", "/srv/shared", "/home/farther"])
def test_a_local_disk_is_good_also_where_something_else_was_mounted_before(mounts: Path, folder: str) -> None:
    guard(Path(folder), mounts)


def test_where_mounts_are_not_told_none_is_refused(tmp_path: Path) -> None:
    guard(tmp_path, tmp_path / "none")


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2"])
def test_a_sqlite_that_corrupts_shared_files_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(UnfitError, match=rf"SQLite {version} can corrupt .* Install apsw from its wheel"):
        guard(tmp_path, version=version)


def test_the_sqlite_that_comes_with_us_is_good(tmp_path: Path) -> None:
    guard(tmp_path)
    guard(tmp_path, version="3.51.3")
