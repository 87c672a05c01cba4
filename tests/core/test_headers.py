import pytest

from gateway.core import headers
from gateway.core.errors import Code, Refused
from gateway.core.units import NanoUSD


def test_only_what_the_upstream_needs_goes_up() -> None:
    sent = [
        (b"host", b"gw"),
        (b"authorization", b"Bearer sk-demo"),
        (b"content-type", b"application/json"),
        (b"content-length", b"2"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"gzip"),
        (b"user-agent", b"OpenAI/Python 3.54.0"),
        (b"openai-beta", b"x"),
        (b"openai-organization", b"theirs"),
        (b"x-stainless-retry-count", b"1"),
        (b"x-client-request-id", b"abc"),
        (b"idempotency-key", b"k"),
        (b"traceparent", b"00-1"),
        (b"cookie", b"a=b"),
        (b"x-imagegate-tags", b"a=b"),
        (b"x-forwarded-for", b"10.0.0.1"),
        (b"x-sandbox", b"delay_ms=1"),
    ]
    names = [name for name, _ in headers.up(sent, sandbox=False)]
    assert names == [
        b"content-type",
        b"accept",
        b"user-agent",
        b"openai-beta",
        b"x-stainless-retry-count",
        b"x-client-request-id",
    ]
    assert headers.up(sent, sandbox=True)[-1] == (b"x-sandbox", b"delay_ms=1")


def test_what_concerns_one_connection_or_the_account_does_not_come_down() -> None:
    received = [
        (b"Date", b"now"),
        (b"Content-Type", b"application/json"),
        (b"X-Request-Id", b"req_1"),
        (b"OpenAI-Version", b"2020-10-01"),
        (b"OpenAI-Processing-MS", b"5"),
        (b"OpenAI-Organization", b"org-1"),
        (b"OpenAI-Project", b"proj_1"),
        (b"X-RateLimit-Remaining-Tokens", b"5"),
        (b"Set-Cookie", b"__cf_bm=1"),
        (b"Alt-Svc", b"h3"),
        (b"Strict-Transport-Security", b"max-age=1"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Retry-After", b"1"),
        (b"X-Imagegate-Id", b"another gateway's"),
        (b"X-Twice", b"a"),
        (b"X-Twice", b"b"),
    ]
    assert headers.down(received) == [
        (b"date", b"now"),
        (b"content-type", b"application/json"),
        (b"x-request-id", b"req_1"),
        (b"openai-version", b"2020-10-01"),
        (b"openai-processing-ms", b"5"),
        (b"retry-after", b"1"),
        (b"x-twice", b"a"),
        (b"x-twice", b"b"),
    ]


@pytest.mark.parametrize(
    ("value", "is_stream"),
    [
        (b"text/event-stream", True),
        (b"text/event-stream; charset=utf-8", True),
        (b"TEXT/EVENT-STREAM;charset=utf-8", True),
        (b"application/json", False),
        (b"text/event-streams", False),
    ],
)
def test_the_content_type_decides_whether_it_is_a_stream(value: bytes, is_stream: object) -> None:
    assert headers.is_event_stream([(b"content-type", value)]) is is_stream


def test_an_answer_without_a_content_type_is_no_stream() -> None:
    assert not headers.is_event_stream([])


@pytest.mark.parametrize("name", [b"authorization", b"api-key", b"content-type", b"host", b"content-length"])
def test_a_decisive_header_said_twice_is_refused(name: bytes) -> None:
    with pytest.raises(Refused) as caught:
        headers.check_single([(name, b"a"), (b"accept", b"x"), (b"accept", b"y"), (name, b"a")])
    assert caught.value.refusal.code is Code.INVALID_HEADER


@pytest.mark.parametrize(
    ("sent", "secret"),
    [
        ([(b"authorization", b"Bearer sk-1")], "sk-1"),
        ([(b"authorization", b"bearer  sk-1 ")], "sk-1"),
        ([(b"api-key", b"sk-1")], "sk-1"),
        ([(b"authorization", b"Bearer sk-1"), (b"api-key", b"sk-2")], "sk-1"),
        ([(b"authorization", b"Basic abc"), (b"api-key", b"sk-2")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"api-key", b"")], None),
        ([], None),
    ],
)
def test_the_key_is_a_bearer_token_or_an_api_key(sent: list[headers.Header], secret: str | None) -> None:
    assert headers.bearer(sent) == secret


def test_server_timing_is_in_milliseconds() -> None:
    assert headers.server_timing(0.0012, 2.5) == (b"server-timing", b"gateway;dur=1.2, upstream;dur=2500.0")
    assert headers.server_timing(0.001, None) == (b"server-timing", b"gateway;dur=1.0")


def test_a_list_field_in_several_lines_is_one_list() -> None:
    sent = [(b"x-list", b"a=1"), (b"accept", b"x"), (b"x-list", b"b=2, c=3")]
    assert headers.joined(sent, b"x-list") == b"a=1,b=2, c=3"
    assert headers.joined(sent, b"x-other") is None


def test_a_cost_is_told_in_plain_decimals() -> None:
    assert headers.cost(NanoUSD(10_930_000), 272) == (
        (b"x-imagegate-cost-usd", b"0.01093"),
        (b"x-imagegate-output-image-tokens", b"272"),
    )
    assert headers.cost(NanoUSD(1), 0)[0] == (b"x-imagegate-cost-usd", b"0.000000001")
