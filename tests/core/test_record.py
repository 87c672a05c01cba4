from dataclasses import fields

from gateway.core.record import Line, Outcome, Record, Role
from gateway.core.units import NanoUSD


def test_a_record_tells_what_is_known_and_no_more() -> None:
    line = Line(model="gpt-image-1", role=Role.IMAGE, output_image=272, cost_nusd=NanoUSD(10_880_000))
    told = Record(
        id="igr_1", at=1.5, method="POST", outcome=Outcome.REFUSED, status=401, duration_ms=0.4, lines=(line,)
    ).told()
    assert (told["id"], told["at"], told["outcome"], told["status"], told["cache"]) == (
        "igr_1",
        1.5,
        "refused",
        401,
        "off",
    )
    assert told["lines"] == [
        {
            "model": "gpt-image-1",
            "role": "image",
            "input_text": 0,
            "input_image": 0,
            "cached_text": 0,
            "cached_image": 0,
            "cache_write": 0,
            "output_image": 272,
            "output_text": 0,
            "cost_nusd": 10_880_000,
        }
    ]
    assert not {"team", "model", "tags", "code", "first_byte_ms"} & set(told)


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
