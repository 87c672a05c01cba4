import pytest

from gateway.core.record import Role, TokensFrom
from tests.support.replies import (
    EDITS,
    GENERATIONS,
    LOW,
    call_of,
    drawing,
    event,
    generation,
    images_body,
    images_stream,
    item,
    observed,
    of_role,
    response,
    response_stream,
    settled,
    tokens,
    usage,
)


class TestSurcharge:
    """100 output image tokens for every partial image delivered, once, whoever counted them."""

    def test_without_partial_images_there_is_none(self) -> None:
        assert tokens(settled(observed(images_body(usage(272))), generation())) == (
            272,
            0,
            TokensFrom.REPORTED,
        )

    @pytest.mark.parametrize("family", ["image_generation", "image_edit"])
    def test_two_partial_images_are_in_the_reported_tokens_and_not_added_again(self, family: str) -> None:
        call = call_of(
            GENERATIONS if family == "image_generation" else EDITS, **LOW, stream=True, partial_images=2
        )
        found = settled(observed(images_stream(2, usage(472), family=family), stream=True), call)
        assert tokens(found) == (472, 200, TokensFrom.REPORTED)
        assert (found.partial_images_requested, found.partial_images_delivered) == (2, 2)
        assert not found.surcharge_added

    def test_three_asked_for_and_one_delivered_is_one(self) -> None:
        found = settled(observed(images_stream(1, usage(372)), stream=True), generation(3))
        assert tokens(found) == (372, 100, TokensFrom.REPORTED)
        assert (found.partial_images_requested, found.partial_images_delivered) == (3, 1)

    @pytest.mark.parametrize("family", ["image_generation", "image_edit"])
    def test_it_is_added_where_the_upstream_left_it_out(self, family: str) -> None:
        call = call_of(
            GENERATIONS if family == "image_generation" else EDITS, **LOW, stream=True, partial_images=2
        )
        found = settled(observed(images_stream(2, usage(272), family=family), stream=True), call)
        assert tokens(found) == (472, 200, TokensFrom.REPORTED)
        assert found.surcharge_added

    def test_it_is_computed_where_nothing_is_reported(self) -> None:
        found = settled(observed(images_stream(2), stream=True), generation(2))
        assert tokens(found) == (472, 200, TokensFrom.COMPUTED)

    def test_a_partial_image_that_nobody_asked_for_is_the_final_picture_and_free(self) -> None:
        found = settled(observed(images_stream(1, usage(272)), stream=True), generation(0))
        assert tokens(found) == (272, 0, TokensFrom.REPORTED)
        assert tokens(settled(observed(images_stream(1), stream=True), generation(0)))[0] == 272
        more = settled(observed(images_stream(5, usage(472)), stream=True), generation(2))
        assert (tokens(more), more.partial_images_delivered) == ((472, 200, TokensFrom.REPORTED), 2)

    def test_one_that_was_charged_as_asked_for_is_told_as_charged(self) -> None:
        assert tokens(settled(observed(images_stream(1, usage(472)), stream=True), generation(2)))[:2] == (
            472,
            200,
        )

    def test_where_report_and_rule_do_not_fit_it_is_what_was_delivered(self) -> None:
        assert tokens(settled(observed(images_stream(2, usage(500)), stream=True), generation(2)))[:2] == (
            500,
            200,
        )

    @pytest.mark.parametrize(
        ("reported", "source", "added"),
        [
            (472, TokensFrom.REPORTED, False),
            (272, TokensFrom.REPORTED, True),
            (None, TokensFrom.COMPUTED, False),
            (0, TokensFrom.COMPUTED, False),
        ],
        ids=["reported", "left out", "no tool_usage", "tool_usage of zero"],
    )
    def test_it_is_the_same_on_the_responses_tool(
        self, reported: int | None, source: TokensFrom, added: object
    ) -> None:
        drawn = None if reported is None else usage(reported, text=0 if reported == 0 else 14)
        shown = response([item(1)], drawn=drawn)
        found = settled(observed(response_stream(shown, partials=2), stream=True), drawing(2))
        assert tokens(found) == (472, 200, source)
        assert found.surcharge_added is added
        assert of_role(found, Role.MAIN) == (100,)

    def test_each_of_several_images_has_its_own(self) -> None:
        shown = response([item(1), item(2)], drawn=usage(544))
        found = settled(observed(response_stream(shown, partials=3), stream=True), drawing(2))
        assert tokens(found)[:2] == (944, 400)


class TestComputed:
    def test_a_picture_is_what_came_and_not_what_was_asked_for(self) -> None:
        body = images_body(size="1024x1536", quality="high", pictures=2)
        call = call_of(GENERATIONS, model="gpt-image-1", prompt="x", n=2)
        assert settled(observed(body), call).output_image_tokens == 2 * 6240

    def test_one_that_does_not_say_what_it_is_costs_the_most_that_was_asked_for(self) -> None:
        body = images_body(size="auto", quality=None)
        assert settled(observed(body), generation()).output_image_tokens == 272
        any_call = call_of(GENERATIONS, model="gpt-image-1", prompt="x")
        assert settled(observed(body), any_call).output_image_tokens == 6240

    def test_fewer_pictures_than_asked_for_cost_less(self) -> None:
        found = settled(observed(images_body(pictures=1)), generation(n=3))
        assert (found.images, found.output_image_tokens) == (1, 272)

    def test_models_paid_by_the_picture_cost_a_fixed_price(self) -> None:
        call = call_of(GENERATIONS, model="dall-e-3", prompt="x", quality="hd", size="1024x1792")
        found = settled(observed(b'{"created":1,"data":[{"url":"https://x/y"}]}'), call)
        assert (found.images, found.cost_nusd, found.tokens) == (1, 120_000_000, 0)
        assert found.tokens_from is TokensFrom.COMPUTED

    def test_an_image_that_failed_costs_the_partial_images_that_it_had_delivered(self) -> None:
        failed = item(1, status="failed", result=None, error={"code": "x"})
        found = settled(observed(response_stream(response([failed]), partials=2), stream=True), drawing(2))
        assert tokens(found) == (200, 200, TokensFrom.COMPUTED)
        assert found.images == 0

    def test_each_image_of_a_response_that_broke_down_costs_what_it_came_to(self) -> None:
        begun = event(
            "response.image_generation_call.partial_image",
            item_id="ig_9",
            output_index=9,
            size="1024x1024",
            quality="medium",
        )
        failed = event("response.failed", response=response(status="failed", main=None))
        body = response_stream(response([item(1)]), partials=2, ends=False) + begun + failed
        found = settled(observed(body, stream=True), drawing(2))
        assert [line.output_image for line in found.lines] == [472, 1056 + 100]
        assert (found.partial_image_tokens, found.charged_images, found.images) == (300, 2, 1)
