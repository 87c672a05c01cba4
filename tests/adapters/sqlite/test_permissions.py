"""Who spent what is for the owner's eyes."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.sqlite.connection import FILE
from gateway.adapters.sqlite.ledger import SqliteLedger
from gateway.core.ledger import OpenCall
from tests.support.ledger import NOON, record


@pytest.fixture(autouse=True, params=[0o022, 0o000], ids=["the usual umask", "no umask"])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_the_ledger_and_what_lies_beside_it_is_its_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    ledger = SqliteLedger.open(folder, lambda: NOON)
    await ledger.reserve(OpenCall(record=record(1), dispatched=True))
    found = modes(folder)
    assert found[FILE] == 0o600
    assert {f"{FILE}-wal", f"{FILE}-shm"} <= found.keys(), "the write-ahead log holds records, too"
    assert set(found.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await ledger.aclose()


async def test_a_ledger_that_is_there_keeps_the_mode_its_owner_gave_it(tmp_path: Path) -> None:
    ledger = SqliteLedger.open(tmp_path, lambda: NOON)
    await ledger.aclose()
    (tmp_path / FILE).chmod(0o640)  # for a group that reads it
    ledger = SqliteLedger.open(tmp_path, lambda: NOON)
    await ledger.reserve(OpenCall(record=record(1), dispatched=True))
    assert modes(tmp_path)[FILE] == 0o640
    await ledger.aclose()
