from dataclasses import replace

from hypothesis import given

from gateway.adapters.sqlite.rows import from_open_row, from_row, to_open_row, to_row
from gateway.core.ledger import OpenCall
from gateway.core.record import Record
from tests.support.ledger import NOON, record, records
from tests.support.replies import drawing


@given(records(most=3))
def test_a_record_survives_as_a_row(several: list[Record]) -> None:
    for one in several:
        assert from_row(to_row(one)) == one


def test_a_row_has_only_what_sqlite_keeps_as_it_is() -> None:
    row = to_row(record(stream=True))
    assert {type(value) for value in row} == {str, int, float, bool, type(None)}
    assert from_row(tuple(int(value) if value is True else value for value in row)) == record(stream=True)


def test_an_open_call_survives_as_a_row() -> None:
    call = OpenCall(record=record(1, response_id="resp_1"), dispatched=True, deadline=NOON + 0.5, worker="w")
    for one in (call, replace(call, call=drawing(2, background=True))):
        assert from_open_row(to_open_row(one, "w")) == one


def test_what_was_asked_may_have_been_written_by_another_version() -> None:
    *row, _ = to_open_row(OpenCall(record=record(1)), "w")
    assert from_open_row((*row, '{"route":"responses.dream"}')).call is None
