"""The command that starts the gateway: what it refuses, and before what."""

import socket
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner, Result

from gateway.cli import server
from gateway.cli.serve import listen, serve
from gateway.settings import SMALLEST_CONFIG
from tests.support.config import PAID, load_text, write
from tests.support.process import KEY, gateway_process

KEYED = PAID + '[[team]]\nid = "t"\n[[key]]\nid = "k"\nteam = "t"\nsecret = "sk-k"\n'


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "IMAGEGATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def served(*arguments: str) -> Result:
    return CliRunner().invoke(serve, arguments)


def test_without_any_client_key_it_refuses_and_shows_the_smallest_good_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-up")

    result = served()

    assert (result.exit_code, result.stdout) == (2, "")
    assert "key: is missing: every call would be answered 401." in result.stderr
    assert all(line in result.stderr for line in SMALLEST_CONFIG.splitlines())
    assert "sk-up" not in result.output


def test_a_file_without_a_client_key_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, PAID)

    result = served("--config", str(file))

    assert result.exit_code == 2
    assert f"\n{file}\n  key: is missing" in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nprot = 1\n", 'Did you mean "port"?'),
        ('[catalog]\nunpriced = "as:gpt-immage-2"\n', 'Did you mean "as:gpt-image-2"?'),
    ],
)
def test_a_configuration_with_faults_is_refused_like_check_config_does(
    tmp_path: Path, text: str, says: str
) -> None:
    result = served("--config", str(write(tmp_path, KEYED + text)))

    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_a_host_that_nobody_knows_is_refused_with_words(tmp_path: Path) -> None:
    result = served("--config", str(write(tmp_path, KEYED)), "--host", "no-such-host.invalid")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "Name an address of this machine with --host or server.host." in result.stderr


@pytest.mark.parametrize(("taken", "change"), [("server", "--port or server.port"), ("ops", "ops.port")])
def test_a_port_that_is_taken_is_named_by_its_setting_before_anything_is_said(
    tmp_path: Path, taken: str, change: str
) -> None:
    with server.bind("127.0.0.1", 0) as other:
        ports = {"server": 0, "ops": 0, taken: other.getsockname()[1]}
        text = "".join(f"[{section}]\nport = {port}\n" for section, port in ports.items())

        result = served("--config", str(write(tmp_path, KEYED + text)))

    assert (result.exit_code, result.stdout) == (1, "")
    assert f"choose another port with {change}." in result.stderr


def test_both_listeners_are_taken_before_anything_starts(tmp_path: Path) -> None:
    bound = listen(load_text(tmp_path, f"{KEYED}[server]\nport = 0\n[ops]\nport = 0\n"))

    with bound.public, bound.ops:
        for sock in (bound.public, bound.ops):
            socket.create_connection(sock.getsockname()).close()


@pytest.mark.system
def test_it_says_where_it_listens_and_serves_there(tmp_path: Path) -> None:
    with gateway_process("http://127.0.0.1:9/v1", tmp_path) as gateway:
        public, operators = gateway.addresses
        assert httpx2.get(f"{operators}/readyz", trust_env=False).status_code == 200
        answer = httpx2.get(
            f"{public}/v1/nowhere", headers={"authorization": f"Bearer {KEY}"}, trust_env=False
        )
        assert answer.status_code == 404
