"""
Another process that has the ledger to itself.

`python -m tests.support.locker FILE`: takes the lock, says so in a line, and keeps it until its standard input ends.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

ROOT = Path(__file__).parents[2]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Nobody else can write to the file until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.locker", str(file)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert process.stdout.readline() == "locked\n"
            yield
        finally:
            process.stdin.close()


def main(file: str) -> None:
    connection = apsw.Connection(file)
    connection.set_busy_timeout(20_000)
    connection.execute("BEGIN EXCLUSIVE")
    print("locked", flush=True)  # noqa: T201 - that is how it is told
    sys.stdin.read()
    connection.execute("ROLLBACK")
    connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
