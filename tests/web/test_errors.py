import orjson
import pytest

from gateway.core.errors import Code, Refusal
from gateway.web.errors import answer

NOON = 1_800_014_400.0


def head(refusal: Refusal) -> list[tuple[bytes, bytes]]:
    return answer(refusal, "igr_1", NOON)[0]


def test_a_refusal_says_who_when_and_how_long() -> None:
    headers, body = answer(Refusal(Code.INVALID_JSON, "No JSON."), "igr_1", NOON)
    assert headers == [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"date", b"Fri, 15 Jan 2027 12:00:00 GMT"),
        (b"x-should-retry", b"false"),
        (b"x-request-id", b"igr_1"),
        (b"x-imagegate-id", b"igr_1"),
    ]
    assert orjson.loads(body) == {
        "error": {
            "message": "No JSON.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_json",
        }
    }


@pytest.mark.parametrize(
    ("after_ms", "after_s"),
    [(1, b"1"), (999, b"1"), (1000, b"1"), (1001, b"2"), (59_999, b"60"), (60_000, b"60"), (60_001, b"61")],
)
def test_seconds_to_wait_are_rounded_up_and_milliseconds_are_exact(after_ms: int, after_s: bytes) -> None:
    """Who comes back after them in whole seconds is not too early."""
    told = dict(head(Refusal(Code.RATE_LIMIT_EXCEEDED, "Wait.", retry_after_ms=after_ms)))
    assert (told[b"retry-after"], told[b"retry-after-ms"]) == (after_s, str(after_ms).encode())


def test_where_waiting_is_no_help_no_wait_is_told() -> None:
    told = dict(head(Refusal(Code.INSUFFICIENT_QUOTA, "Spent.")))
    assert b"retry-after" not in told
    assert b"retry-after-ms" not in told


@pytest.mark.parametrize(
    ("code", "retry", "said"),
    [
        (Code.RATE_LIMIT_EXCEEDED, None, b"true"),
        (Code.RATE_LIMIT_EXCEEDED, False, b"false"),
        (Code.INSUFFICIENT_QUOTA, None, b"false"),
        (Code.UPSTREAM_TIMEOUT, True, b"true"),
    ],
)
def test_whether_to_try_again_is_as_the_code_says_unless_the_refusal_knows_better(
    code: Code, retry: bool | None, said: bytes
) -> None:
    assert dict(head(Refusal(code, "words", retry=retry)))[b"x-should-retry"] == said


def test_what_else_a_refusal_has_to_say_stands_last_and_in_its_order() -> None:
    more = ((b"x-ratelimit-limit-images", b"20"), (b"x-ratelimit-remaining-images", b"0"))
    told = head(Refusal(Code.RATE_LIMIT_EXCEEDED, "Wait.", retry_after_ms=5, headers=more))
    assert told[-2:] == list(more)
    assert [name for name, _ in told] == [name.lower() for name, _ in told]
    assert len({name for name, _ in told}) == len(told)
