import os
import subprocess
import sys
from dataclasses import replace

import pytest

from gateway.adapters.workers import Worker, is_dead, this_worker
from gateway.core.ledger import micros
from gateway.ports import DEAD_AFTER_S

NOW = 1_800_000_000.0


@pytest.fixture
def me() -> Worker:
    return replace(this_worker(), beat_us=micros(NOW))


def test_every_worker_has_a_name_of_its_own(me: Worker) -> None:
    assert this_worker().id != me.id
    assert (me.pid, me.host) == (os.getpid(), this_worker().host)


def test_a_worker_that_beats_is_alive(me: Worker) -> None:
    assert not is_dead(me, NOW + DEAD_AFTER_S, me.host)


def test_a_silent_worker_is_dead_wherever_it_is(me: Worker) -> None:
    assert is_dead(me, NOW + DEAD_AFTER_S + 0.001, me.host)
    assert is_dead(me, NOW + DEAD_AFTER_S + 0.001, "elsewhere")


@pytest.mark.parametrize("born", [True, False])
def test_a_process_that_is_gone_is_dead_at_once_where_it_ran(me: Worker, *, born: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    gone = replace(me, pid=ended.pid, born=me.born if born else 0)
    assert is_dead(gone, NOW, me.host)
    assert not is_dead(gone, NOW, "elsewhere"), "elsewhere its number says nothing"


def test_a_number_that_belongs_to_somebody_else_by_now_does_not_keep_the_dead_alive(me: Worker) -> None:
    assert is_dead(replace(me, born=me.born + 1), NOW, me.host)


def test_where_starts_are_not_told_the_number_has_to_do(me: Worker) -> None:
    assert not is_dead(replace(me, born=0), NOW, me.host)
    assert not is_dead(replace(me, born=0, pid=1), NOW, me.host), "somebody else's process is a process"


def test_a_process_that_nobody_has_waited_for_is_gone(me: Worker) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        stat = f"/proc/{child.pid}/stat"
        with open(stat, "rb") as file:  # noqa: PTH123 - kept short
            born = int(file.read().rpartition(b")")[2].split()[19])
        worker = replace(me, pid=child.pid, born=born)
        assert not is_dead(worker, NOW, me.host)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(worker, NOW, me.host)
