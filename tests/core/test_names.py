from hypothesis import given
from hypothesis import strategies as st

from gateway.core.names import CLIPPED, plain


def test_a_name_made_of_the_signs_of_names_stays() -> None:
    assert plain("gpt-image-2.5:ft/org+a_b") == "gpt-image-2.5:ft/org+a_b"
    assert plain(None) is None


def test_what_could_break_a_line_is_replaced() -> None:
    assert plain('a\n{"level": "error"}\x1b[2J') == "a???level?:??error????2J"


def test_what_looks_like_a_key_is_not_repeated() -> None:
    assert plain("model-sk-abc") == "…"


@given(st.text())
def test_a_name_is_short_and_plain(text: str) -> None:
    found = plain(text)
    assert len(found) <= CLIPPED
    assert found == "…" or (found.isascii() and found.isprintable() and " " not in found)
    assert plain(found) == found
