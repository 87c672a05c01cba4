import os
import subprocess
import sys
from pathlib import Path

from gateway.adapters.processes import ProcFiles
from gateway.core import metrics as m


def read(processes: ProcFiles) -> dict[str, float]:
    return {sample.metric.name: sample.value for sample in processes.read()}


def test_what_this_process_uses_is_told() -> None:
    found = read(ProcFiles())
    assert found[m.CPU.name] > 0
    assert found[m.RESIDENT.name] > 1 << 20
    assert found[m.VIRTUAL.name] > found[m.RESIDENT.name]
    assert 0 < found[m.OPEN_FDS.name] <= found[m.MAX_FDS.name] * 100
    assert found[m.STARTED.name] > 1_500_000_000


def test_a_process_that_was_started_counts_while_it_lives_and_its_time_after_it() -> None:
    processes = ProcFiles()
    alone = read(processes)
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint(1, flush=True)\ninput()"
    child = subprocess.Popen(
        [sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    together = read(processes)
    assert together[m.OPEN_FDS.name] > alone[m.OPEN_FDS.name]
    assert together[m.RESIDENT.name] > alone[m.RESIDENT.name]
    assert together[m.CPU.name] >= alone[m.CPU.name] + 0.25
    child.kill()
    child.communicate()
    assert read(processes)[m.CPU.name] >= together[m.CPU.name]


def test_where_the_system_tells_nothing_nothing_is_told(tmp_path: Path) -> None:
    assert ProcFiles(tmp_path).read() == ()


def test_a_name_with_brackets_does_not_confuse_it(tmp_path: Path) -> None:
    pid = tmp_path / str(os.getpid())
    (pid / "task").mkdir(parents=True)
    (pid / "fd").mkdir()
    after = " ".join(
        ["S", *map(str, range(4, 14)), "100", "50", "7", "3", *map(str, range(18, 22)), "200", "4096", "2"]
    )
    (pid / "stat").write_text(f"{os.getpid()} (a ) b) {after}\n")
    (tmp_path / "stat").write_text("cpu 1\nbtime 1700000000\n")
    found = read(ProcFiles(tmp_path))
    assert found[m.CPU.name] * os.sysconf("SC_CLK_TCK") == 160
    assert found[m.VIRTUAL.name] == 4096
    assert found[m.STARTED.name] == 1_700_000_000 + 200 / os.sysconf("SC_CLK_TCK")
