"""Cutting bytes as a network does."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    """Places to cut a body of this length."""
    return st.lists(st.integers(0, length), max_size=12).map(sorted)


def split(body: bytes, at: Sequence[int]) -> list[bytes]:
    """The body, cut at these places; empty pieces left out."""
    edges = [0, *at, len(body)]
    return [body[start:end] for start, end in pairwise(edges) if start < end]
