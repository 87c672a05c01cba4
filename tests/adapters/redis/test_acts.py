"""Every act says which keys it touches, and touches no other."""

import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

from gateway.adapters.redis.acts import Act, act, key
from gateway.adapters.redis.fitness import VERSION

FOLDER = Path(str(files("gateway.adapters.redis") / "lua"))
SHARED = ("ledger", "guard", "quota", "settlement")
ACTS = sorted(
    path.stem for path in FOLDER.glob("*.lua") if "-- keys: " in path.read_text() and path.stem not in SHARED
)
FUNCTION = re.compile(r"^local function (\w+)\(.*?^end$", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"\bkey\.(\w+)")


@cache
def functions() -> dict[str, str]:
    text = "\n".join((FOLDER / f"{name}.lua").read_text() for name in SHARED)
    return {found[1]: found[0] for found in FUNCTION.finditer(text)}


def touched(text: str) -> set[str]:
    """The keys that this text names, and those of all functions that it names."""
    seen: set[str] = set()
    todo, keys = [text], set(KEY.findall(text))
    while todo:
        words = set(re.findall(r"\w+", todo.pop()))
        for name in words & functions().keys() - seen:
            seen.add(name)
            todo.append(functions()[name])
            keys |= set(KEY.findall(functions()[name]))
    return keys


@pytest.mark.parametrize("name", ACTS)
def test_an_act_declares_all_keys_that_it_can_touch(name: str) -> None:
    own = re.sub(r"^--.*$", "", (FOLDER / f"{name}.lua").read_text(), flags=re.MULTILINE)
    assert touched(own) - set(act(name).keys) == set()


@pytest.mark.parametrize("name", ACTS)
def test_an_act_tells_what_it_is_given_and_what_it_gives(name: str) -> None:
    head = (FOLDER / f"{name}.lua").read_text().partition("\n\n")[0]
    assert "-- args: " in head


@pytest.mark.parametrize("name", ACTS)
def test_an_act_that_writes_sees_first_whether_the_ledger_is_there(name: str) -> None:
    text = act(name).script.text
    own = (FOLDER / f"{name}.lua").read_text()
    does_write = re.search(r"'(HSET|HDEL|ZADD|ZREM|SADD|SREM|HINCRBY|HSETNX)'|\b(settle|leave|forget)\(", own)
    asks_who_is_written_to = name == "known"
    assert ("'GONE" in text) == (does_write is not None or asks_who_is_written_to)
    assert "mark" in act(name).keys or "'GONE" not in text
    assert f"~= '{VERSION}'" in (FOLDER / "guard.lua").read_text()


def test_all_keys_of_a_ledger_have_one_tag_and_so_one_slot() -> None:
    assert key("one", "record") == "{one}:ledger:record"
    assert Act("settle").keys[0] == "record"


def test_no_act_knows_a_time_to_live_or_a_clock_but_the_servers() -> None:
    """Nothing of a ledger may ever be thrown away by itself."""
    text = "\n".join(path.read_text() for path in FOLDER.glob("*.lua") if path.stem in (*ACTS, *SHARED))
    assert not re.search(r"'(P?EXPIRE(AT)?|SETEX|PSETEX|EX|PX)'", text)
    assert "os." not in text
    assert "tostring(" not in text
