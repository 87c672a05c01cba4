from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from gateway.catalog import SHIPPED, build
from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.retirement import DAY_S, NOTICE_DAYS, models_of, retirement_of
from gateway.core.routes import match
from gateway.resources import text
from tests.support.replies import CATALOG, call_of

DECEMBER_S = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
MODEL = "gpt-image-1.5"  # it ends on 2026-12-01


def with_overlay(overlay: str) -> Catalog:
    return build({SHIPPED: text(SHIPPED), "mine.toml": overlay})


@pytest.mark.parametrize("name", [MODEL, f"{MODEL}-2025-12-16"])
def test_a_model_is_worth_a_word_from_sixty_days_before_its_end(name: str) -> None:
    first_s = DECEMBER_S - NOTICE_DAYS * DAY_S

    found = retirement_of(name, CATALOG, at_s=first_s)

    assert retirement_of(name, CATALOG, at_s=first_s - 1) is None
    assert found is not None
    assert (found.name, found.shutdown_s, found.is_over) == (name, DECEMBER_S, False)


def test_it_is_over_from_the_first_moment_of_the_day() -> None:
    def is_over(at_s: float) -> bool:
        found = retirement_of(MODEL, CATALOG, at_s=at_s)
        assert found is not None
        return found.is_over

    assert [is_over(DECEMBER_S - 1), is_over(DECEMBER_S), is_over(DECEMBER_S + 1000 * DAY_S)] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("name", ["gpt-image-2", "gpt-image-9", "gpt-5.4-nano", ""])
def test_a_model_without_an_end_or_with_a_far_one_or_unknown_is_left_alone(name: str) -> None:
    assert retirement_of(name, CATALOG, at_s=DECEMBER_S) is None


def test_for_a_model_that_draws_the_tools_default_is_named() -> None:
    for name in (MODEL, "dall-e-3"):
        found = retirement_of(name, CATALOG, at_s=DECEMBER_S)
        assert found is not None
        assert found.instead == CATALOG.default_tool_model == "gpt-image-2.6-sunburst"


def test_for_a_mainline_model_nothing_is_named() -> None:
    found = retirement_of("gpt-5", CATALOG, at_s=DECEMBER_S)

    assert found is not None
    assert found.instead is None


@pytest.mark.parametrize("default", [MODEL, "gpt-image-1"])
def test_a_default_that_goes_itself_is_not_advised(default: str) -> None:
    catalog = with_overlay(f'[defaults]\nimage_tool = "{default}"\n')

    found = retirement_of(MODEL, catalog, at_s=DECEMBER_S)

    assert found is not None
    assert found.instead is None


def test_a_model_that_an_overlay_keeps_alive_never_retires() -> None:
    catalog = with_overlay(f'[[model]]\nnames = ["{MODEL}"]\nlike = "{MODEL}"\n')

    assert retirement_of(MODEL, catalog, at_s=DECEMBER_S) is None
    assert retirement_of(f"{MODEL}-2025-12-16", catalog, at_s=DECEMBER_S) is not None


def calls() -> Iterator[tuple[Call, list[str]]]:
    yield call_of("images/generations", model="gpt-image-2", prompt="x"), ["gpt-image-2"]
    yield call_of("images/edits", prompt="x", images=[]), [MODEL]
    tool = {"type": "image_generation"}
    yield call_of("responses", model="gpt-5", tools=[tool]), ["gpt-5", "gpt-image-2.6-sunburst"]
    svg = {**tool, "model": MODEL, "svg": {"model": "gpt-6-sol"}}
    yield call_of("responses", model="gpt-5", tools=[svg]), ["gpt-5", MODEL, "gpt-6-sol"]
    yield call_of("responses", tools=[]), []
    shown = match("GET", "/v1/responses/resp_1")
    assert shown is not None
    yield Call(shown), []


@pytest.mark.parametrize(("call", "names"), list(calls()))
def test_every_model_that_a_call_makes_work_counts_named_or_not(call: Call, names: list[str]) -> None:
    assert list(models_of(call, CATALOG)) == names
