import pytest

from gateway.core.record import Role, TokensFrom
from tests.support.replies import (
    B64,
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
    reserved,
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


HIGH = {"size": "1024x1536", "quality": "high"}


class TestReportsThatLeavePicturesOut:
    """A report below the exact rule for the pictures that came is not believed: each of them is computed."""

    @pytest.mark.parametrize(
        ("reported", "look", "output"),
        [
            (usage(272), {}, 544),
            (usage(6240), HIGH, 12480),
            (usage(0, text=14), {}, 544),
            (usage(543), {}, 544),
            (usage(272, details=True), {}, 544),
        ],
        ids=["one of two", "one of two high", "no output", "one token less", "with details"],
    )
    def test_on_the_responses_tool(self, reported: object, look: dict[str, str], output: int) -> None:
        shown = response([item(1, **look), item(2, **look)], drawn=reported)
        found = settled(observed(response_stream(shown), stream=True), drawing())
        assert tokens(found) == (output, 0, TokensFrom.COMPUTED)
        assert found.lines[0].input_text == 14

    def test_on_the_images_api(self) -> None:
        found = settled(observed(images_body(usage(272), pictures=2)), generation(n=2))
        assert tokens(found) == (544, 0, TokensFrom.COMPUTED)
        assert found.lines[0].input_text == 14

    def test_what_it_says_of_text_stays_and_the_partial_images_are_added(self) -> None:
        reported = usage(300) | {"output_tokens_details": {"image_tokens": 272, "text_tokens": 28}}
        shown = response([item(1), item(2)], drawn=reported)
        found = settled(observed(response_stream(shown, partials=2), stream=True), drawing(2))
        assert tokens(found) == (944, 400, TokensFrom.COMPUTED)
        assert found.lines[0].output_text == 28

    def test_a_picture_begun_when_the_response_failed_is_charged_beside_them(self) -> None:
        begun = event("response.image_generation_call.partial_image", item_id="ig_9", output_index=9)
        shown = response([item(1), item(2)], drawn=usage(272), status="failed")
        body = response_stream(shown, ends=False) + begun + event("response.failed", response=shown)
        found = settled(observed(body, stream=True), drawing(1))
        assert [line.output_image for line in found.lines if line.role is Role.IMAGE] == [544, 372]

    @pytest.mark.parametrize("model", ["gpt-image-2.6-sunburst", "gpt-image-99"])
    def test_where_the_rule_is_a_guess_the_report_stands(self, model: str) -> None:
        call = call_of(GENERATIONS, **{**LOW, "model": model, "n": 2})
        assert tokens(settled(observed(images_body(usage(50), pictures=2)), call)) == (
            50,
            0,
            TokensFrom.REPORTED,
        )

    @pytest.mark.parametrize("size", ["1000x1000", "auto"])
    def test_where_the_rule_does_not_know_the_picture_the_report_stands(self, size: str) -> None:
        call = call_of(GENERATIONS, model="gpt-image-1", prompt="x")
        found = settled(observed(images_body(usage(50), size=size)), call)
        assert tokens(found) == (50, 0, TokensFrom.REPORTED)

    @pytest.mark.parametrize("output_format", ["gif", "svg"])
    def test_formats_without_a_published_count_are_charged_as_reported(self, output_format: str) -> None:
        found = settled(observed(images_body(usage(50))), generation(output_format=output_format))
        assert found.output_image_tokens == 50

    def test_a_report_of_nothing_beside_a_picture_is_none_whatever_the_rule(self) -> None:
        for call in (generation(), call_of(GENERATIONS, **{**LOW, "model": "gpt-image-99"})):
            found = settled(observed(images_body(usage(0, text=0))), call)
            held = reserved(call)
            assert tokens(found) == (held.image_tokens, 0, TokensFrom.COMPUTED)
            assert found.cost_nusd == held.cost_nusd
            assert settled(observed(images_body(usage(0))), call).output_image_tokens == held.image_tokens

    def test_a_report_of_nothing_beside_no_picture_stands(self) -> None:
        found = settled(observed(b'{"data":[],"usage":{"input_tokens":0,"output_tokens":0}}'), generation())
        assert (found.cost_nusd, found.tokens_from) == (0, TokensFrom.NONE)


class TestStreamsOfSeveralPictures:
    """Nobody has seen one of OpenAI; whether a report is of its picture or of all so far is told by the rule."""

    @pytest.mark.parametrize(
        ("first", "second", "output"),
        [
            (usage(272), usage(272), 544),
            (usage(272), usage(544), 544),
            (usage(300), usage(280), 580),
            (usage(272), None, 544),
            (None, usage(272), 544),
            (usage(100), usage(100), 544),
        ],
        ids=["each its own", "the last of all", "each more", "first only", "last only", "too little"],
    )
    def test_reports_add_up(self, first: object, second: object, output: int) -> None:
        body = images_stream(0, first) + images_stream(0, second)
        found = settled(observed(body, stream=True), generation(0, n=2))
        assert (found.images, found.output_image_tokens) == (2, output)

    def test_their_partial_images_are_in_each_report_or_in_the_last(self) -> None:
        call = generation(2, n=2)
        for last in (usage(472), usage(944)):
            body = images_stream(2, usage(472)) + images_stream(2, last)
            assert tokens(settled(observed(body, stream=True), call)) == (944, 400, TokensFrom.REPORTED)

    def test_the_input_of_each_is_charged(self) -> None:
        body = images_stream(0, usage(272)) + images_stream(0, usage(272))
        assert settled(observed(body, stream=True), generation(0, n=2)).lines[0].input_text == 28

    def test_the_author_of_each_svg_is_paid(self) -> None:
        wrote = {"model": "gpt-5", "input_tokens": 300, "output_tokens": 1000}
        one = event("image_generation.completed", b64_json=B64, usage=usage(272), svg_usage=wrote)
        call = generation(output_format="svg", svg={"model": "gpt-5"}, stream=True)
        assert of_role(settled(observed(one, stream=True), call), Role.SVG) == (1000,)
        assert of_role(settled(observed(one + one, stream=True), call), Role.SVG) == (1000, 1000)


def test_an_author_that_nobody_knows_yet_is_the_dearest_of_its_family_whatever_was_asked_for() -> None:
    wrote = {"model": "gpt-99", "input_tokens": 300, "output_tokens": 1000}
    call = generation(output_format="svg", svg={"model": "gpt-5"})
    found = settled(observed(images_body(usage(272), svg_usage=wrote)), call)
    assert found.lines[1].model == "gpt-99"
    assert found.priced_as is not None


@pytest.mark.parametrize("said", [1, 200, 271])
def test_of_a_single_picture_the_report_is_the_truth_whatever_the_rule_says(said: int) -> None:
    found = settled(observed(images_body(usage(said))), generation())
    assert tokens(found) == (said, 0, TokensFrom.REPORTED)
