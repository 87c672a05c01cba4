import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.tallies import Tallies
from gateway.core import metrics as m
from gateway.core.metrics import Count

PAID = (m.COST, ("team", "model"))
PAID_SERIES = (m.COST.name, ("team", "model"), "")
INSIDE = (m.IN_FLIGHT, ("requests",))
INSIDE_SERIES = (m.IN_FLIGHT.name, ("requests",), "now")


def test_counters_add_up_and_gauges_are_what_was_said_last() -> None:
    tallies = Tallies()
    tallies.take([Count(*PAID, 3), Count(*PAID, 4), Count(*INSIDE, 9), Count(*INSIDE, 2)])
    assert tallies.totals() == {PAID_SERIES: 7, INSIDE_SERIES: 2}


def test_an_observation_falls_into_the_first_bucket_that_holds_it() -> None:
    tallies = Tallies()
    bounds = m.STORE_DURATION.buckets
    tallies.take(Count(m.STORE_DURATION, ("op",), amount) for amount in (0, bounds[0], bounds[0] + 1, 10**9))
    name = m.STORE_DURATION.name
    assert tallies.totals() == {
        (name, ("op",), "0"): 2,
        (name, ("op",), "1"): 1,
        (name, ("op",), str(len(bounds))): 1,
        (name, ("op",), "sum"): 2 * bounds[0] + 1 + 10**9,
    }


def test_whoever_is_asked_tells_the_sum_over_all(tmp_path: Path) -> None:
    one, other = Tallies(tmp_path), Tallies(tmp_path)
    one.take([Count(*PAID, 1), Count(*INSIDE, 5)])
    other.take([Count(*PAID, 10), Count(*INSIDE, 50)])
    assert one.totals() == other.totals() == {PAID_SERIES: 11, INSIDE_SERIES: 55}


def test_of_a_worker_that_has_ended_the_counters_stay_and_the_gauges_go(tmp_path: Path) -> None:
    one, other = Tallies(tmp_path), Tallies(tmp_path)
    one.take([Count(*PAID, 1), Count(*INSIDE, 5)])
    other.take([Count(*PAID, 10), Count(*INSIDE, 50)])
    one.close()
    one.close()
    for _ in range(3):
        assert other.totals() == {PAID_SERIES: 11, INSIDE_SERIES: 50}
    assert len(list(tmp_path.glob("*.tally"))) == 1, "what the dead left is put together"


def test_a_file_that_was_added_and_not_removed_counts_once(tmp_path: Path) -> None:
    """The process that put it together died in between."""
    one, other = Tallies(tmp_path), Tallies(tmp_path)
    one.take([Count(*PAID, 1)])
    (left,) = [path for path in tmp_path.glob("*.tally") if path.read_bytes().count(b"cost")]
    copy = left.read_bytes()
    one.close()
    assert other.totals()[PAID_SERIES] == 1
    left.write_bytes(copy)
    assert other.totals()[PAID_SERIES] == 1
    assert not left.exists()


def test_many_series_fit_whatever_the_room_was(tmp_path: Path) -> None:
    tallies = Tallies(tmp_path)
    for number in range(3000):
        tallies.take([Count(m.COST, (f"team-{number}", "model"), number + 1)])
    found = tallies.totals()
    assert len(found) == 3000
    assert found[m.COST.name, ("team-2999", "model"), ""] == 3000


def test_names_of_any_letters_are_read_back(tmp_path: Path) -> None:
    tallies = Tallies(tmp_path)
    tallies.take([Count(m.COST, ('Köln "1"\n', "a\\b"), 1)])
    assert tallies.totals() == {(m.COST.name, ('Köln "1"\n', "a\\b"), ""): 1}


def test_a_worker_that_finds_no_room_counts_alone_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lonely = Tallies(tmp_path / "nowhere")
    lonely.take([Count(*PAID, 1)])
    assert "cannot be written to" in caplog.text


def count_until_killed(folder: Path, ready: int) -> None:
    tallies = Tallies(folder)
    number = 0
    while True:
        number += 1
        tallies.take([Count(*PAID, 1), Count(m.COST, (str(number % 500), "model"), 1)])
        if number == 200:
            os.write(ready, b"1")


def test_kill_9_of_whoever_counts_lowers_nothing(tmp_path: Path) -> None:
    watcher = Tallies(tmp_path)
    seen: Counter[object] = Counter()
    for _ in range(5):
        reader, writer = os.pipe()
        worker = multiprocessing.get_context("fork").Process(
            target=count_until_killed, args=(tmp_path, writer)
        )
        worker.start()
        os.read(reader, 1)
        for look in range(6):
            if look == 3:
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
            now = watcher.totals()
            assert all(now.get(series, 0) >= value for series, value in seen.items())  # type: ignore[call-overload]
            seen = Counter(now)
        os.close(reader)
        os.close(writer)
    assert seen[PAID_SERIES] >= 1000


def count_up(most: int, folder: Path, ready: int) -> None:
    tallies = Tallies(folder)
    tallies.take([Count(*PAID, 10**12)])
    os.write(ready, b"1")
    for number in range(most):
        tallies.take([Count(*PAID, 1)])
        if number % 50 == 0:
            tallies.take([Count(m.COST, (str(number), "model"), 1)])


def test_whoever_looks_while_another_one_counts_sees_no_counter_fall(
    tmp_path: Path, rounds: int, figure: Callable[[str, int], None]
) -> None:
    reader, writer = os.pipe()
    worker = multiprocessing.get_context("fork").Process(
        target=count_up, args=(rounds * 10_000, tmp_path, writer)
    )
    worker.start()
    os.read(reader, 1)
    watcher, seen, looks, costs = Tallies(tmp_path), 0, 0, 0
    while worker.is_alive():
        found = watcher.totals()
        assert found[PAID_SERIES] >= seen
        assert len(found) >= costs
        seen, costs, looks = found[PAID_SERIES], len(found), looks + 1
    worker.join()
    os.close(reader)
    os.close(writer)
    assert looks > rounds
    figure("looks at counters that another process counted up, none of which fell", looks)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10**15)), max_size=30))
def test_sums_are_exact(amounts: list[tuple[int, int]]) -> None:
    tallies = Tallies()
    expected: Counter[str] = Counter()
    for number, amount in amounts:
        tallies.take([Count(m.COST, (str(number), "model"), amount)])
        expected[str(number)] += amount
    found = {labels[0]: value for (_, labels, _), value in tallies.totals().items()}
    assert found == {name: value for name, value in expected.items() if value}
