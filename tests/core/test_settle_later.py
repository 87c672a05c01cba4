import json
from dataclasses import replace

import pytest

from gateway.core.call import Call
from gateway.core.catalog import Catalog
from gateway.core.errors import Refusal
from gateway.core.estimate import estimate
from gateway.core.ledger import OpenCall
from gateway.core.observation import Observation, unanswered
from gateway.core.record import Outcome, Record, TokensFrom
from gateway.core.remembered import dumps, loads
from gateway.core.settle import Settlement, lost
from gateway.core.settle_later import as_recorded, settle_later
from tests.support.ledger import record
from tests.support.replies import (
    AT_S,
    CATALOG,
    RULES,
    drawing,
    item,
    observed,
    reserved,
    response,
    settled,
    usage,
)

CALL = drawing(2, stream=False, background=True, max_output_tokens=500, service_tier="priority")
ENDS = {
    "reported": response([item(1)], drawn=usage(272)),
    "pictures not reported": response([item(1), item(2)]),
    "words not reported": response([item(1)], drawn=usage(272), main=None),
    "nothing reported": response([item(1)], main=None),
    "stopped early": response([item(1)], drawn=usage(272), status="incomplete"),
    "failed": response([item(1, result=None, status="failed")], main=None, status="failed"),
    "failed after a picture": response([item(1)], main=None, status="failed"),
    "cancelled": response(main=None, status="cancelled"),
}


def ended(how: str) -> Observation:
    """What somebody sees who asks for the response."""
    return observed(json.dumps(ENDS[how]).encode())


def opened(call: Call = CALL, asked: Call | None = CALL) -> OpenCall:
    """As the ledger has it; `asked`: what is known of what was asked."""
    record = Record(
        id="igr_1",
        at=AT_S,
        method="POST",
        outcome=Outcome.FAILED,
        route="responses.create",
        model=call.model,
        reserved_nusd=reserved(call).cost_nusd,
        duration_ms=0.0,
    )
    noted = lost(reserved(call), at_s=AT_S).into(record)
    kept = None if asked is None else loads(dumps(asked))
    return OpenCall(record=noted, dispatched=True, call=kept)


def later(
    seen: Observation, call: Call = CALL, asked: Call | None = CALL, catalog: Catalog = CATALOG
) -> Settlement:
    return settle_later(seen, opened(call, asked), catalog, RULES)


def is_the_reservation(found: Settlement) -> bool:
    comes_to = reserved(CALL).cost_nusd == found.cost_nusd == sum(line.cost_nusd for line in found.lines)
    return comes_to and found.tokens_from is TokensFrom.ESTIMATED


@pytest.mark.parametrize("how", [how for how in ENDS if how != "cancelled"])
def test_it_costs_what_it_would_have_cost_in_the_foreground(how: str) -> None:
    assert later(ended(how)) == settled(ended(how), CALL)


@pytest.mark.parametrize("seen", [ended("cancelled"), unanswered(sent=True)], ids=["cancelled", "deleted"])
def test_an_end_that_does_not_say_how_far_it_came_costs_the_reservation(seen: Observation) -> None:
    found = later(seen)
    assert is_the_reservation(found)
    assert (found.outcome, found.output_image_tokens) == (seen.outcome, 272)


def test_a_response_that_was_cancelled_with_a_report_costs_what_it_reports() -> None:
    shown = response([item(1)], drawn=usage(272), status="cancelled")
    found = later(observed(json.dumps(shown).encode()))
    assert (found.tokens_from, found.output_image_tokens) == (TokensFrom.REPORTED, 272)
    assert found.outcome is Outcome.CANCELLED


def test_partial_images_that_were_streamed_before_are_charged_though_only_the_end_is_seen() -> None:
    streamed = replace(CALL, stream=True)
    found = later(ended("pictures not reported"), streamed, streamed)
    assert (found.output_image_tokens, found.tokens_from) == (2 * 472, TokensFrom.ESTIMATED)
    assert (found.partial_images_requested, found.partial_images_delivered) == (2, 0)


class TestWhatWasReservedIsNotKnown:
    """An older version noted the call, or the catalogue is another one than it was."""

    @pytest.mark.parametrize(
        "how", ["pictures not reported", "words not reported", "nothing reported", "cancelled"]
    )
    def test_what_has_to_be_guessed_costs_the_reservation(self, how: str) -> None:
        found = later(ended(how), asked=None)
        assert is_the_reservation(found)
        assert found.outcome is ended(how).outcome

    @pytest.mark.parametrize("how", ["reported", "stopped early"])
    def test_a_report_stands(self, how: str) -> None:
        found = later(ended(how), asked=None)
        assert found.tokens_from is TokensFrom.REPORTED
        assert found.lines == settled(ended(how), CALL).lines

    def test_a_response_that_failed_without_a_picture_costs_nothing(self) -> None:
        found = later(ended("failed"), asked=None)
        assert (found.cost_nusd, found.lines, found.outcome) == (0, (), Outcome.FAILED)

    def test_a_catalogue_that_knows_the_model_no_more_does_not_make_it_cheaper(self) -> None:
        poorer = replace(CATALOG, models={"gpt-image-1": CATALOG.models["gpt-image-1"]}, families=())
        assert isinstance(estimate(CALL, poorer, RULES, at_s=AT_S), Refusal)
        assert is_the_reservation(later(ended("nothing reported"), catalog=poorer))

    def test_what_was_not_kept_of_it_does_not_make_it_cheaper(self) -> None:
        less = replace(CALL, max_output_tokens=1)
        assert is_the_reservation(later(ended("nothing reported"), asked=less))


def test_a_record_tells_that_partial_images_may_have_been_streamed() -> None:
    """A report that equals the rule may have left them out: it is no better than the guess it would replace."""
    known = record(
        route="responses.create", model="gpt-5", tool_model="gpt-image-2", partial_images_requested=2
    )
    call = as_recorded(known)
    assert (call.model, call.stream, call.images[0].model, call.images[0].partial_images) == (
        "gpt-5",
        True,
        "gpt-image-2",
        2,
    )
    assert not as_recorded(
        record(route="responses.create", tool_model=None, partial_images_requested=None)
    ).images
