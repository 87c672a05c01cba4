"""What the sandbox's mainline model says."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.tokens import text_tokens
from gateway.sandbox.words import caption, pieces, revised


@given(st.text())
def test_a_text_is_said_in_as_many_pieces_as_it_has_tokens(text: str) -> None:
    said = list(pieces(text))

    assert len(said) == text_tokens(text)
    assert "".join(said) == text.rstrip()


def test_a_caption_says_what_was_done() -> None:
    assert caption("a fox", "generate", blocked=False) == "Here is your picture: a fox."
    assert caption("a fox", "edit", blocked=False).startswith("I have changed the picture")
    assert "safety system" in caption("a fox", "edit", blocked=True)
    assert caption("a fox", None, blocked=True).endswith("You said: a fox.")
    assert revised(" a fox ").startswith("a fox, ")
