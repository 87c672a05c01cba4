"""What waits for the store comes back as it was, and holds no secret."""

import pytest
from hypothesis import given

from gateway.core.kept import Due, Entrusted, Entry, Passed, dumps, loads
from gateway.core.limits import parse_limit
from gateway.core.quota import Amounts, Claimant
from gateway.core.record import Record
from gateway.core.units import NanoUSD
from tests.support.ledger import NOON, noted, record, records
from tests.support.replies import drawing

CLAIMANTS = (
    Claimant("key:k", (parse_limit("$500 per month"), parse_limit("2 images per minute soft"))),
    Claimant("team:t"),
    Claimant("org", (parse_limit("4 concurrent"),)),
)
ASKED = Amounts(requests=1, images=2, image_tokens=3, tokens=4, cost_nusd=NanoUSD(5), places=1)
ENTRIES: list[Entry] = [
    Due(record(1), 3),
    Entrusted("igr_1", "resp_1", NOON + 0.25, drawing(2, background=True, stream=False)),
    Entrusted("igr_1", "resp_1", NOON),
    Passed(noted(1), CLAIMANTS, ASKED),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: type(entry).__name__)
def test_an_entry_comes_back_as_it_was(entry: Entry) -> None:
    assert loads(dumps(entry)) == entry
    assert entry.call_id in {"igr_1", "igr_00000001"}


@given(made=records())
def test_every_record_does(made: list[Record]) -> None:
    for one in made:
        assert loads(dumps(Due(one))) == Due(one)


def test_half_a_surrogate_pair_does_not_keep_it_from_being_written() -> None:
    found = loads(dumps(Due(record(1, tags=(("a", "\ud800"),)))))
    assert isinstance(found, Due)
    assert found.record.tags == (("a", "?"),)


def test_a_call_that_passed_is_noted_and_claims_as_it_would_have() -> None:
    entry = Passed(noted(1), CLAIMANTS, ASKED)
    assert (entry.noted.record, entry.noted.dispatched) == (noted(1), True)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no JSON",
        b"[]",
        b"1",
        b"{}",
        b'{"due":{}}',
        b'{"due":{"id":"x"},"images":1}',
        b'{"entrusted":"x"}',
    ],
)
def test_what_is_no_entry_is_told(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        loads(text)
