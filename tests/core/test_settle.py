import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.call import Call
from gateway.core.estimate import Estimate
from gateway.core.observation import Ending, unanswered
from gateway.core.pricing import AccountingRules
from gateway.core.record import Outcome, Record, Role, TokensFrom
from gateway.core.routes import match
from gateway.core.settle import Settlement, lost, raised, settle
from gateway.core.units import NanoUSD
from tests.support.replies import (
    AT_S,
    B64,
    CATALOG,
    EDITS,
    GENERATIONS,
    LOOK,
    LOW,
    RULES,
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


class TestReported:
    def test_no_zero_is_made_of_an_absent_field_and_a_zero_stands(self) -> None:
        zero = settled(observed(images_body(usage(272, text=0))), generation())
        assert (zero.tokens, zero.tokens_from) == (272, TokensFrom.REPORTED)
        absent = settled(observed(images_body()), generation())
        assert (absent.output_image_tokens, absent.tokens_from) == (272, TokensFrom.COMPUTED)
        half = settled(observed(images_body({"input_tokens": 14})), generation())
        assert half.output_image_tokens == 272

    def test_each_kind_of_token_has_its_price(self) -> None:
        report = usage(4160, text=20, image=194) | {
            "output_tokens": 4200,
            "output_tokens_details": {"image_tokens": 4160, "text_tokens": 40},
        }
        call = call_of(EDITS, model="gpt-image-1.5", prompt="x", images=[{"image_url": "data:,"}])
        found = settled(observed(images_body(report)), call)
        # $5, $8, $32 and $10 per million.
        assert found.cost_nusd == 20 * 5_000 + 194 * 8_000 + 4160 * 32_000 + 40 * 10_000
        assert sum(line.cost_nusd for line in found.lines) == found.cost_nusd

    def test_tokens_without_details_are_the_dearer_kind(self) -> None:
        report = {"input_tokens": 208, "output_tokens": 272}
        seen = observed(images_body(report))
        line = settled(seen, generation()).lines[0]
        assert (line.input_text, line.input_image, line.output_image) == (208, 0, 272)
        edit = call_of(EDITS, **LOW, images=[{"file_id": "file-1"}])
        assert settled(seen, edit).lines[0].input_image == 208

    def test_cached_tokens_have_a_price_of_their_own(self) -> None:
        drawn = usage(272, text=100, image=1000) | {
            "cached_tokens": 600,
            "cached_tokens_details": {"cached_image_tokens": 500, "cached_text_tokens": 100},
        }
        shown = response([item(1)], drawn=drawn, main=None)
        shown["usage"] = {
            "input_tokens": 3000,
            "input_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 1000},
            "output_tokens": 10,
        }
        found = settled(observed(response_stream(shown), stream=True), drawing())
        image, main = found.lines
        assert image.cost_nusd == 100 * 1_250 + 500 * 10_000 + 500 * 2_500 + 272 * 40_000
        # gpt-5: $1.25, $0.125, 1.25 times the input, $10 per million: exact to the nano-dollar, rounded up once.
        assert main.cost_nusd == 80 * 1_250 + 1920 * 125 + 1_562_500 + 10 * 10_000
        assert (main.cached_text, main.cache_write) == (1920, 1000)

    @pytest.mark.parametrize(("tier", "times"), [("default", 2), ("priority", 4), ("flex", 1), ("batch", 1)])
    def test_the_service_tier_that_the_response_names_decides(self, tier: str, times: int) -> None:
        shown = response(service_tier=tier)
        found = settled(observed(response_stream(shown), stream=True), drawing(service_tier="auto"))
        assert found.cost_nusd == (1000 * 1_250 + 100 * 10_000) // 2 * times

    def test_hosted_tools_that_are_paid_by_the_call_have_a_line(self) -> None:
        shown = response(tool_usage={"image_gen": usage(0, text=0), "web_search": {"num_requests": 3}})
        found = settled(observed(response_stream(shown), stream=True), drawing())
        assert [(line.model, line.cost_nusd) for line in found.lines][1:] == [("web_search", 30_000_000)]

    def test_an_svgs_author_is_paid_beside_the_picture(self) -> None:
        wrote = {"model": "gpt-5", "input_tokens": 300, "output_tokens": 1000, "reasoning_tokens": 256}
        found = settled(
            observed(images_body(usage(272), svg_usage=wrote)),
            generation(output_format="svg", svg={"model": "gpt-5"}),
        )
        assert of_role(found, Role.SVG) == (1000,)
        assert found.lines[1].cost_nusd == 300 * 1_250 + 1000 * 10_000

    def test_the_tool_model_that_the_response_echoes_is_the_one_that_is_paid(self) -> None:
        shown = response([item(1)], drawn=usage(272), tool="gpt-image-1-mini")
        found = settled(observed(response_stream(shown), stream=True), drawing())
        assert (found.tool_model, found.lines[0].cost_nusd) == ("gpt-image-1-mini", 14 * 2_000 + 272 * 8_000)

    def test_one_that_nobody_knows_yet_is_the_dearest_of_its_family_whatever_was_asked_for(self) -> None:
        shown = response([item(1)], drawn=usage(272), tool="gpt-image-9")
        tool = {"type": "image_generation", "model": "gpt-image-1-mini"}
        found = settled(observed(response_stream(shown), stream=True), drawing(tools=[tool]))
        assert (found.tool_model, found.priced_as) == ("gpt-image-9", "gpt-image-1")
        assert found.lines[0].cost_nusd == 14 * 5_000 + 272 * 40_000

    def test_a_snapshot_that_nobody_knows_yet_costs_what_the_name_asked_for_costs(self) -> None:
        shown = response(model="gpt-5-2027-01-01")
        found = settled(observed(response_stream(shown), stream=True), drawing())
        assert (found.lines[0].model, found.priced_as) == ("gpt-5", None)

    def test_an_incomplete_response_costs_its_picture_and_its_words(self) -> None:
        shown = response([item(1)], drawn=usage(272), status="incomplete")
        found = settled(observed(response_stream(shown), stream=True), drawing())
        assert (found.output_image_tokens, found.outcome) == (272, Outcome.INCOMPLETE)
        assert found.tokens_from is TokensFrom.REPORTED

    def test_compacting_costs_its_tokens(self) -> None:
        body = b'{"id":"resp_9","object":"response.compaction","output":[],"usage":{"input_tokens":10,"output_tokens":96}}'
        found = settled(observed(body), call_of("responses/compact", model="gpt-5", input="x"))
        assert (found.cost_nusd, found.tokens_from) == (10 * 1_250 + 96 * 10_000, TokensFrom.REPORTED)


class TestEnded:
    def test_a_failed_response_costs_the_pictures_that_it_delivered(self) -> None:
        shown = response([item(1)], main=None, status="failed", error={"code": "server_error"})
        found = settled(observed(response_stream(shown), stream=True), drawing())
        assert (found.output_image_tokens, of_role(found, Role.MAIN)) == (272, ())
        assert (found.outcome, found.code) == (Outcome.FAILED, "server_error")

    def test_a_finished_response_without_usage_is_charged_its_reserved_mainline_tokens(self) -> None:
        call = drawing(max_output_tokens=50)
        found = settled(
            observed(response_stream(response([item(1)], drawn=usage(272), main=None)), stream=True), call
        )
        assert of_role(found, Role.MAIN) == (50,)
        assert found.tokens_from is TokensFrom.ESTIMATED


class TestUnknownEnd:
    def test_a_call_that_never_went_up_costs_nothing(self) -> None:
        assert settled(unanswered(sent=False), generation()).cost_nusd == 0

    def test_a_call_that_went_up_and_got_no_answer_costs_what_was_reserved(self) -> None:
        call = generation(n=3)
        found = settled(unanswered(sent=True), call)
        assert (found.cost_nusd, found.tokens_from) == (reserved(call).cost_nusd, TokensFrom.ESTIMATED)
        assert (found.images, found.charged_images, found.outcome) == (0, 3, Outcome.FAILED)

    def test_a_stream_that_is_cut_costs_the_picture_and_what_was_asked_for(self) -> None:
        one = images_stream(1)[: len(B64) + 500]
        for ending, outcome in ((Ending.LEFT, Outcome.CLIENT_GONE), (Ending.BROKEN, Outcome.UPSTREAM_CUT)):
            found = settled(observed(one, stream=True, ending=ending), generation(3))
            # What was asked for may have been on its way; surcharge is only what was seen.
            assert tokens(found) == (272 + 300, 100, TokensFrom.ESTIMATED)
            assert (found.partial_images_delivered, found.outcome) == (1, outcome)

    def test_a_partial_image_tells_what_the_picture_would_have_been(self) -> None:
        call = call_of(GENERATIONS, model="gpt-image-1", prompt="x", stream=True, partial_images=1)
        seen = observed(
            event("image_generation.partial_image", b64_json=B64, **LOOK), stream=True, ending=Ending.LEFT
        )
        assert settled(seen, call).output_image_tokens == 372

    def test_a_report_that_came_before_the_line_broke_stands(self) -> None:
        found = settled(
            observed(images_stream(2, usage(472)), stream=True, ending=Ending.BROKEN), generation(2)
        )
        assert tokens(found) == (472, 200, TokensFrom.REPORTED)

    def test_a_body_cut_in_its_picture_costs_what_was_reserved(self) -> None:
        found = settled(observed(images_body(usage(272))[:9000], ending=Ending.BROKEN), generation())
        assert tokens(found) == (272, 0, TokensFrom.ESTIMATED)

    def test_a_clean_end_without_the_terminal_event_is_no_end(self) -> None:
        body = event("image_generation.partial_image", b64_json=B64, **LOOK)
        found = settled(observed(body, stream=True), generation(1))
        assert (tokens(found), found.outcome) == ((372, 100, TokensFrom.ESTIMATED), Outcome.INCOMPLETE)

    def test_a_cut_response_costs_its_finished_pictures_the_one_begun_and_its_words(self) -> None:
        begun = event("response.image_generation_call.generating", item_id="ig_9", output_index=9)
        body = response_stream(response([item(1)]), ends=False) + begun
        found = settled(observed(body, stream=True, ending=Ending.LEFT), drawing(max_output_tokens=70))
        assert (found.output_image_tokens, of_role(found, Role.MAIN)) == (2 * 272, (70,))

    def test_an_error_event_costs_what_was_delivered_before_it(self) -> None:
        failed = event("error", error={"code": "server_error", "message": "x"})
        nothing = settled(observed(failed, stream=True), generation(2))
        assert (nothing.cost_nusd, nothing.tokens_from, nothing.outcome) == (
            0,
            TokensFrom.NONE,
            Outcome.FAILED,
        )
        partial = event("image_generation.partial_image", b64_json=B64, **LOOK)
        begun = settled(observed(partial + failed, stream=True), generation(2))
        assert tokens(begun) == (372, 100, TokensFrom.ESTIMATED)

    def test_a_hold_that_ran_out_costs_what_was_reserved(self) -> None:
        held = reserved(drawing(2))
        found = lost(held, at_s=AT_S)
        assert (found.cost_nusd, found.outcome) == (held.cost_nusd, Outcome.LOST)
        assert (found.output_image_tokens, found.tokens) == (held.image_tokens, held.tokens)
        assert tokens(found) == (472, 0, TokensFrom.ESTIMATED)

    def test_the_tier_and_the_cache_that_were_reserved_for_are_on_the_last_line(self) -> None:
        found = lost(reserved(drawing(service_tier="priority")), at_s=AT_S)
        image, main = found.lines
        assert (image.role, image.cost_nusd) == (Role.IMAGE, image.input_text * 5_000 + 272 * 40_000)
        assert main.cost_nusd == found.cost_nusd - image.cost_nusd
        # gpt-5 in the priority tier: twice $1.25, a quarter more for the cache, and twice $10 per million.
        assert main.cost_nusd == main.input_text * 3_125 + main.output_text * 20_000

    def test_nothing_reserved_is_nothing_lost(self) -> None:
        assert lost(Estimate(), at_s=AT_S) == Settlement(outcome=Outcome.LOST)


class TestPicturesInAnotherShape:
    """A 200 with a list of something that is no picture as we know it: nobody can say what came."""

    @pytest.mark.parametrize("data", [[{"image": B64}], [B64], [None], [{}]])
    @pytest.mark.parametrize("report", [{}, {"usage": usage(0, text=0)}])
    def test_without_a_report_it_costs_what_was_reserved(
        self, data: object, report: dict[str, object]
    ) -> None:
        body = json.dumps({"created": 1, "data": data, **report}).encode()
        found = settled(observed(body), generation(n=2))
        assert (found.cost_nusd, found.tokens_from) == (
            reserved(generation(n=2)).cost_nusd,
            TokensFrom.ESTIMATED,
        )
        assert (found.images, found.charged_images) == (0, 2)

    def test_with_one_it_costs_that(self) -> None:
        body = json.dumps({"data": [{"image": B64}, {"image": B64}], "usage": usage(544)}).encode()
        found = settled(observed(body), generation(n=2))
        assert tokens(found) == (544, 0, TokensFrom.REPORTED)
        assert (found.images, found.charged_images) == (0, 2)

    def test_of_a_model_paid_by_the_picture_a_report_of_tokens_says_nothing(self) -> None:
        call = call_of(GENERATIONS, model="dall-e-2", prompt="x", size="1024x1024")
        body = json.dumps({"data": [{"image": B64}], "usage": usage(272)}).encode()
        assert settled(observed(body), call).cost_nusd == reserved(call).cost_nusd == 20_000_000

    def test_no_picture_at_all_costs_its_prompt(self) -> None:
        found = settled(observed(b'{"created":1,"data":[]}'), generation(n=2))
        assert (found.output_image_tokens, found.charged_images) == (0, 0)
        assert found.tokens_from is TokensFrom.COMPUTED


class TestAnEndSeenByItself:
    """The end of a response in the background: who asks for it later has not seen the partial images go by."""

    CALL = drawing(2, background=True)

    def settled(self, shown: dict[str, Any], call: Call = CALL, *, watched: bool = False) -> Settlement:
        seen = observed(json.dumps(shown).encode())
        return settle(seen, call, reserved(call), CATALOG, RULES, at_s=AT_S, watched=watched)

    def test_a_report_stands(self) -> None:
        found = self.settled(response([item(1)], drawn=usage(372)))
        assert tokens(found) == (372, 100, TokensFrom.REPORTED)
        assert found == self.settled(response([item(1)], drawn=usage(372)), watched=True)

    @pytest.mark.parametrize("drawn", [None, usage(0, text=0), {"input_tokens": 14}])
    def test_without_one_the_partial_images_asked_for_are_charged_and_not_called_seen(
        self, drawn: object
    ) -> None:
        shown = response([item(1), item(2)], drawn=drawn)
        found = self.settled(shown)
        assert tokens(found) == (2 * 472, 0, TokensFrom.ESTIMATED)
        assert (found.partial_images_delivered, found.images) == (0, 2)
        assert tokens(self.settled(shown, watched=True)) == (2 * 272, 0, TokensFrom.COMPUTED)

    def test_what_was_not_streamed_had_none(self) -> None:
        found = self.settled(response([item(1)]), drawing(2, stream=False, background=True))
        assert tokens(found) == (272, 0, TokensFrom.COMPUTED)

    def test_a_report_of_zero_beside_no_picture_stands(self) -> None:
        told = item(1, status="failed", result=None)
        found = self.settled(response([told], drawn=usage(0, text=0)))
        assert (found.output_image_tokens, found.tokens_from) == (0, TokensFrom.REPORTED)


def test_a_settlement_is_raised_on_its_last_line_and_never_lowered() -> None:
    plain = settled(observed(images_body(usage(272))), generation())
    dearer = raised(plain, NanoUSD(plain.cost_nusd + 5))
    assert dearer.cost_nusd == plain.cost_nusd + 5 == sum(line.cost_nusd for line in dearer.lines)
    assert (dearer.tokens, dearer.tokens_from) == (plain.tokens, TokensFrom.ESTIMATED)
    assert raised(plain, plain.cost_nusd) is plain
    (line,) = raised(Settlement(), NanoUSD(7), "gpt-5").lines
    assert (line.model, line.role, line.cost_nusd) == ("gpt-5", Role.MAIN, 7)


class TestRefusals:
    REFUSED = b'{"error":{"message":"no","type":"server_error","param":null,"code":"server_error"}}'

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 502, 503])
    def test_a_whole_json_error_costs_nothing(self, status: int) -> None:
        found = settled(observed(self.REFUSED, status=status), generation())
        assert (found.cost_nusd, found.code, found.outcome) == (0, "server_error", Outcome.FAILED)

    @pytest.mark.parametrize("status", [408, 504, 520, 521, 522, 523, 524])
    def test_one_that_only_says_that_nobody_waited_costs_what_was_reserved(self, status: int) -> None:
        found = settled(observed(self.REFUSED, status=status), generation())
        assert found.cost_nusd == reserved(generation()).cost_nusd

    def test_a_server_error_that_is_no_json_or_breaks_off_leaves_it_open(self) -> None:
        held = reserved(generation()).cost_nusd
        assert settled(observed(b"<html>Bad gateway</html>", status=502), generation()).cost_nusd == held
        assert settled(observed(self.REFUSED[:20], status=500), generation()).cost_nusd == held
        assert settled(observed(b"<html>no</html>", status=403), generation()).cost_nusd == 0

    @pytest.mark.parametrize(("stage", "billed"), [("input", False), ("output", True)])
    def test_what_moderation_blocks_after_it_was_made_is_charged_only_by_policy(
        self, stage: str, billed: object
    ) -> None:
        error = {"code": "moderation_blocked", "moderation_details": {"moderation_stage": stage}}
        plain = observed(b'{"error":%b}' % str(error).replace("'", '"').encode(), status=400)
        told = item(1, status="failed", result=None, error=error)
        blocked = observed(response_stream(response([told], drawn=usage(0, text=0))), stream=True)
        policy = AccountingRules(bill_moderated=True)
        for seen, call in ((plain, generation()), (blocked, drawing())):
            assert settled(seen, call).output_image_tokens == 0
            assert (settled(seen, call, policy).output_image_tokens == 272) is billed

    @pytest.mark.parametrize(("policy", "charged"), [(False, 100), (True, 372)])
    def test_of_a_blocked_picture_the_partial_images_that_came_are_charged(
        self, policy: bool, charged: int
    ) -> None:
        partial = event("image_generation.partial_image", b64_json=B64, **LOOK)
        error = {"code": "moderation_blocked", "moderation_details": {"moderation_stage": "output"}}
        seen = observed(partial + event("error", error=error), stream=True)
        found = settled(seen, generation(2), AccountingRules(bill_moderated=policy))
        assert (found.output_image_tokens, found.partial_image_tokens) == (charged, 100)
        assert found.code == "moderation_blocked"


def test_an_unknown_model_of_a_family_is_priced_as_the_dearest_and_says_so() -> None:
    call = call_of(GENERATIONS, model="gpt-image-9", prompt="x", size="1024x1024", quality="low")
    found = settled(observed(images_body(usage(272))), call)
    assert (found.priced_as, found.lines[0].model) == ("gpt-image-1", "gpt-image-9")
    assert found.cost_nusd == 14 * 5_000 + 272 * 40_000


def test_a_tool_model_that_nobody_has_heard_of_is_still_paid() -> None:
    shown = response([item(1)], drawn=usage(272), tool="banana-1")
    call = drawing()
    found = settled(observed(response_stream(shown), stream=True), call)
    assert found.cost_nusd > 0
    assert found.lines[0].model == "gpt-image-1"


def test_what_is_not_metered_costs_nothing() -> None:
    found = match("GET", "/models")
    assert found is not None
    assert settled(observed(b'{"object":"list","data":[]}'), Call(found)) == Settlement()


def test_a_settlement_fills_the_record() -> None:
    record = Record(
        id="igr_1", at=1.0, method="POST", outcome=Outcome.COMPLETED, duration_ms=1.0, size="auto"
    )
    found = settled(observed(images_stream(2, usage(472)), stream=True), generation(2)).into(record)
    assert (found.size, found.quality, found.images) == ("1024x1024", "low", 1)
    assert (found.output_image_tokens, found.partial_image_tokens) == (472, 200)
    assert found.cost_nusd == 14 * 5_000 + 472 * 40_000 == sum(line.cost_nusd for line in found.lines)
    assert (found.input_text_tokens, found.tokens_from) == (14, TokensFrom.REPORTED)


def test_a_settlement_that_knows_nothing_of_partial_images_leaves_what_was_asked() -> None:
    record = Record(
        id="igr_1",
        at=1.0,
        method="POST",
        outcome=Outcome.FAILED,
        duration_ms=1.0,
        partial_images_requested=2,
    )
    found = lost(reserved(generation(2)), at_s=AT_S).into(record)
    assert (found.partial_images_requested, found.partial_images_delivered, found.images) == (2, 0, 0)
    assert (found.output_image_tokens, found.partial_image_tokens) == (472, 0)


@given(
    model=st.sampled_from(["gpt-5", "gpt-5.4", "gpt-4.1", "gpt-99"]),
    tier=st.sampled_from([None, "auto", "flex", "batch", "priority", "fast"]),
    calls=st.none() | st.integers(0, 5),
    words=st.integers(0, 10_000),
    svg=st.booleans(),
    asked=st.integers(0, 3),
)
def test_the_lines_of_a_loss_come_to_the_reservation(
    *, model: str, tier: str | None, calls: int | None, words: int, svg: bool, asked: int
) -> None:
    call = drawing(asked, model=model, service_tier=tier, max_tool_calls=calls, input="ü" * words)
    fields: dict[str, Any] = {"output_format": "svg", "svg": {"model": model}} if svg else {}
    picture = generation(n=3, **fields)
    for held in (reserved(call), reserved(picture)):
        found = lost(held, at_s=AT_S)
        assert sum(line.cost_nusd for line in found.lines) == found.cost_nusd == held.cost_nusd
        assert (found.tokens, found.output_image_tokens) == (held.tokens, held.image_tokens)


SIZES = ["1024x1024", "1024x1536", "1536x1024"]


@given(
    model=st.sampled_from(
        ["gpt-image-1", "gpt-image-1.5", "gpt-image-2", "gpt-image-2.5-flare", "gpt-image-99"]
    ),
    asked_size=st.sampled_from([*SIZES, "auto", None]),
    asked_quality=st.sampled_from(["low", "medium", "high", "auto", None]),
    n=st.integers(1, 4),
    asked=st.integers(0, 3),
    delivered=st.integers(0, 5),
    size=st.sampled_from(SIZES),
    quality=st.sampled_from(["low", "medium", "high"]),
    report=st.sampled_from(["full", "omitted", "without surcharge"]),
    kept=st.floats(0, 1),
    ending=st.sampled_from([Ending.CLEAN, Ending.BROKEN, Ending.LEFT]),
)
def test_no_image_call_costs_more_than_was_reserved(
    *,
    model: str,
    asked_size: str | None,
    asked_quality: str | None,
    n: int,
    asked: int,
    delivered: int,
    size: str,
    quality: str,
    report: str,
    kept: float,
    ending: Ending,
) -> None:
    """Whatever the upstream makes of what was left open, and however the answer ends."""
    size = asked_size if asked_size in SIZES else size
    quality = asked_quality if asked_quality in {"low", "medium", "high"} else quality
    stream = asked > 0
    fields = {"size": asked_size, "quality": asked_quality, "n": 1 if stream else n, "partial_images": asked}
    call = call_of(GENERATIONS, model=model, prompt="a fox", stream=stream, **fields)
    found = CATALOG.find(model) or getattr(CATALOG.family_of(model), "model", None)
    rule = found.tokens(quality, size) if found is not None and hasattr(found, "tokens") else 0
    pictures = 1 if stream else n
    partials = min(asked, delivered) if stream else 0
    output = pictures * (rule or 0) + (0 if report == "without surcharge" else 100 * partials)
    said = None if report == "omitted" else usage(output, text=pictures * 4 + 6)
    look = {**LOOK, "size": size, "quality": quality}
    body = (
        images_stream(delivered, said, look=look)
        if stream
        else images_body(said, pictures=pictures, size=size, quality=quality)
    )
    body = body if ending is Ending.CLEAN else body[: round(len(body) * kept)]
    held, spent = reserved(call), settled(observed(body, stream=stream, ending=ending), call)
    assert spent.output_image_tokens <= held.image_tokens
    assert spent.tokens <= held.tokens
    assert spent.cost_nusd <= held.cost_nusd
    assert spent.partial_image_tokens <= 100 * asked
    if ending is not Ending.CLEAN:
        assert spent.cost_nusd > 0


@given(
    calls=st.integers(0, 3),
    made=st.integers(0, 3),
    asked=st.integers(0, 3),
    delivered=st.integers(0, 5),
    read=st.integers(0, 1000),
    written=st.integers(0, 400),
    report=st.sampled_from(["full", "omitted", "zero", "without surcharge"]),
    tier=st.sampled_from(["default", "flex", "priority"]),
    kept=st.floats(0, 1),
    ending=st.sampled_from([Ending.CLEAN, Ending.BROKEN, Ending.LEFT]),
)
def test_no_response_costs_more_than_was_reserved(
    *,
    calls: int,
    made: int,
    asked: int,
    delivered: int,
    read: int,
    written: int,
    report: str,
    tier: str,
    kept: float,
    ending: Ending,
) -> None:
    """As far as it bounds its tool calls and its output."""
    call = drawing(asked, max_tool_calls=calls, max_output_tokens=400, service_tier=tier)
    made = min(made, calls)
    output = made * (272 + (0 if report == "without surcharge" else 100 * min(asked, delivered)))
    drawn = {"omitted": None, "zero": usage(0, text=0)}.get(report, usage(output, text=9 * made))
    shown = response(
        [item(each) for each in range(made)], drawn=drawn, main=(read, written), service_tier=tier
    )
    body = response_stream(shown, partials=delivered)
    body = body if ending is Ending.CLEAN else body[: round(len(body) * kept)]
    held, spent = reserved(call), settled(observed(body, stream=True, ending=ending), call)
    assert spent.output_image_tokens <= held.image_tokens
    assert spent.tokens <= held.tokens
    assert spent.cost_nusd <= held.cost_nusd
