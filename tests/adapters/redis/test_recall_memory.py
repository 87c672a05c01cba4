"""What a process keeps in mind of what it did, and for how long."""

import pytest

from gateway.adapters.redis.recall import Did, Recall


def test_acts_are_kept_by_subject_in_their_order() -> None:
    recall = Recall()
    recall.did("a", "enter", "1")
    recall.did("b", "enter", "2")
    recall.did("a", "settle", "3")
    assert list(recall.all(0.0).items()) == [
        ("a", (Did("enter", ("1",)), Did("settle", ("3",)))),
        ("b", (Did("enter", ("2",)),)),
    ]
    assert recall.of("a")[-1] == Did("settle", ("3",))
    assert (recall.knows("b"), recall.knows("c"), recall.of("c")) == (True, False, ())
    recall.forget("a")
    recall.forget("c")
    assert list(recall.all(0.0)) == ["b"]


@pytest.mark.parametrize(("later_s", "left"), [(59.9, ["a", "b", "c"]), (60.0, ["b", "c"])])
def test_what_has_ended_is_kept_for_a_minute_and_what_is_under_way_for_ever(
    later_s: float, left: list[str]
) -> None:
    recall = Recall()
    for subject in ("a", "b", "c"):
        recall.did(subject, "enter")
    recall.ended("a", 1000.0)
    recall.ended("c", 1000.0 + later_s)
    assert list(recall.all(1000.0 + later_s)) == left


def test_what_has_ended_is_forgotten_though_nothing_else_ends() -> None:
    recall = Recall()
    recall.did("a", "limit")
    recall.ended("a", 1000.0)
    assert list(recall.all(1059.0)) == ["a"]
    assert list(recall.all(1060.0)) == []


def test_what_begins_again_or_is_corrected_has_not_ended_then() -> None:
    recall = Recall()
    recall.did("a", "once")
    recall.ended("a", 1000.0)
    recall.did("a", "once")
    recall.ended("b", 1059.0)
    assert list(recall.all(2000.0)) == ["a"]
    recall.ended("a", 2000.0)
    assert list(recall.all(2059.0)) == ["a"]
    assert list(recall.all(2060.0)) == []


def test_where_there_is_too_much_those_go_first_that_ended_first() -> None:
    recall = Recall(most=3)
    for subject in ("a", "b", "c"):
        recall.did(subject, "enter")
    recall.ended("c", 1.0)
    recall.ended("b", 2.0)
    recall.did("d", "enter")
    assert list(recall.all(3.0)) == ["a", "b", "d"]
    recall.did("e", "enter")
    assert list(recall.all(3.0)) == ["a", "d", "e"]
    recall.did("f", "enter")
    assert list(recall.all(3.0)) == ["d", "e", "f"], "none has ended"
