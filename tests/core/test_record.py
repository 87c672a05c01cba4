from dataclasses import fields

from gateway.core.record import Outcome, Record


def test_a_record_tells_what_is_known_and_no_more() -> None:
    record = Record(id="igr_1", at=1.5, method="POST", outcome=Outcome.REFUSED, status=401, duration_ms=0.4)
    assert record.told() == {
        "id": "igr_1",
        "at": 1.5,
        "method": "POST",
        "outcome": "refused",
        "status": 401,
        "stream": False,
        "duration_ms": 0.4,
        "bytes_in": 0,
        "bytes_out": 0,
        "retry_count": 0,
    }


def test_a_record_has_no_field_for_what_must_not_be_told() -> None:
    names = {field.name for field in fields(Record)}
    assert not names & {
        "prompt",
        "body",
        "image",
        "headers",
        "authorization",
        "secret",
        "query",
        "path",
        "user",
    }
