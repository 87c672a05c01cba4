import base64
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types import (
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImageGenStreamEvent,
    ImagesResponse,
)

from gateway.cli.guide.images import STEPS, plain, watched
from gateway.cli.guide.step import Answer, Desk, NotPossibleError

SAID = {
    "background": "opaque",
    "created_at": 0,
    "output_format": "png",
    "quality": "low",
    "size": "1024x1024",
}
USAGE = {
    "input_tokens": 7,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 7},
    "output_tokens": 480,
    "total_tokens": 487,
}


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def partial(index: int) -> ImageGenPartialImageEvent:
    return ImageGenPartialImageEvent.model_validate(
        SAID
        | {
            "type": "image_generation.partial_image",
            "b64_json": encoded(b"part"),
            "partial_image_index": index,
        }
    )


def completed() -> ImageGenCompletedEvent:
    return ImageGenCompletedEvent.model_validate(
        SAID | {"type": "image_generation.completed", "b64_json": encoded(b"whole"), "usage": USAGE}
    )


@pytest.fixture
def arrivals() -> list[tuple[int, bytes]]:
    return []


@pytest.fixture
def desk(tmp_path: Path, arrivals: list[tuple[int, bytes]]) -> Desk:
    client = openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="sk-none")
    return Desk(client, "http://127.0.0.1:1", tmp_path, lambda *seen: arrivals.append(seen))


def test_a_stream_is_told_of_as_it_comes(desk: Desk, arrivals: list[tuple[int, bytes]]) -> None:
    counts = []

    def coming() -> Iterator[ImageGenStreamEvent]:
        for event in (partial(0), partial(1), completed()):
            counts.append(len(arrivals))
            yield event

    answer = watched(desk, coming())

    assert counts == [0, 1, 2]
    assert answer == Answer((b"whole",), 480, ((0, b"part"), (1, b"part")), "1024x1024", "low")


def test_a_stream_without_a_finished_picture_has_failed(desk: Desk) -> None:
    with pytest.raises(NotPossibleError, match="ended without a finished picture"):
        watched(desk, [partial(0)])


@pytest.mark.parametrize(
    ("details", "tokens"),
    [
        pytest.param({}, 480, id="all output is image"),
        pytest.param(
            {"output_tokens_details": {"image_tokens": 472, "text_tokens": 8}}, 472, id="image part only"
        ),
    ],
)
def test_a_whole_answers_image_tokens_are_read(details: dict[str, object], tokens: int) -> None:
    made = ImagesResponse.model_validate(
        {
            "created": 0,
            "data": [{"b64_json": encoded(b"whole")}],
            "size": "1024x1024",
            "quality": "low",
            "usage": USAGE | details,
        }
    )

    assert plain(made) == Answer((b"whole",), tokens, (), "1024x1024", "low")


def test_an_answer_without_usage_reports_nothing() -> None:
    assert plain(ImagesResponse.model_validate({"created": 0})) == Answer((), None)


def test_edits_say_which_pictures_they_miss(desk: Desk) -> None:
    edit = next(step for step in STEPS if step.name == "edit, four references")
    desk.finished.append(Path("one.png"))

    with pytest.raises(NotPossibleError, match="it needs 4 pictures; earlier calls left 1"):
        edit.run(desk)


def test_no_two_calls_share_their_files() -> None:
    assert len({(step.name, step.model) for step in STEPS}) == len(STEPS)
