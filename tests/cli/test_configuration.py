"""Settings and catalogue that have to fit together."""

from pathlib import Path

import pytest

from gateway.cli.configuration import read
from gateway.settings import ConfigError, Fault
from tests.support.config import PAID, write


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def faults_of(path: Path) -> tuple[Fault, ...]:
    with pytest.raises(ConfigError) as caught:
        read(path)
    return caught.value.faults


def unpriced(folder: Path, rule: str) -> Path:
    return write(folder, f'{PAID}[catalog]\nunpriced = "{rule}"\n')


def test_a_good_configuration_comes_with_its_catalogue(tmp_path: Path) -> None:
    found = read(unpriced(tmp_path, "as:gpt-image-2"), {"server.port": 9000})

    assert found.settings.server.port == 9000
    assert found.catalog.find("gpt-image-2") is not None


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("gpt-immage-2", 'Did you mean "as:gpt-image-2"?'),
        ("☃", "is no rule for unpriced models"),
        ("#", 'Name a model of the catalogue, or write "family" or "refuse".'),
    ],
)
def test_a_stand_in_for_unpriced_models_is_a_model_of_the_catalogue(
    tmp_path: Path, name: str, fix: str
) -> None:
    [fault] = faults_of(unpriced(tmp_path, f"as:{name}"))

    assert (fault.file, fault.key) == (str(tmp_path / "imagegate.toml"), "catalog.unpriced")
    assert fix in f"{fault.problem} {fault.fix}"


def test_a_stand_in_may_come_from_the_operators_own_catalogue(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text('[[model]]\nnames = ["mine"]\nlike = "gpt-image-2"\n')
    path = write(tmp_path, f'{PAID}[catalog]\npath = "models.toml"\nunpriced = "as:mine"\n')

    assert read(path).catalog.find("mine") is not None


def test_a_stand_in_named_by_a_variable_is_looked_for_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEGATE_CATALOG__UNPRICED", "as:gpt-immage-2")

    [fault] = faults_of(write(tmp_path, PAID))

    assert fault.file == "environment variable IMAGEGATE_CATALOG__UNPRICED"


def test_faults_of_settings_and_of_the_catalogue_come_together(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("[toolz]\n[tirs]\n")
    path = write(tmp_path, f'{PAID}[server]\nprot = 1\n[catalog]\npath = "models.toml"\n')

    assert [fault.file.rpartition("/")[2] for fault in faults_of(path)] == [
        "imagegate.toml",
        "models.toml",
        "models.toml",
    ]
