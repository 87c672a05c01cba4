import os
from pathlib import Path

import pytest

from gateway.adapters.scratch import Scratch


def test_a_folder_is_private_and_goes_with_what_is_in_it(tmp_path: Path) -> None:
    scratch = Scratch.made([tmp_path])
    assert scratch is not None
    assert scratch.path.parent == tmp_path
    assert scratch.path.stat().st_mode & 0o077 == 0
    (scratch.path / "file").write_text("x")
    scratch.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_next_place_is_taken_where_the_first_cannot_be_had(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scratch = Scratch.made([tmp_path / "nowhere", tmp_path])
    assert scratch is not None
    assert "nowhere" in caplog.text
    scratch.remove()


def test_nowhere_is_none(tmp_path: Path) -> None:
    assert Scratch.made([tmp_path / "nowhere"]) is None


def test_what_a_dead_maker_left_is_removed_and_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    living = Scratch.made([tmp_path])
    dead = Scratch.made([tmp_path])
    assert living is not None
    assert dead is not None
    os.close(dead._fd)  # As the system does when a process ends.
    third = Scratch.made([tmp_path])
    assert third is not None
    assert {path.name for path in tmp_path.iterdir()} == {living.path.name, third.path.name}
    living.remove()
    third.remove()
