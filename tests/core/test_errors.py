import pytest

from gateway.core.errors import Code, Failure, Refusal, UpstreamFailed, quoted


@pytest.mark.parametrize("code", Code, ids=lambda code: code.code)
def test_every_error_has_openais_shape(code: Code) -> None:
    body = Refusal(code, "words", "field").body()
    assert body == {"error": {"message": "words", "type": code.kind, "param": "field", "code": code.code}}
    assert 400 <= code.status < 600


@pytest.mark.parametrize(
    ("failure", "sent", "status", "retry"),
    [
        (Failure.UNREACHABLE, False, 502, True),
        (Failure.UNREACHABLE, True, 502, False),
        (Failure.TIMED_OUT, False, 504, True),
        (Failure.TIMED_OUT, True, 504, False),
        (Failure.SATURATED, False, 503, True),
    ],
)
def test_a_retry_is_advised_only_if_nothing_was_sent(
    failure: Failure, sent: bool, status: int, retry: bool
) -> None:
    refusal = UpstreamFailed(failure, phase="read", sent=sent).refusal()
    assert (refusal.code.status, refusal.should_retry) == (status, retry)


def test_a_quoted_value_is_clipped_and_printable() -> None:
    assert quoted("a\x00b\ud800\n") == "'a\ufffdb\ufffd\ufffd'"
    assert quoted("x" * 100, 5) == "'xxxxx…'"
    assert quoted({"a": 1}) == "'{'a': 1}'"
