from datetime import UTC, datetime

import pytest

from gateway.core.estimate import Estimate, estimate
from gateway.core.retirement import DAY_S, Retirement
from gateway.flow.notices import MOST_NAMES, Notices, sentence
from tests.support.replies import CATALOG, RULES, call_of

NOON_S = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
MODEL = "gpt-image-1.5"
ENDING = f"OpenAI retires '{MODEL}' on 2026-12-01; use 'gpt-image-2.6-sunburst' instead."


def notices() -> Notices:
    return Notices(CATALOG)


def ask(notices: Notices, model: str, now: float = NOON_S) -> None:
    notices.of(call_of("images/generations", model=model, prompt="x"), now)


def test_a_model_is_named_once_a_day(caplog: pytest.LogCaptureFixture) -> None:
    said = notices()
    for hours in (0, 1, 11.9):
        ask(said, MODEL, NOON_S + hours * 3600)
    assert caplog.messages == [ENDING]

    ask(said, MODEL, NOON_S + DAY_S / 2)

    assert caplog.messages == [ENDING, ENDING]
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_each_model_of_a_call_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    tools = [{"type": "image_generation", "model": "gpt-image-1"}] * 2
    notices().of(call_of("responses", model="gpt-5", tools=tools), NOON_S)

    assert caplog.messages == [
        "OpenAI retires 'gpt-5' on 2026-12-11; move to another model.",
        "OpenAI retired 'gpt-image-1' on 2026-10-23; use 'gpt-image-2.6-sunburst' instead.",
    ]


def test_other_models_known_or_not_are_neither_named_nor_remembered(caplog: pytest.LogCaptureFixture) -> None:
    said = notices()
    for model in ("gpt-image-2", "gpt-image-9", *(f"gpt-image-1.5-{number}" for number in range(100))):
        ask(said, model)

    assert caplog.messages == []
    assert said._said_on == {}


def ask_price(notices: Notices, model: str, now: float = NOON_S) -> None:
    call = call_of("images/generations", model=model, prompt="x")
    found = estimate(call, CATALOG, RULES, at_s=now)
    assert isinstance(found, Estimate)
    notices.of_prices(call, found, now)


def test_a_model_with_the_price_of_another_one_is_named_once_a_day(caplog: pytest.LogCaptureFixture) -> None:
    said = notices()
    for hours in (0, 1, 11.9, 12):
        ask_price(said, "gpt-image-9", NOON_S + hours * 3600)
        ask_price(said, "gpt-image-2", NOON_S + hours * 3600)

    stand_in = next(one.priced_as for one in CATALOG.families if one.match == "gpt-image-*")
    said_twice = (
        f"The catalogue has no price for 'gpt-image-9': it is charged as '{stand_in}'. If that is wrong, put its "
        "prices into a catalogue file of your own (catalog.path, docs/catalogue.md)."
    )
    assert caplog.messages == [said_twice] * 2
    assert {record.levelname for record in caplog.records} == {"WARNING"}


def test_names_that_clients_make_up_are_named_up_to_a_number(caplog: pytest.LogCaptureFixture) -> None:
    said = notices()
    for number in range(MOST_NAMES + 50):
        ask_price(said, f"gpt-image-{1000 + number}")

    assert len(caplog.messages) == len(said._stood_in) == MOST_NAMES


def test_what_is_over_is_told_as_such() -> None:
    assert sentence(Retirement("old", 0, is_over=True, instead="new")) == (
        "OpenAI retired 'old' on 1970-01-01; use 'new' instead."
    )
