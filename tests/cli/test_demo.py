import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gateway.cli.demo import demo
from gateway.cli.guide import again, images, ledger, responses
from gateway.cli.guide.images import generate, plain
from gateway.cli.guide.step import Answer, Desk, NotPossibleError, Step, Want
from gateway.cli.guide.table import WIDTH, Row
from gateway.core.units import NanoUSD


def run(*arguments: str) -> Result:
    return CliRunner().invoke(demo, arguments)


def test_without_the_sdk_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    result = run("--out", str(tmp_path / "new"))

    assert result.exit_code == 1
    assert "pip install 'imagegate[demo]'" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_a_file_is_misuse(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")

    assert run("--out", str(taken)).exit_code == 2
    below = run("--out", str(taken / "below"))
    assert below.exit_code == 1
    assert "cannot be made" in below.stderr


def test_a_negative_speed_is_misuse() -> None:
    assert run("--speed", "-1").exit_code == 2


def test_help_has_an_example() -> None:
    assert "imagegate demo --out pictures" in run("--help").stdout


@pytest.mark.system
def test_a_call_that_fails_marks_its_row_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def impossible(desk: Desk) -> Answer:
        raise NotPossibleError("it cannot be done")

    def another(desk: Desk) -> Answer:
        """Not what is asked for before: that would come from the cache."""
        return plain(
            desk.client.images.generate(
                model="gpt-image-2", prompt="another", size="1024x1024", quality="medium"
            )
        )

    right, wrong = (
        Want("1024x1024", "medium", "gpt-image-2"),
        Want("1024x1024", "medium", "gpt-image-1", images=3),
    )
    made = (
        Step("wrong", "gpt-image-2", generate, wrong),
        Step("impossible", "gpt-image-2", impossible, right),
        Step("right", "gpt-image-2", another, right),
    )
    monkeypatch.setattr(images, "STEPS", made)
    monkeypatch.setattr(responses, "steps", lambda _: ())
    monkeypatch.setattr(again, "STEPS", ())

    result = run("--out", str(tmp_path), "--speed", "0")

    assert result.exit_code == 1
    for line in [
        "✗  01  wrong",
        "✗  02  impossible",
        "✓  03  right",
        "1 of 3 worked",
        "✗ wrong (gpt-image-2): 1 images, not 3",
        "✗ impossible (gpt-image-2): it cannot be done",
        "2 images, 3 512 output image tokens, $0.10",
        ": equal.",
        "2 pictures are in",
        "`imagegate serve` still runs",
    ]:
        assert line in result.stdout


def a_nano_dollar_too_many(rows: list[Row], _: object) -> list[Row]:
    return [replace(row, cost=NanoUSD(52_776_001)) for row in rows]


def no_ledger(rows: list[Row], _: object) -> list[Row]:
    raise httpx2.ConnectError("nobody is there")


@pytest.mark.system
@pytest.mark.parametrize(
    ("priced", "line"),
    [
        (a_nano_dollar_too_many, "✗ Table: 1 images, 1 756 output image tokens, $0.052776001; sandbox's"),
        (no_ledger, "✗ The gateway's ledger cannot be had: nobody is there"),
    ],
)
def test_a_ledger_that_differs_from_the_invoice_or_is_not_there_fails_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, priced: object, line: str
) -> None:
    made = (Step("right", "gpt-image-2", generate, Want("1024x1024", "medium", "gpt-image-2")),)
    monkeypatch.setattr(images, "STEPS", made)
    monkeypatch.setattr(responses, "steps", lambda _: ())
    monkeypatch.setattr(again, "STEPS", ())
    monkeypatch.setattr(ledger, "priced", priced)

    result = run("--out", str(tmp_path), "--speed", "0")

    assert result.exit_code == 1
    assert "1 of 1 worked" in result.stdout
    assert line in result.stdout


@pytest.mark.system
def test_the_whole_guide_works_through_the_official_sdk(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--out", str(tmp_path / "pictures"), "--speed", "0"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    rows = [line.split() for line in ended.stdout.splitlines() if line.startswith(" ✓  ")]
    assert [row[1] for row in rows] == [f"{number:02}" for number in range(1, 22)]
    said = {row[1]: " ".join(row[2:-2]) for row in rows}
    assert said["05"] == "n = 2 gpt-image-2 2 – 316 – 0.00960"
    assert said["09"] == "variation dall-e-2 1 – per image – 0.01800"
    assert said["11"] == "generate, streamed gpt-image-1 1 2 472 – 0.01900"
    assert said["16"] == "Responses, streamed gpt-5 1 2 1 768 – 0.07299"
    assert said["20"] == "generate, asked again gpt-image-2 1 – 1 756 hit 0.00000"
    assert said["21"] == "streamed, asked again gpt-image-1 1 2 472 hit 0.00000"
    assert (
        "✓ Table and sandbox's invoice: 20 images, 17 828 output image tokens, $0.84283675: equal."
        in ended.stdout
    )
    assert max(map(len, ended.stdout.partition("tokens  ")[2].partition("✓ Table")[0].splitlines())) <= WIDTH

    files = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert files[0] == "01-generate-gpt-image-2.png"
    assert {
        "05-n-2-gpt-image-2-2.png",
        "11-generate-streamed-gpt-image-1-partial-1.png",
        "19-responses-input-by-file-id-gpt-5.png",
        "20-generate-asked-again-gpt-image-2.png",
    } <= {*files}
    assert len(files) == 22 + 9 + len(["mask.png"])
    with Image.open(tmp_path / "pictures" / "04-webp-compressed-gpt-image-2.webp") as picture:
        assert (picture.format, picture.size) == ("WEBP", (1024, 1024))
