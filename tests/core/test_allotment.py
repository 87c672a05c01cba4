"""Small bodies are held as long as all together are few."""

from gateway.core.allotment import Allotment


def test_a_body_takes_all_it_needs_or_nothing() -> None:
    memory = Allotment(each_bytes=4, all_bytes=10)
    assert [memory.take(size) for size in (4, 5, 4, 3, 2, 1)] == [4, 0, 4, 0, 2, 0]
    memory.give_back(4)
    assert memory.take(3) == 3
    assert memory.taken_bytes == 9
