"""What the `Ledger` port promises of limits, whatever it lies in: a naive model agrees with it at every step."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.adapters.redis.connection import RedisAddress
from gateway.adapters.sqlite.ledger import SqliteLedger
from tests.contracts.limits_machine import Opens, Stores, machine_on
from tests.support.redis import TAGS, shared_cluster, shared_ledger, shared_server

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - each run has a folder of its own in it
"""What lasts through a loss of power is proven elsewhere; here nothing waits for a disk."""
STEPS: Final = 40
RUNS_A_ROUND: Final = 8


@contextmanager
def sqlite() -> Iterator[Opens]:
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield lambda now: SqliteLedger.open(Path(folder), now)


@contextmanager
def redis() -> Iterator[Opens]:
    yield _on(shared_server("redis").address)


@contextmanager
def valkey() -> Iterator[Opens]:
    yield _on(shared_server("valkey").address)


@contextmanager
def cluster() -> Iterator[Opens]:
    yield _on(shared_cluster().address)


def _on(address: RedisAddress) -> Opens:
    tag = f"limits-{next(TAGS)}"
    return lambda now: shared_ledger(address, tag, now)


STORES: Final[dict[str, Stores]] = {
    "sqlite": sqlite,
    "redis": redis,
    "valkey": valkey,
    "cluster": cluster,
}


@pytest.mark.timeout(600)  # a failure is made small first
@pytest.mark.parametrize("stores", STORES.values(), ids=list(STORES))
def test_a_store_keeps_limits_as_a_naive_model_does(stores: Stores, rounds: int) -> None:
    run_state_machine_as_test(
        machine_on(stores),
        settings=settings(
            max_examples=RUNS_A_ROUND * rounds,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )
