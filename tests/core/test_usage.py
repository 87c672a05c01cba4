import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.usage import (
    MOST_TOKENS,
    ImageUsage,
    SvgUsage,
    TextUsage,
    ToolCalls,
    count,
    image_usage,
    name,
    sum_of,
    svg_usage,
    text_usage,
    tool_calls,
)


def test_an_images_report_is_read_with_what_it_has() -> None:
    report = {
        "input_tokens": 208,
        "input_tokens_details": {"text_tokens": 14, "image_tokens": 194},
        "output_tokens": 472,
        "total_tokens": 680,
    }
    assert image_usage(report) == ImageUsage(
        input_tokens=208, input_text=14, input_image=194, output_tokens=472
    )


def test_the_image_tool_reports_what_was_cached() -> None:
    report = {
        "output_tokens": 196,
        "output_tokens_details": {"image_tokens": 190, "text_tokens": 6},
        "cached_tokens": 30,
        "cached_tokens_details": {"cached_image_tokens": 20, "cached_text_tokens": 10},
    }
    assert image_usage(report) == ImageUsage(
        output_tokens=196, output_image=190, output_text=6, cached_tokens=30, cached_text=10, cached_image=20
    )


def test_a_mainline_report_is_read() -> None:
    report = {
        "input_tokens": 2941,
        "input_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 7},
        "output_tokens": 1249,
        "output_tokens_details": {"reasoning_tokens": 1024},
    }
    assert text_usage(report) == TextUsage(
        input_tokens=2941, cached_tokens=1920, cache_write_tokens=7, output_tokens=1249
    )


def test_an_authors_report_is_read() -> None:
    report = {"model": "gpt-5", "input_tokens": 3, "output_tokens": 4, "reasoning_tokens": 1}
    assert svg_usage(report) == SvgUsage(model="gpt-5", input_tokens=3, output_tokens=4)
    assert svg_usage({"model": "gpt-5"}) is None


def test_hosted_tools_that_were_called_are_found() -> None:
    report = {"image_gen": {"output_tokens": 1}, "web_search": {"num_requests": 2}, "x": {"num_requests": 0}}
    assert list(tool_calls(report)) == [ToolCalls("web_search", 2)]


def test_nothing_is_not_zero() -> None:
    assert image_usage({}) is None
    assert image_usage({"output_tokens": None}) is None
    zero = image_usage({"input_tokens": 0, "output_tokens": 0})
    assert zero == ImageUsage(input_tokens=0, output_tokens=0)
    assert zero is not None
    assert zero.is_zero
    assert not ImageUsage(output_text=1).is_zero


@pytest.mark.parametrize("value", [None, True, -1, 1.0, "5", [], {}, MOST_TOKENS + 1])
def test_what_is_no_count_is_absent(value: object) -> None:
    assert count(value) is None


@pytest.mark.parametrize("value", [None, "", 5, "x" * 129])
def test_what_is_no_name_is_absent(value: object) -> None:
    assert name(value) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "input_tokens",
                    "output_tokens",
                    "input_tokens_details",
                    "output_tokens_details",
                    "cached_tokens_details",
                    "text_tokens",
                    "num_requests",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_no_shape_is_too_strange(value: object) -> None:
    image_usage(value)
    text_usage(value)
    svg_usage(value)
    list(tool_calls(value))


def test_reports_add_up_field_by_field_and_what_none_has_stays_absent() -> None:
    one = ImageUsage(input_tokens=14, input_text=14, output_tokens=272)
    other = ImageUsage(input_tokens=14, output_tokens=0, output_text=3)
    assert sum_of([one, other]) == ImageUsage(
        input_tokens=28, input_text=14, output_tokens=272, output_text=3
    )
    assert sum_of([one]) == one
    assert (one.has_output, ImageUsage(input_tokens=1).has_output) == (True, False)
