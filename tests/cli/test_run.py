"""A gateway to try: what it prints works when it is pasted, and what it says is so."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from gateway.cli import run as module
from gateway.cli import server
from gateway.cli.configuration import Configuration
from gateway.cli.run import run
from gateway.cli.serve import Bound
from gateway.settings import Settings, load
from tests.support.config import PAID, write
from tests.support.redis import redis_server

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[str]:
    """What `imagegate run` printed until it listened, as long as it runs; Ctrl-C ends it."""
    command = [sys.executable, "-m", "gateway", "run", "--port", "0", "--ops-port", "0", *arguments]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = ""
        try:
            for line in process.stdout:
                said += line
                if "listens on" in line:
                    break
            yield said
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=30)
            finally:
                process.kill()
    assert process.returncode == 0


@pytest.mark.system
def test_what_it_prints_can_be_pasted_into_a_shell_and_makes_a_picture(tmp_path: Path) -> None:
    here = f'export PATH="{Path(sys.executable).parent}:$PATH" NO_PROXY=127.0.0.1\n'
    with started(tmp_path) as said:
        export = re.search(r"^export .+\n", said, re.MULTILINE)
        snippet = re.search(r"^python - <<'END'\n.+?^END\n", said, re.MULTILINE | re.DOTALL)
        assert export is not None
        assert snippet is not None
        subprocess.run(
            ["sh", "-e"],
            input=here + export[0] + snippet[0],
            cwd=tmp_path,
            text=True,
            check=True,
            timeout=60,
        )

    with Image.open(tmp_path / "lighthouse.png") as picture:
        picture.load()
        assert picture.format == "PNG"
    assert "pip install openai" in said


@pytest.mark.system
def test_on_a_redis_money_and_cache_lie_there_and_none_in_the_data_folder(tmp_path: Path) -> None:
    here = f'export PATH="{Path(sys.executable).parent}:$PATH" NO_PROXY=127.0.0.1\n'
    with redis_server(tmp_path / "server") as server, started(tmp_path, "--store", server.url) as said:
        assert f"Store      {server.url}\n" in said
        export = re.search(r"^export .+\n", said, re.MULTILINE)
        assert export is not None
        ask = "import openai; openai.OpenAI().images.generate(model='gpt-image-2', prompt='a fox', size='1024x1024', quality='low')"
        for _ in range(2):
            script = f'{here}{export[0]}python -c "{ask}"'
            subprocess.run(["sh", "-e"], input=script, cwd=tmp_path, text=True, check=True, timeout=60)
        store = write(tmp_path, PAID + f'[store]\nurl = "{server.url}"\n')
        command = [sys.executable, "-m", "gateway", "usage", "--format", "json", "--config", str(store)]
        told = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
        [row] = json.loads(told.stdout)["data"]
        assert (row["requests"], row["hits"], row["images"]) == (2, 1, 2)
    assert not list(tmp_path.glob("data/**/*.db"))


@pytest.fixture
def welcomed(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each start; nothing is started."""
    found: list[Settings] = []

    def start(configured: Configuration, bound: Bound) -> None:
        found.append(configured.settings)
        bound.public.close()
        bound.ops.close()

    monkeypatch.setattr(module, "start", start)
    monkeypatch.setattr(module, "_start_sandbox", lambda sock: sock.close())
    return found


def said(folder: Path, *arguments: str) -> str:
    result = CliRunner().invoke(
        run, ["--port", "0", "--ops-port", "0", "--data", str(folder), *arguments], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_the_password_of_a_store_is_not_printed(tmp_path: Path, welcomed: list[Settings]) -> None:
    output = said(tmp_path, "--store", "redis://u:hunter2@h")

    assert "Store      redis://u:***@h:6379/0\n" in output
    assert "hunter2" not in output
    assert welcomed[0].store.url.password is not None


def test_without_a_store_everything_lies_in_the_data_folder(tmp_path: Path, welcomed: list[Settings]) -> None:
    assert f"Store      SQLite in {tmp_path}/sandbox\n" in said(tmp_path)
    assert welcomed[0].store.url.folder == tmp_path / "sandbox"


def test_a_limit_that_this_version_does_not_enforce_is_said_to_be_none(
    tmp_path: Path, welcomed: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setattr(Settings, "unbuilt", lambda _: ("key.limits",))

    output = said(tmp_path)

    assert "Upstream   OpenAI, paid by your OPENAI_API_KEY\n" in output
    assert "Limits     NOT ENFORCED by this version yet ($5 per day): whoever has the key" in output
    assert [limit.text for limit in welcomed[0].keys[0].limits] == ["$5 per day"]


def test_a_limit_that_is_enforced_is_said_to_hold(
    tmp_path: Path, welcomed: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-real")
    monkeypatch.setattr(Settings, "unbuilt", lambda _: ())

    assert "Limits     $5 per day\n" in said(tmp_path)
    assert len(welcomed) == 1


def test_a_shell_with_the_demo_key_in_it_is_one_without_a_key_of_openai(
    tmp_path: Path, welcomed: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-demo")

    assert "the built-in sandbox" in said(tmp_path)
    assert welcomed[0].upstream.sandbox is True


def test_the_file_it_writes_says_how_to_do_without_it_and_is_good_for_that(
    tmp_path: Path, welcomed: list[Settings]
) -> None:
    said(tmp_path)
    file = tmp_path / "sandbox" / "imagegate.toml"

    text = file.read_text()
    alone = load(file, {})
    assert len(welcomed) == 1
    assert f"#   imagegate sandbox --port 8090\n#   imagegate serve --config {file}\n" in text
    assert alone.upstream.base_url == "http://127.0.0.1:8090/v1"
    assert alone.store.url == welcomed[0].store.url
    assert "starts the same" not in text


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path, welcomed: list[Settings]) -> None:
    said(tmp_path)
    file = tmp_path / "sandbox" / "imagegate.toml"
    file.write_text(file.read_text() + '\n[log]\nlevel = "debug"\n')

    said(tmp_path)

    assert [settings.log.level for settings in welcomed] == ["info", "debug"]


def test_a_folder_that_cannot_be_made_is_refused_with_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    result = CliRunner().invoke(run, ["--data", str(tmp_path / "file")])

    assert (result.exit_code, result.stdout) == (1, "")
    assert "imagegate.toml cannot be written: " in result.stderr
    assert "Name another folder with --data." in result.stderr


@pytest.mark.parametrize("option", ["--port", "--ops-port"])
def test_a_port_that_is_taken_is_named_by_its_option_before_the_welcome(tmp_path: Path, option: str) -> None:
    with server.bind("127.0.0.1", 0) as other:
        ports = {"--port": 0, "--ops-port": 0, option: other.getsockname()[1]}
        arguments = [str(word) for pair in ports.items() for word in pair]

        result = CliRunner().invoke(run, ["--data", str(tmp_path), *arguments])

    assert (result.exit_code, result.stdout) == (1, "")
    assert f"choose another port with {option}." in result.stderr


@pytest.mark.parametrize("store", ["redis://u:p ss#$x@h", ""])
def test_make_run_hands_the_store_over_in_one_piece(store: str) -> None:
    make = ["make", "--dry-run", "--old-file", ".venv/.run", "run"]
    variables = [f"STORE={store.replace('$', '$$')}", "PORT=1", "OPS_PORT=2"]

    shown = subprocess.run([*make, *variables], cwd=ROOT, capture_output=True, text=True, check=True)

    line = next(line for line in shown.stdout.splitlines() if "imagegate run" in line)
    given = f"--store '{store}'" if store else ""
    assert line.endswith(f"run --port 1 --ops-port 2 {given}")
