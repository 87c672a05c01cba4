"""Input tokens: texts and images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox import tariff
from gateway.sandbox.tokens import prompt_tokens, source_tokens, text_tokens


@given(st.text())
def test_a_text_never_has_more_tokens_than_bytes(text: str) -> None:
    assert text_tokens(text) <= len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("size", "tokens"),
    [((1024, 1024), 1024), ((1536, 1024), 1536), ((341, 512), 704), ((1179, 2556), 1482)],
)
def test_newer_models_count_patches_as_measured(size: tuple[int, int], tokens: int) -> None:
    model = tariff.find("gpt-image-2")

    assert model is not None
    assert source_tokens(model, size, high_fidelity=False) == tokens


@pytest.mark.parametrize(
    ("size", "high", "tokens"),
    [
        ((1024, 1024), False, 65 + 129),
        ((1024, 2048), False, 65 + 2 * 129),
        ((1024, 1024), True, 65 + 129 + 4160),
        ((1536, 1024), True, 65 + 2 * 129 + 6240),
    ],
)
def test_older_models_count_tiles_and_fidelity(size: tuple[int, int], high: bool, tokens: int) -> None:
    model = tariff.find("gpt-image-1.5")

    assert model is not None
    assert source_tokens(model, size, high_fidelity=high) == tokens


@given(st.integers(1, 8000), st.integers(1, 8000), st.booleans())
def test_no_image_exceeds_what_the_catalogue_calls_its_most(width: int, height: int, high: bool) -> None:
    for name in ("gpt-image-1.5", "gpt-image-2", "gpt-image-2.6-flare"):
        model = tariff.find(name)
        assert model is not None
        most = model.row["input_image_max_tokens"]
        assert isinstance(most, int)
        assert 1 <= source_tokens(model, (width, height), high_fidelity=high) <= most


def test_a_prompt_is_read_once_for_each_picture_and_edits_add_more() -> None:
    assert prompt_tokens("a red fox", 1, "generate") == 9
    assert prompt_tokens("a red fox", 3, "generate") == 15
    assert prompt_tokens("a red fox", 1, "edit") == 18
