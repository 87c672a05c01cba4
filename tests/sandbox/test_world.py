"""What the sandbox remembers."""

import re

from gateway.sandbox.world import Ids, Shelf


def test_a_shelf_lets_the_oldest_fall_when_it_is_full() -> None:
    shelf: Shelf[str] = Shelf(10)
    for key in ("a", "b", "c"):
        shelf.put(key, key.upper(), 4)

    assert list(shelf) == ["B", "C"]
    assert shelf.get("a") is None


def test_a_shelf_keeps_the_newest_however_large_and_forgets_what_is_taken() -> None:
    shelf: Shelf[str] = Shelf(10)
    shelf.put("large", "L", 100)
    assert shelf.get("large") == "L"

    assert shelf.take("large") == "L"
    assert shelf.take("large") is None
    shelf.put("a", "A", 9)
    shelf.put("a", "A again", 9)
    assert list(shelf) == ["A again"]


def test_ids_have_openais_forms_and_never_repeat_in_another_process() -> None:
    ids, others = Ids(), Ids()
    made = [ids.new("resp_") for _ in range(3)] + [others.new("resp_") for _ in range(3)]

    assert len(set(made)) == 6
    assert all(re.fullmatch(r"resp_[0-9a-f]{48}", one) for one in made)
    assert re.fullmatch(r"file-[0-9a-f]{22}", ids.new("file-"))
