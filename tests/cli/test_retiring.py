"""Models that the operator relies on and that go."""

from datetime import UTC, datetime
from pathlib import Path

from gateway import catalog
from gateway.cli.retiring import notes
from tests.support.config import PAID, load_text

MODELS = catalog.load()
NOW = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
DEFAULTS = (
    "images.edits without a model: OpenAI retires 'gpt-image-1.5' on 2026-12-01; use 'gpt-image-2.6-sunburst' instead.",
    "images.variations without a model: OpenAI retired 'dall-e-2' on 2026-05-12; use 'gpt-image-2.6-sunburst' instead.",
)


def notes_on(folder: Path, text: str = "", now: float = NOW) -> tuple[str, ...]:
    return notes(load_text(folder, PAID + text), MODELS, now)


def test_every_level_that_names_such_a_model_is_told(tmp_path: Path) -> None:
    found = notes_on(
        tmp_path,
        """
        [org]
        allow = { models = ["gpt-image-1", "gpt-image-2", "gpt-5", "gpt-image-1"] }
        [[team]]
        id = "a"
        allow = { models = ["chatgpt-image-latest"] }
        [[key]]
        id = "k"
        team = "a"
        secret = "sk-k"
        allow = { models = ["gpt-image-1.5-2025-12-16"] }
        """,
    )

    assert [note.partition(" on ")[0] for note in found[:-2]] == [
        "org.allow.models: OpenAI retired 'gpt-image-1'",
        "org.allow.models: OpenAI retires 'gpt-5'",
        "team[a].allow.models: OpenAI retires 'chatgpt-image-latest'",
        "key[k].allow.models: OpenAI retires 'gpt-image-1.5-2025-12-16'",
    ]
    assert found[-2:] == DEFAULTS


def test_globs_and_unknown_models_are_left_alone(tmp_path: Path) -> None:
    assert notes_on(tmp_path, '[org]\nallow = { models = ["gpt-image-1*", "gpt-image-3"] }\n') == DEFAULTS


def test_nothing_is_said_while_the_day_is_far(tmp_path: Path) -> None:
    assert notes_on(tmp_path, now=0) == ()


def test_a_default_of_the_image_tool_that_goes_is_told(tmp_path: Path) -> None:
    overlay = tmp_path / "models.toml"
    overlay.write_text('[defaults]\nimage_tool = "gpt-image-1-mini"\n')

    found = notes(load_text(tmp_path, PAID), catalog.load(overlay), NOW)

    assert found[-1] == (
        "the image tool without a model: OpenAI retires 'gpt-image-1-mini' on 2026-12-01; move to another model."
    )
