"""Partial images of a response in the background whose end alone was seen: never charged below what was delivered."""

import json
from typing import Any

import pytest

from gateway.core.record import TokensFrom
from gateway.core.settle import Settlement, settle
from tests.support.replies import (
    AT_S,
    CATALOG,
    RULES,
    drawing,
    item,
    observed,
    reserved,
    response,
    tokens,
    usage,
)

CALL = drawing(2, background=True)


def seen_at_its_end(shown: dict[str, Any], *, stream: bool = True) -> Settlement:
    call = CALL if stream else drawing(2, stream=False, background=True)
    seen = observed(json.dumps(shown).encode())
    return settle(seen, call, reserved(call), CATALOG, RULES, at_s=AT_S, watched=False)


@pytest.mark.parametrize("pictures", [1, 2])
def test_a_report_without_any_surcharge_is_taken_to_have_left_it_out(pictures: int) -> None:
    shown = response([item(number) for number in range(pictures)], drawn=usage(272 * pictures))
    found = seen_at_its_end(shown)
    assert tokens(found) == (472 * pictures, 0, TokensFrom.ESTIMATED)
    assert (found.surcharge_added, found.partial_images_delivered) == (True, 0)


def test_where_none_could_be_delivered_it_is_taken_as_it_is() -> None:
    found = seen_at_its_end(response([item(1)], drawn=usage(272)), stream=False)
    assert tokens(found) == (272, 0, TokensFrom.REPORTED)


@pytest.mark.parametrize("partials", [1, 2])
def test_a_report_with_a_surcharge_says_all_there_is(partials: int) -> None:
    found = seen_at_its_end(response([item(1)], drawn=usage(272 + 100 * partials)))
    assert tokens(found) == (272 + 100 * partials, 100 * partials, TokensFrom.REPORTED)
