from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gateway.cli.estimate import estimate
from tests.support.config import PAID, write

LOW = ("--model", "gpt-image-2", "--size", "1024x1024", "--quality", "low")
OVERLAY = """
[[model]]
names = ["pictures-prod"]
like = "gpt-image-2"
[[model.price]]
input_text = 1
output_image = 100
"""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(estimate, arguments)


def as_json(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = orjson.loads(result.stdout)
    return found


def lines(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


def config(folder: Path, catalog: str = 'path = "models.toml"') -> Path:
    (folder / "models.toml").write_text(OVERLAY, encoding="utf-8")
    return write(folder, f"{PAID}[catalog]\n{catalog}\n")


def test_the_table_has_every_part_and_what_is_reserved() -> None:
    said = lines(run(*LOW, "-n", "2", "--partial-images", "2", "--prompt", "a fox"))

    assert said == [
        "images.generations: gpt-image-2, 1024x1024, low, n = 2, 2 partial images each",
        "tokens cost $",
        said[2],
        "output: pictures, by the token rule 392 0.01176",
        "output: partial images, 100 each 400 0.012",
        "input: text, at most 138 0.00069",
        "reserved, the most that it can cost 930 0.02445",
        "Known before the call: 792 output image tokens for $0.02376, if all partial images come.",
    ]


def test_the_same_for_machines() -> None:
    assert as_json(*LOW, "-n", "2", "--partial-images", "2", "--prompt", "a fox") == {
        "object": "estimate",
        "route": "images.generations",
        "model": "gpt-image-2",
        "priced_as": None,
        "size": "1024x1024",
        "quality": "low",
        "n": 2,
        "partial_images": 2,
        "input_images": [],
        "output_image_tokens": 792,
        "partial_image_tokens": 400,
        "output_cost_usd": "0.02376",
        "reserved": {
            "output_image_tokens": 792,
            "input_text_tokens": 138,
            "input_image_tokens": 0,
            "tokens": 930,
            "cost_usd": "0.02445",
        },
        "notes": [],
    }


def test_auto_is_a_bound_and_said_to_be_one() -> None:
    said = lines(run("--model", "gpt-image-2"))
    found = as_json("--model", "gpt-image-2")

    assert "output: pictures, at most 23 719 0.71157" in said
    assert "Known before the call: nothing; what it puts out is open." in said
    assert any(line.startswith("Note: What is auto (size, quality)") for line in said)
    assert (found["output_image_tokens"], found["output_cost_usd"]) == (None, None)
    assert found["reserved"]["output_image_tokens"] == 23_719


def test_a_family_that_stands_in_is_said_in_words() -> None:
    found = as_json("--model", "gpt-image-9", "--size", "1024x1024", "--quality", "low")
    said = " ".join(lines(run("--model", "gpt-image-9")))

    assert found["priced_as"] == "gpt-image-1"
    assert "The catalogue does not know gpt-image-9: the prices and token rule of what stands in" in said


def test_a_model_that_is_paid_by_the_picture_has_its_price() -> None:
    said = lines(run("--model", "dall-e-3", "--size", "1024x1024", "--quality", "hd", "-n", "2"))

    assert "output: pictures, by the price list per image 0.16" in said
    assert "reserved, the most that it can cost 0.16" in said
    assert "Known before the call: the pictures for $0.16." in said


def test_files_to_edit_are_looked_at_and_counted(tmp_path: Path) -> None:
    picture, other = tmp_path / "fox.png", tmp_path / "no\x1bte.txt"
    Image.new("RGB", (320, 200)).save(picture)
    other.write_text("not a picture")
    arguments = (*LOW, "--prompt", "x", "--edit", str(picture), "--edit", str(other))

    said, found = lines(run(*arguments)), as_json(*arguments)

    assert said[0].startswith("images.edits: gpt-image-2")
    assert said[1] == f"fox.png: 320x200, {picture.stat().st_size} bytes"
    assert said[2] == "no\N{REPLACEMENT CHARACTER}te.txt: no picture that we know, 13 bytes"
    assert "input: pictures, at most 3 072 0.024576" in said
    assert found["reserved"]["input_image_tokens"] == 3072
    assert [each["size"] for each in found["input_images"]] == ["320x200", None]


def test_a_picture_too_large_to_decode_is_no_danger(tmp_path: Path) -> None:
    """The head says 65 535 by 65 535 pixels; Pillow would refuse to decode it."""
    path = tmp_path / "bomb.bmp"
    Image.new("RGB", (1, 1)).save(path)
    head = bytearray(path.read_bytes())
    head[18:26] = (65_535).to_bytes(4, "little") * 2
    path.write_bytes(head)

    assert as_json(*LOW, "--edit", str(path))["reserved"]["input_image_tokens"] == 1536


def test_a_model_that_goes_is_told() -> None:
    (note,) = as_json("--model", "dall-e-3", "--size", "1024x1024", "--quality", "hd", "--prompt", "x")[
        "notes"
    ]

    assert note == "OpenAI retired 'dall-e-3' on 2026-05-12; use 'gpt-image-2.6-sunburst' instead."


def test_the_operators_catalogue_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ("--model", "pictures-prod", "--size", "1024x1024", "--quality", "low")
    file = str(config(tmp_path))

    assert as_json(*mine, "--config", file)["output_cost_usd"] == "0.0196"
    assert run(*mine).exit_code == 1
    monkeypatch.setenv("IMAGEGATE_CONFIG", file)
    assert as_json(*mine)["output_cost_usd"] == "0.0196"


def test_a_model_outside_every_family_is_refused_with_what_to_do(tmp_path: Path) -> None:
    result = run("--model", "stable", "--size", "1024x1024", "--quality", "low")
    known = run("--model", "gpt-image-9", "--config", str(config(tmp_path, 'unpriced = "refuse"')))

    for refused, word in ((result, "'stable' as an image model"), (known, 'catalog.unpriced = "refuse"')):
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert word in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "1024x1024"), "Missing option '--model'"),
        (("--model", ""), "Invalid value for --model: it is empty."),
        ((*LOW, "--size", "large"), "'large' is no size. Write 1024x1536, or auto."),
        ((*LOW, "--quality", ""), "Invalid value for --quality: it is empty."),
        ((*LOW, "-n", "0"), "Invalid value for '-n'"),
        ((*LOW, "--partial-images", "-1"), "Invalid value for '--partial-images'"),
        ((*LOW, "--edit", "/nowhere.png"), "File '/nowhere.png' does not exist"),
        ((*LOW, "--config", "/nowhere.toml"), "does not exist"),
        ((*LOW, "--format", "xml"), "is not one of"),
    ],
)
def test_misuse_is_told_with_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_help_has_an_example() -> None:
    assert "imagegate estimate --model gpt-image-2 --size 1024x1024" in run("--help").stdout
