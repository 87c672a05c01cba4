import logging

import orjson
import pytest

from gateway.adapters.journal import LogJournal
from gateway.adapters.log import JsonFormatter
from gateway.core.record import Outcome, Record


def record(outcome: Outcome = Outcome.COMPLETED, **fields: object) -> Record:
    known: dict[str, object] = {
        "id": "igr_1",
        "at": 1_800_000_000.25,
        "method": "POST",
        "duration_ms": 2041.4,
    }
    return Record(outcome=outcome, **{**known, **fields})  # type: ignore[arg-type]  # named by each test


def test_a_line_is_the_record_as_json(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "imagegate.request"):
        LogJournal().write(record(status=200, route="images.generations", key="web", team="design"))
    line = orjson.loads(JsonFormatter().format(caplog.records[0]))
    assert (
        line.items()
        >= {
            "at": "2027-01-15T08:00:00.250000+00:00",
            "level": "info",
            "logger": "imagegate.request",
            "id": "igr_1",
            "outcome": "completed",
            "status": 200,
            "team": "design",
            "key": "web",
            "route": "images.generations",
            "cost_nusd": 0,
        }.items()
    )
    assert not {"message", "model", "code"} & set(line)


def test_a_line_is_readable_on_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "imagegate.request"):
        LogJournal().write(
            record(
                status=200,
                route="images.edits",
                key="web",
                team="design",
                model="gpt-image-2",
                bytes_out=898_371,
            )
        )
        LogJournal().write(record(Outcome.REFUSED, status=401, code="invalid_api_key"))
    assert caplog.messages == [
        "200 completed images.edits design/web gpt-image-2 2041 ms 898371 B igr_1",
        "401 refused invalid_api_key POST 2041 ms 0 B igr_1",
    ]


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (Outcome.COMPLETED, "INFO"),
        (Outcome.REFUSED, "INFO"),
        (Outcome.CLIENT_GONE, "INFO"),
        (Outcome.FAILED, "WARNING"),
        (Outcome.UPSTREAM_CUT, "WARNING"),
        (Outcome.INCOMPLETE, "WARNING"),
    ],
)
def test_what_went_wrong_is_louder(outcome: Outcome, level: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "imagegate.request"):
        LogJournal().write(record(outcome))
    assert caplog.records[0].levelname == level
