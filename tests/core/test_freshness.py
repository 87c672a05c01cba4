"""What may be kept, for how long, and given to whom: the rules, row by row."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.cachecontrol import Directives
from gateway.core.call import FORM_FIELDS, Call, read_form
from gateway.core.contents import Contents, Reader
from gateway.core.freshness import (
    LINK_MARGIN_S,
    RESPONSE_S,
    Life,
    Reason,
    Rules,
    Verdict,
    is_upstream_error,
    judge,
    keep,
    links_until,
    moves,
    why_bypass_form,
    why_bypass_json,
)
from gateway.core.multipart import Form, FormReader
from gateway.core.observation import Ending, Observation
from gateway.core.routes import match
from gateway.core.strictjson import Number
from tests.support.replies import (
    CATALOG,
    LOOK,
    call_of,
    event,
    images_body,
    images_stream,
    item,
    observed,
    response,
    response_stream,
    usage,
)
from tests.support.sandbox_client import data_url, png

NOW = 1_795_000_000.0  # 2026-11-18T11:06:40Z
DATED = "gpt-image-2-2026-04-21"
RULES = Rules(
    ttl_s=86_400, alias_ttl_s=3600, stale_if_error_s=600, max_entry_bytes=1 << 20, trust_remote_urls=False
)
INLINE, REMOTE = data_url(png()), "https://example.org/fox.png"
DRAWS: dict[str, Any] = {"type": "image_generation", "model": DATED}
RESPONSE: dict[str, Any] = {"model": "gpt-5-2025-08-07", "input": "a fox", "tools": [DRAWS]}
LOOKS = {"role": "user", "content": [{"type": "input_image", "image_url": INLINE}]}


def why(path: str, body: dict[str, Any], *, trusting: bool = False) -> Reason | None:
    return why_bypass_json(call_of(path, **body), body, trust_remote_urls=trusting)


def of_response(**fields: Any) -> Reason | None:
    return why("responses", {**RESPONSE, **fields})


class TestCalls:
    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("images/generations", {"prompt": "a fox", "unheard_of": {"x": 1}}),
            ("images/generations", {"prompt": REMOTE, "user": REMOTE, "stream": True, "partial_images": 2}),
            ("images/edits", {"prompt": "x", "images": [{"image_url": INLINE}, {"file_id": "file-1"}]}),
            ("images/edits", {"images": [{"image_url": INLINE}], "mask": {"file_id": "file-1"}}),
            ("images/edits", {"images": [{"image_url": INLINE}], "mask": {"image_url": INLINE}}),
            ("responses", RESPONSE),
            ("responses", {**RESPONSE, "stream": True, "store": False}),
            ("responses", {**RESPONSE, "tools": [DRAWS, DRAWS], "tool_choice": {"type": "image_generation"}}),
            ("responses", {**RESPONSE, "input": [LOOKS]}),
            ("responses", {**RESPONSE, "input": REMOTE, "metadata": {"image_url": REMOTE}}),
            (
                "responses",
                {**RESPONSE, "input": [{"type": "image_generation_call", "id": "ig_1", "result": "iVBO"}]},
            ),
            (
                "responses",
                {
                    **RESPONSE,
                    "previous_response_id": None,
                    "conversation": None,
                    "background": False,
                    "prompt": None,
                },
            ),
            ("responses", {**RESPONSE, "prompt": {"id": "pmpt_1", "version": "2"}}),
            ("responses", {**RESPONSE, "tools": [], "temperature": 0}),
            ("responses", {"model": "gpt-5", "input": "hi", "temperature": 0}),
            ("responses", {"model": "gpt-5", "input": "hi", "temperature": Number("0.0")}),
            ("responses", {**RESPONSE, "temperature": 1}),
        ],
    )
    def test_a_call_whose_result_depends_on_nothing_but_itself_may_be_answered_again(
        self, path: str, body: dict[str, Any]
    ) -> None:
        assert why(path, body) is None

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("images/edits", {"images": [{"image_url": INLINE}, {"image_url": REMOTE}]}),
            ("images/edits", {"images": [{"image_url": "HTTP://EXAMPLE.ORG/A.PNG"}]}),
            ("images/edits", {"images": [{"image_url": "gs://bucket/a.png"}]}),
            ("images/edits", {"images": [{"image_url": {"url": REMOTE}}]}),
            ("images/edits", {"images": [{"file_id": "file-1"}], "mask": {"image_url": REMOTE}}),
            ("images/edits", {"image": REMOTE}),
            ("images/edits", {"image": [INLINE, REMOTE]}),
            ("images/generations", {"prompt": "x", "reference_url": REMOTE}),
            (
                "responses",
                {
                    **RESPONSE,
                    "input": [
                        {"role": "user", "content": [{"type": "input_image", "image_url": "https://x/y"}]}
                    ],
                },
            ),
            (
                "responses",
                {
                    **RESPONSE,
                    "input": [
                        {"role": "user", "content": [{"type": "input_file", "file_url": "https://x/y"}]}
                    ],
                },
            ),
            ("responses", {**RESPONSE, "tools": [{**DRAWS, "input_image_mask": {"image_url": REMOTE}}]}),
            (
                "responses",
                {
                    **RESPONSE,
                    "prompt": {
                        "id": "p",
                        "version": "1",
                        "variables": {"v": {"type": "input_image", "image_url": REMOTE}},
                    },
                },
            ),
        ],
    )
    def test_what_is_fetched_from_elsewhere_may_be_another_tomorrow(
        self, path: str, body: dict[str, Any]
    ) -> None:
        assert why(path, body) is Reason.REMOTE_URL
        assert why(path, body, trusting=True) is None

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"previous_response_id": "resp_1"}, Reason.PREVIOUS_RESPONSE),
            ({"conversation": "conv_1"}, Reason.CONVERSATION),
            ({"conversation": {"id": "conv_1"}}, Reason.CONVERSATION),
            ({"background": True}, Reason.BACKGROUND),
            ({"tools": [DRAWS, {"type": "web_search"}]}, Reason.TOOLS),
            ({"tools": [{"type": "function", "name": "f"}], "temperature": 0}, Reason.TOOLS),
            ({"input": [{"type": "additional_tools", "tools": [{"type": "custom"}]}]}, Reason.TOOLS),
            ({"prompt": {"id": "pmpt_1"}}, Reason.PROMPT_VERSION),
            ({"prompt": {"id": "pmpt_1", "version": None}}, Reason.PROMPT_VERSION),
            ({"prompt": "pmpt_1"}, Reason.PROMPT_VERSION),
            ({"tools": []}, Reason.TEMPERATURE),
            ({"tools": None}, Reason.TEMPERATURE),
            ({"tools": [], "temperature": Number("0.1")}, Reason.TEMPERATURE),
            ({"tools": [], "temperature": False}, Reason.TEMPERATURE),
            ({"tools": [], "temperature": "0"}, Reason.TEMPERATURE),
            (
                {"tools": [], "prompt": {"id": "p", "version": "1"}, "temperature": None},
                Reason.TEMPERATURE,
            ),
        ],
    )
    def test_a_response_that_depends_on_more_goes_past_the_cache(
        self, fields: dict[str, Any], reason: Reason
    ) -> None:
        assert of_response(**fields) is reason

    @pytest.mark.parametrize("path", ["responses/compact", "responses/input_tokens", "conversations"])
    def test_no_other_route_is_cached(self, path: str) -> None:
        assert why(path, {"model": "gpt-5", "input": "x"}) is Reason.ROUTE

    def test_a_form_brings_its_pictures(self) -> None:
        call, form = form_call(("prompt", REMOTE), ("image[]", "x"))
        assert why_bypass_form(call, form, trust_remote_urls=False) is None

    def test_a_form_with_a_field_for_a_link_goes_past_the_cache(self) -> None:
        call, form = form_call(("images[0][image_url]", REMOTE))
        assert why_bypass_form(call, form, trust_remote_urls=False) is Reason.REMOTE_URL
        assert why_bypass_form(call, form, trust_remote_urls=True) is None
        other = match("POST", "/files")
        assert other is not None
        assert why_bypass_form(replace(call, match=other), form, trust_remote_urls=True) is Reason.ROUTE


def form_call(*fields: tuple[str, str]) -> tuple[Call, Form]:
    reader = FormReader(b"b", FORM_FIELDS)
    for name, value in fields:
        reader.feed(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    reader.feed(b"--b--\r\n")
    found, form = match("POST", "/images/edits"), reader.close()
    assert found is not None
    return read_form(found, form), form


@pytest.mark.parametrize(
    ("path", "body", "moving"),
    [
        ("images/generations", {"model": DATED}, False),
        ("images/generations", {"model": "gpt-image-2"}, True),
        ("images/generations", {}, True),
        ("images/generations", {"model": ""}, True),
        ("images/generations", {"model": "someone-s-model"}, True),
        ("images/generations", {"model": "someone-s-model-2027-01-31"}, False),
        ("images/generations", {"model": "dall-e-3"}, False),
        ("images/generations", {"model": DATED, "output_format": "svg"}, True),
        (
            "images/generations",
            {"model": DATED, "output_format": "svg", "svg": {"model": "gpt-5-2025-08-07"}},
            False,
        ),
        ("images/generations", {"model": DATED, "output_format": "svg", "svg": {"model": "gpt-5"}}, True),
        ("responses", RESPONSE, False),
        ("responses", {**RESPONSE, "model": "gpt-5"}, True),
        ("responses", {**RESPONSE, "model": None}, True),
        ("responses", {**RESPONSE, "tools": [DRAWS, {"type": "image_generation"}]}, True),
        ("responses", {**RESPONSE, "tools": [{**DRAWS, "model": "gpt-image-2.6-flare"}]}, True),
    ],
)
def test_a_model_moves_unless_every_one_is_named_by_its_date(
    path: str, body: dict[str, Any], *, moving: bool
) -> None:
    assert moves(call_of(path, **body), CATALOG) is moving


def kept(
    call: Call,
    body: bytes,
    *,
    stream: bool = False,
    rules: Rules = RULES,
    status: int = 200,
    ending: Ending = Ending.CLEAN,
) -> Life | Reason:
    seen = observed(body, stream=stream, status=status, ending=ending)
    return keep(call, seen, read(body, stream=stream), rules=rules, catalog=CATALOG, now=NOW)


def read(body: bytes, *, stream: bool) -> Contents:
    reader = Reader(stream=stream)
    reader.feed(body)
    return reader.close()


def generation(**fields: Any) -> Call:
    return call_of("images/generations", **{"model": DATED, "prompt": "a fox", **fields})


def drawing(**fields: Any) -> Call:
    return call_of("responses", **{**RESPONSE, **fields})


def encoded(shown: dict[str, Any]) -> bytes:
    return event("x", **shown).split(b"data: ")[1].strip()


class TestKeeping:
    @pytest.mark.parametrize(
        ("call", "body", "stream"),
        [
            pytest.param(generation(), images_body(usage(1)), False, id="plain"),
            pytest.param(generation(n=2), images_body(usage(1), pictures=2), False, id="two pictures"),
            pytest.param(generation(n=2), images_body(None, pictures=3), False, id="more than asked"),
            pytest.param(generation(stream=True), images_stream(2, usage(1)), True, id="stream"),
            pytest.param(
                generation(stream=True), images_stream(1).replace(b"\n", b"\r\n"), True, id="without usage"
            ),
            pytest.param(
                generation(stream=True),
                images_stream(1).replace(b'"partial_image_index": 0', b'"x": 1'),
                True,
                id="a stream of one form only",
            ),
            pytest.param(drawing(), encoded(response([item(1)])), False, id="response"),
            pytest.param(drawing(), encoded(response()), False, id="words instead of a picture"),
            pytest.param(
                drawing(stream=True),
                response_stream(response([item(1)]), partials=1),
                True,
                id="streamed response",
            ),
        ],
    )
    def test_a_complete_answer_is_kept(self, call: Call, body: bytes, *, stream: bool) -> None:
        found = kept(call, body, stream=stream)
        assert isinstance(found, Life)
        assert (found.kept_at, found.ttl_s) == (NOW, RULES.ttl_s)

    @pytest.mark.parametrize(
        ("call", "body", "stream", "reason"),
        [
            pytest.param(
                generation(n=2), images_body(usage(1)), False, Reason.FEWER_IMAGES, id="fewer than asked"
            ),
            pytest.param(
                generation(),
                images_body(usage(1), data=[{"b64_json": ""}]),
                False,
                Reason.UNREADABLE,
                id="an empty picture",
            ),
            pytest.param(generation(), b"{}", False, Reason.UNREADABLE, id="no list"),
            pytest.param(generation(), b"<html>", False, Reason.UNREADABLE, id="no JSON"),
            pytest.param(generation(), images_body(usage(1))[:-1], False, Reason.UNREADABLE, id="not whole"),
            pytest.param(
                generation(),
                images_body(usage(1), x=["y"] * 20_000),
                False,
                Reason.UNREADABLE,
                id="too much around the picture",
            ),
            pytest.param(
                generation(),
                b'{"error":{"code":"x"}}',
                False,
                Reason.FAILED,
                id="an error with a good status",
            ),
            pytest.param(
                generation(stream=True), images_stream(1)[:-60_000], True, Reason.INCOMPLETE, id="no end"
            ),
            pytest.param(
                generation(stream=True),
                images_stream(1) + event("error", error={"code": "x"}),
                True,
                Reason.FAILED,
                id="an error event",
            ),
            pytest.param(
                generation(stream=True),
                event("image_generation.completed", b64_json="", **LOOK),
                True,
                Reason.FEWER_IMAGES,
                id="an end without a picture",
            ),
            pytest.param(
                drawing(),
                encoded(response([item(1)], status="incomplete")),
                False,
                Reason.INCOMPLETE,
                id="incomplete",
            ),
            pytest.param(drawing(), encoded(response(status="failed")), False, Reason.FAILED, id="failed"),
            pytest.param(
                drawing(), encoded(response(status="queued")), False, Reason.INCOMPLETE, id="queued"
            ),
            pytest.param(
                drawing(),
                encoded(response(status="completed", error={"code": "x"})),
                False,
                Reason.FAILED,
                id="an error in it",
            ),
            pytest.param(
                drawing(),
                encoded(response([item(1), item(2, result=None, status="failed")])),
                False,
                Reason.FEWER_IMAGES,
                id="a failed picture",
            ),
            pytest.param(
                drawing(stream=True),
                response_stream(response([item(1)], status="incomplete"), partials=1),
                True,
                Reason.INCOMPLETE,
                id="a stream that says it is incomplete",
            ),
            pytest.param(
                drawing(stream=True),
                response_stream(response([item(1)]), partials=1, ends=False),
                True,
                Reason.INCOMPLETE,
                id="a stream without its end",
            ),
        ],
    )
    def test_an_answer_that_is_not_complete_is_not_kept(
        self, call: Call, body: bytes, *, stream: bool, reason: Reason
    ) -> None:
        assert kept(call, body, stream=stream) is reason

    @pytest.mark.parametrize("ending", [Ending.BROKEN, Ending.LEFT])
    def test_nor_one_that_broke_off_even_if_all_of_it_had_come(self, ending: Ending) -> None:
        assert kept(generation(), images_body(usage(1)), ending=ending) is Reason.CUT
        assert (
            keep(
                generation(),
                Observation(ending=Ending.UNSENT),
                Contents(0),
                rules=RULES,
                catalog=CATALOG,
                now=NOW,
            )
            is Reason.CUT
        )

    @pytest.mark.parametrize("status", [199, 301, 400, 429, 500])
    def test_nor_an_error(self, status: int) -> None:
        assert kept(generation(), images_body(usage(1)), status=status) is Reason.ERROR

    def test_nor_one_that_is_larger_than_an_entry_may_be(self) -> None:
        body = images_body(usage(1))
        assert isinstance(kept(generation(), body, rules=replace(RULES, max_entry_bytes=len(body))), Life)
        smaller = replace(RULES, max_entry_bytes=len(body) - 1)
        assert kept(generation(), body, rules=smaller) is Reason.TOO_LARGE

    def test_an_answer_of_a_model_that_moves_is_kept_for_less(self) -> None:
        found = kept(generation(model="gpt-image-2"), images_body(usage(1)))
        assert found == Life(kept_at=NOW, ttl_s=RULES.alias_ttl_s)

    def test_a_response_does_not_outlive_what_its_id_names(self) -> None:
        long = replace(RULES, ttl_s=10**9)
        found = kept(drawing(), encoded(response([item(1)])), rules=long)
        assert found == Life(kept_at=NOW, ttl_s=RESPONSE_S, most_s=RESPONSE_S)


def linked(*links: str) -> bytes:
    return images_body(None, data=[{"url": link} for link in links])


def signed(instant: str) -> str:
    return f"https://blob.example/x.png?st=2026-01-01T00%3A00%3A00Z&se={instant}&sig=abc%3D"


IN_AN_HOUR = "2026-11-18T12%3A06%3A40Z"
IN_TWO = "2026-11-18T13:06:40Z"


class TestLinks:
    def test_an_answer_lives_as_long_as_its_shortest_link_less_a_margin(self) -> None:
        found = kept(generation(n=2), linked(signed(IN_TWO), signed(IN_AN_HOUR)))
        left_s = 3600 - LINK_MARGIN_S
        assert found == Life(kept_at=NOW, ttl_s=left_s, most_s=left_s)

    def test_a_long_link_lives_no_longer_than_a_picture(self) -> None:
        found = kept(generation(), linked(signed("2027-11-18T12:06:40Z")))
        assert isinstance(found, Life)
        assert found.ttl_s == RULES.ttl_s

    def test_it_never_stands_in_for_an_error_once_the_link_is_dead(self) -> None:
        found = kept(generation(), linked(signed(IN_AN_HOUR)))
        assert isinstance(found, Life)
        assert found.useful_s(stale_if_error_s=86_400) == found.ttl_s

    @pytest.mark.parametrize(
        "links",
        [
            ("https://example.org/x.png",),
            (signed(IN_AN_HOUR), "https://example.org/x.png"),
            (signed("2026-11-18T11:11:40Z"),),
            (signed("2020-01-01"),),
        ],
        ids=["unsigned", "one of two", "the margin is all that is left", "dead"],
    )
    def test_an_answer_whose_links_may_be_dead_is_not_kept(self, links: tuple[str, ...]) -> None:
        assert kept(generation(), linked(*links)) is Reason.LINK

    @pytest.mark.parametrize(
        ("instant", "until"),
        [
            ("2026-11-18T11:06:40Z", NOW),
            ("2026-11-18T11%3A06%3A40Z", NOW),
            ("2026-11-18T11:06:40.5000000Z", NOW),
            ("2026-11-18T11:06Z", NOW - 40),
            ("2026-11-18", NOW - 40_000),
            ("2028-02-29T00:00:00Z", 1_835_395_200.0),
            ("2026-12-31T23:59:59Z", 1_798_761_599.0),
            ("2026-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("0000-01-01T00:00:00Z", None),
            ("2026-11-18T24:00:00Z", None),
            ("2026-11-18T11:60:00Z", None),
            ("2026-11-18T11:06:40", None),
            ("2026-11-18T11:06:40+01:00", None),
            ("2026-11-18T11:06:40Z&se=2027-01-01", None),
            ("1795000000", None),
            ("", None),
        ],
    )
    def test_the_end_of_a_signature_is_read_or_not_known(self, instant: str, until: float | None) -> None:
        assert links_until([signed(instant)]) == until

    @given(st.text(max_size=60))
    def test_no_link_is_too_strange_to_be_looked_at(self, text: str) -> None:
        assert links_until([f"https://a/b?se={text}#"]) is None or "-" in text
        assert links_until([text]) is None
        assert links_until([]) is None


LIFE = Life(kept_at=NOW, ttl_s=3600.0)


class TestGiving:
    @pytest.mark.parametrize(
        ("age_s", "directives", "verdict"),
        [
            (0, Directives(), Verdict.FRESH),
            (3599, Directives(), Verdict.FRESH),
            (-5, Directives(), Verdict.FRESH),
            (3600, Directives(), Verdict.STALE),
            (4199, Directives(), Verdict.STALE),
            (4200, Directives(), Verdict.EXPIRED),
            (59, Directives(max_age_s=60), Verdict.FRESH),
            (60, Directives(max_age_s=60), Verdict.UNWANTED),
            (0, Directives(max_age_s=0), Verdict.UNWANTED),
            (3700, Directives(max_age_s=3650), Verdict.EXPIRED),
            (3700, Directives(max_age_s=9999), Verdict.STALE),
            (0, Directives(no_cache=True), Verdict.UNWANTED),
            (0, Directives(no_store=True), Verdict.UNWANTED),
            (3700, Directives(no_cache=True), Verdict.EXPIRED),
            (0, Directives(only_if_cached=True), Verdict.FRESH),
        ],
    )
    def test_an_entry_is_good_for_a_request_by_its_age(
        self, age_s: float, directives: Directives, verdict: Verdict
    ) -> None:
        assert judge(LIFE, directives, NOW + age_s, stale_if_error_s=600) is verdict

    def test_nothing_stale_is_given_where_the_operator_did_not_ask_for_it(self) -> None:
        assert judge(LIFE, Directives(), NOW + 3600, stale_if_error_s=0) is Verdict.EXPIRED

    def test_nothing_is_given_past_the_end_of_what_it_names(self) -> None:
        short = replace(LIFE, most_s=3600.0)
        assert judge(short, Directives(), NOW + 3600, stale_if_error_s=600) is Verdict.EXPIRED

    def test_a_life_tells_its_age_and_what_is_left(self) -> None:
        assert (LIFE.age_s(NOW + 60), LIFE.left_s(NOW + 60)) == (60, 3540)
        assert (LIFE.age_s(NOW - 60), LIFE.left_s(NOW + 3700)) == (0, -100)
        assert LIFE.useful_s(600) == 4200

    @pytest.mark.parametrize(
        ("status", "expected"),
        [(None, True), (500, True), (503, True), (429, False), (400, False), (200, False)],
    )
    def test_something_stale_stands_in_for_the_upstream_s_fault_only(
        self, status: int | None, *, expected: bool
    ) -> None:
        assert is_upstream_error(status) is expected
