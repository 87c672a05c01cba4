import pytest

from gateway import resources


def test_shipped_files_are_found_whatever_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert "[[model]]" in resources.text("models.toml")
    assert resources.path("imagegate.toml").is_file()


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.toml"):
        resources.path("nothing.toml")
