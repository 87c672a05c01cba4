from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.check_config import check_config, summary
from gateway.cli.configuration import read
from tests.support.config import PAID, write

GOOD = (
    PAID
    + """
[server]
host = "::1"
port = 9000
[tenancy]
unknown_ids = "refuse"
[org]
limits = ["$500 per month"]
[[team]]
id = "a"
limits = ["20 images per minute", "4 concurrent"]
[[key]]
id = "k"
team = "a"
secret = "sk-client"
"""
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def check(*arguments: str) -> Result:
    return CliRunner().invoke(check_config, arguments)


def test_a_good_configuration_is_summed_up(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)

    result = check("--config", str(file))

    assert result.exit_code == 0
    assert result.stderr == ""
    for line in [
        f"OK: {file} is a good configuration.",
        "listens on http://[::1]:9000",
        "operators  http://127.0.0.1:8081",
        "upstream   https://api.openai.com/v1 (one credential)",
        "tenants    1 team, 1 key",
        "limits     1 on the organisation, 2 on teams, 0 on keys",
        "tenancy.unknown_ids  waits for ownership",
    ]:
        assert line in result.stdout
    assert "sk-" not in result.output


def test_every_fault_is_reported_with_what_to_do_and_exit_code_2(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        GOOD.replace("9000", "'x'").replace('team = "a"', 'team = "b"').replace("unknown_ids", "unknwn_ids"),
    )

    result = check("--config", str(file))

    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == (
        "The configuration cannot be used: 3 faults.\n"
        "\n"
        f"{file}\n"
        '  server.port: "x" is not a whole number.\n'
        "      -> Write a whole number without quotes, such as 8080.\n"
        "  tenancy.unknwn_ids: is not a setting.\n"
        '      -> Did you mean "unknown_ids"?\n'
        '  key[k].team: "b" is not a team.\n'
        "      -> Name one of: a; or add a table [[team]] with that id.\n"
    )


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, GOOD)
    monkeypatch.setenv("IMAGEGATE_CONFIG", str(file))

    assert f"OK: {file}" in check().stdout


def test_without_any_configuration_the_smallest_good_one_is_shown() -> None:
    result = check()

    assert result.exit_code == 2
    assert "The smallest good configuration looks like this" in result.stderr


def test_without_a_file_the_environment_can_be_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-up")

    result = check()

    assert result.exit_code == 0
    assert "there is no configuration file" in result.stdout
    assert "`imagegate serve` refuses to start without a [[key]]" in result.stdout


def test_a_missing_file_is_misuse(tmp_path: Path) -> None:
    result = check("--config", str(tmp_path / "nowhere.toml"))

    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert "smallest" not in result.stderr


@pytest.mark.parametrize("other", ["", "[log]\nlevel = 'loud'\n"])
def test_the_catalogue_overlay_is_checked_too_whatever_else_is_wrong(tmp_path: Path, other: str) -> None:
    overlay = tmp_path / "models.toml"
    overlay.write_text("this is not TOML")
    file = write(tmp_path, f'{GOOD}{other}[catalog]\npath = "models.toml"\n')

    result = check("--config", str(file))

    assert result.exit_code == 2
    assert f"\n{overlay}\n" in result.stderr
    assert ("loud" in result.stderr) is bool(other)


def test_values_that_look_misspelt_are_asked_about_and_are_no_fault(tmp_path: Path) -> None:
    text = GOOD.replace("[org]\n", '[org]\nallow = { qualities = ["hihg"], tools = ["image_generaton"] }\n')

    result = check("--config", str(write(tmp_path, text)))

    assert result.exit_code == 0
    assert "Perhaps misspelt; nothing is wrong if it is meant:" in result.stdout
    assert 'org.allow.qualities: "hihg" is none that we know; did you mean "high"?' in result.stdout
    assert 'did you mean "image_generation"?' in result.stdout


def test_models_that_are_gone_or_go_soon_are_warned_of_and_are_no_fault(tmp_path: Path) -> None:
    """The model of 1970 is gone whatever the day of the test."""
    (tmp_path / "models.toml").write_text(
        '[[model]]\nnames = ["old-painter"]\nlike = "gpt-image-1"\nshutdown = 1970-01-02\n'
    )
    text = f'{GOOD}[catalog]\npath = "models.toml"\n'.replace(
        "[org]\n", '[org]\nallow = { models = ["old-painter"] }\n'
    )

    result = check("--config", str(write(tmp_path, text)))

    assert result.exit_code == 0
    assert result.stderr == ""
    assert "Warning, models that are gone or go within 60 days:\n" in result.stdout
    assert "  org.allow.models: OpenAI retired 'old-painter' on 1970-01-02; use '" in result.stdout


def test_where_no_model_goes_there_is_no_warning(tmp_path: Path) -> None:
    file = write(tmp_path, GOOD)

    assert "Warning" not in summary(read(file), file, now=0)


def test_a_good_overlay_is_named(tmp_path: Path) -> None:
    overlay = tmp_path / "models.toml"
    overlay.write_text("")

    result = check("--config", str(write(tmp_path, f'{GOOD}[catalog]\npath = "models.toml"\n')))

    assert f"ours, with {overlay} over it" in result.stdout
