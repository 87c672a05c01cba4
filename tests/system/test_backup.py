"""What docs/operations.md says of backups, done as it says: nothing that was spent is forgotten."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.support.process import KEY, Running, gateway_process, sandbox_process
from tests.support.redis import Server, program, redis_server
from tests.support.tools import missing

pytestmark = pytest.mark.system
PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
PICTURE = {"model": "gpt-image-1", "prompt": "a fox", "size": "1024x1024", "quality": "low"}


def command(word: str) -> str:
    """The command of the page in which this word stands."""
    (found,) = [one for one in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if word in one]
    return str(found)


def draw(gateway: Running) -> None:
    answer = httpx2.post(
        f"{gateway.url}/v1/images/generations",
        headers={"authorization": f"Bearer {KEY}"},
        json=PICTURE,
        trust_env=False,
    )
    assert answer.status_code == 200


def imagegate(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *arguments, "--config", "gateway.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_ledger_is_saved_while_it_is_written_to_and_put_back(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    data = tmp_path / "data"
    with sandbox_process(tmp_path) as sandbox:
        with gateway_process(f"{sandbox.url}/v1", tmp_path) as gateway:
            for _ in range(3):
                draw(gateway)
            subprocess.run(
                ["sh", "-c", command("apsw")], cwd=tmp_path, env={**os.environ, "PATH": path}, check=True
            )
            saved = imagegate(tmp_path, "usage", "--by", "team", "--format", "json")
            draw(gateway)
            assert imagegate(tmp_path, "usage", "--by", "team", "--format", "json") != saved
        for file in data.glob("ledger.db*"):
            file.unlink()
        shutil.copy(tmp_path / "ledger.backup.db", data / "ledger.db")
        with gateway_process(f"{sandbox.url}/v1", tmp_path) as gateway:
            assert imagegate(tmp_path, "usage", "--by", "team", "--format", "json") == saved
            imagegate(tmp_path, "verify")
            draw(gateway)


def test_a_redis_is_saved_while_it_serves_and_put_back(tmp_path: Path) -> None:
    if shutil.which("redis-cli") is None:
        missing("redis-cli", "apt-get install redis-server (a snapshot is taken with it)")
    with redis_server(tmp_path / "first") as server:
        server.said("HSET", "{imagegate}:ledger:record", "one", "1")
        asked = command("--rdb").replace("HOST", "127.0.0.1").replace("PORT", str(server.port))
        subprocess.run(["sh", "-c", asked], cwd=tmp_path, check=True, capture_output=True)
        server.said("FLUSHALL")
        port = server.port
    folder = tmp_path / "restored"
    folder.mkdir()
    shutil.copy(tmp_path / "ledger.rdb", folder / "dump.rdb")

    def started(appendonly: str) -> Server:
        made = Server(
            folder,
            [
                program("redis"),
                "--port",
                str(port),
                "--dir",
                str(folder),
                "--save",
                "",
                "--appendonly",
                appendonly,
            ],
            port,
        )
        made.start()
        return made

    first = started("no")
    try:
        assert first.said("HGETALL", "{imagegate}:ledger:record") == {"one": "1"}
        first.said("CONFIG", "SET", "appendonly", "yes")
        info = first.said("INFO", "persistence")
        while info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"]:
            info = first.said("INFO", "persistence")
    finally:
        first.kill()
    second = started("yes")
    try:
        assert second.said("HGETALL", "{imagegate}:ledger:record") == {"one": "1"}
    finally:
        second.kill()
