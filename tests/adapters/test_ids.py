import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.ids import TimeOrderedIds


@given(st.floats(0, 2**37, allow_nan=False))
def test_an_id_is_a_version_7_uuid_of_its_time(now: float) -> None:
    name = TimeOrderedIds(lambda: now).new()
    assert re.fullmatch(r"igr_[0-9a-f]{32}", name)
    value = uuid.UUID(hex=name.removeprefix("igr_"))
    assert (value.variant, value.version) == (uuid.RFC_4122, 7)
    assert value.int >> 80 == int(now * 1000)


def test_ids_sort_by_time_and_are_unique() -> None:
    seconds = iter(range(1, 1000))
    ids = TimeOrderedIds(lambda: float(next(seconds)))
    names = [ids.new() for _ in range(900)]
    assert names == sorted(names)
    assert len(set(names)) == 900
